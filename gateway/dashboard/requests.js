// Single requests: the list, and one of them with its cost line by line.
import { el, refill } from "./dom.js";
import * as f from "./format.js";
import { dateTime } from "./zone.js";

const none = () => el("i", {}, "none");
const text = (v) => (v === null || v === undefined || v === "" ? none() : String(v));

function stateMark(r) {
  const words = { successful: "ok", failed: "failed", in_flight: "in flight" };
  return el("span", { class: "state " + r.state }, r.status_code === null || r.status_code === undefined ? words[r.state] : `${r.status_code} ${words[r.state]}`);
}

export class RequestList {
  // options: onOpen(id), onMore(), onCsv()
  constructor(options) {
    this.options = options;
    this.message = el("p", { class: "panel-message", role: "status" }, "Loading …");
    this.body = el("tbody");
    this.more = el("button", { type: "button", class: "quiet", hidden: true, onclick: options.onMore }, "Show more");
    this.table = el("table", { class: "numbers", hidden: true }, el("caption", { class: "hidden-text" }, "Requests"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Time"), el("th", { scope: "col", class: "text" }, "Model"), el("th", { scope: "col", class: "text wide-only" }, "User"),
        ...["Status", "Response"].map((n) => el("th", { scope: "col" }, n)), ...["First token", "Tokens"].map((n) => el("th", { scope: "col", class: "wide-only" }, n)), el("th", { scope: "col" }, "Cost"))), this.body);
    this.element = el("div", {}, this.message, el("div", { class: "scroll" }, this.table), this.more);
  }

  get shown() { return this.body.childElementCount; }

  focus(id) {
    const button = [...this.body.querySelectorAll("[data-focus]")].find((b) => b.dataset.focus === id);
    if (button) button.focus();
  }

  // In place of rows that cannot be had.
  fail(message) {
    this.body.replaceChildren();
    this.table.hidden = this.more.hidden = true;
    this.say(message);
  }

  say(message) {
    this.message.textContent = message;
    this.message.hidden = message === "";
  }

  show(requests, zone, hasMore, append) {
    const rows = requests.map((r) => el("tr", {},
      el("th", { scope: "row" }, el("button", { type: "button", class: "key", "data-focus": r.request_id, onclick: () => this.options.onOpen(r.request_id) }, dateTime(Date.parse(r.ts), zone))),
      el("td", { class: "text" }, text(r.model)), el("td", { class: "text wide-only" }, text(r.user_id)), el("td", {}, stateMark(r)),
      el("td", {}, f.duration(r.response_time_ms)), el("td", { class: "wide-only" }, f.duration(r.ttft_ms)),
      el("td", { class: "wide-only" }, f.compact(r.total_tokens)), el("td", {}, f.dollars(r.total_cost))));
    if (append) this.body.append(...rows);
    else refill(this.body, ...rows);
    this.table.hidden = this.body.childElementCount === 0;
    this.more.hidden = !hasMore;
    this.say(this.table.hidden ? "No requests." : "");
  }
}

const FACTS = [
  ["Request", "request_id"], ["Model", "model"], ["Answered by", "model_version"], ["Provider", "provider"], ["User", "user_id"], ["Team", "team_id"],
  ["Session", "session_id"], ["API key", "api_key_hash"], ["Endpoint", "endpoint_type"], ["Method", "method"], ["Path", "path"], ["Service tier", "service_tier"],
  ["User agent", "user_agent"], ["Client", "client_ip"], ["Error", "error_type"], ["Message", "error_message"],
];

// What one request shows; lines: the explanation of its cost.
export function requestDetails(r, lines, zone) {
  const fact = (name, value) => [el("dt", {}, name), el("dd", {}, value)];
  const facts = [
    ...fact("Time", dateTime(Date.parse(r.ts), zone) + " (" + zone + ")"),
    ...fact("Status", stateMark(r)),
    ...fact("Response time", f.duration(r.response_time_ms)),
    ...fact("First token", f.duration(r.ttft_ms)),
    ...FACTS.filter(([, key]) => r[key] !== null && r[key] !== undefined).flatMap(([name, key]) => fact(name, String(r[key]))),
  ];
  const parts = lines.filter((l) => !["price", "total", "unpriced"].includes(l.part));
  const notes = lines.filter((l) => ["price", "unpriced"].includes(l.part) && l.explanation).map((l) => el("p", { class: "note" }, l.explanation));
  if (r.metadata) facts.push(...fact("Metadata", el("code", {}, JSON.stringify(r.metadata))));
  return el("div", {},
    el("h3", {}, "Cost"),
    r.total_cost === null
      ? el("p", { class: "note" }, "No price is known for this model at that time, so the cost is not known either.")
      : null,
    ...notes,
    el("div", { class: "scroll" }, el("table", { class: "numbers" },
      el("thead", {}, el("tr", {}, ...["Part", "Units", "USD per million", "Cost"].map((n) => el("th", { scope: "col" }, n)))),
      el("tbody", {}, ...parts.map((l) => el("tr", {}, el("th", { scope: "row", title: l.explanation }, l.part), el("td", {}, f.count(l.units)), el("td", {}, f.dollarsExact(l.rate)), el("td", {}, f.dollarsExact(l.cost))))),
      el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, "Total"), el("td"), el("td"), el("td", {}, f.dollarsExact(r.total_cost)))))),
    r.reported_cost !== null && r.reported_cost !== undefined ? el("p", { class: "note" }, "Its source reported " + f.dollarsExact(r.reported_cost) + ".") : null,
    el("h3", {}, "Request"),
    el("dl", { class: "facts" }, ...facts));
}
