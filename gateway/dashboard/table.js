// The table of one dimension: sortable, searchable, a click filters.
import { el, refill, sparkline } from "./dom.js";
import * as f from "./format.js";

const FIRST_ROWS = 50;
const MORE_ROWS = 200;

const hit = (s) => {
  const input = Number(s.input_tokens) + Number(s.cache_read_tokens) + Number(s.cache_write_tokens);
  return input > 0 ? Number(s.cache_read_tokens) / input : null;
};

// name: the heading; value: what is sorted by; text: what is shown
const COLUMNS = [
  { id: "requests", name: "Requests", value: (s) => s.total_requests, text: (s) => f.count(s.total_requests), total: true },
  { id: "errors", name: "Error rate", value: (s) => s.error_rate, text: (s) => f.percent(s.error_rate) },
  { id: "p50", name: "p50", value: (s) => s.p50_response_time_ms, text: (s) => f.duration(s.p50_response_time_ms), narrow: false },
  { id: "p95", name: "p95", value: (s) => s.p95_response_time_ms, text: (s) => f.duration(s.p95_response_time_ms) },
  { id: "tokens", name: "Tokens", value: (s) => Number(s.total_tokens), text: (s) => f.compact(s.total_tokens), total: true, narrow: false },
  { id: "hit", name: "Cache hits", value: hit, text: (s) => f.percent(hit(s)), narrow: false },
  { id: "cost", name: "Cost", value: (s) => (s.total_cost === null ? null : Number(s.total_cost)), text: (s) => f.dollars(s.total_cost), total: true },
  { id: "unpriced", name: "Unpriced", value: (s) => s.unpriced_requests, text: (s) => f.count(s.unpriced_requests), total: true, narrow: false },
];

export class DimensionTable {
  // options: onFilter(value), onCsv()
  constructor(options) {
    this.options = options;
    this.sort = { id: "requests", down: true };
    this.rows = [];
    this.sparks = new Map();
    this.limit = FIRST_ROWS;
    this.search = el("input", { type: "search", placeholder: "Search", "aria-label": "Search in this table", oninput: () => { this.limit = FIRST_ROWS; this.draw(); } });
    this.message = el("p", { class: "panel-message", role: "status" }, "Loading …");
    this.head = el("tr");
    this.body = el("tbody");
    this.foot = el("tr");
    this.caption = el("caption", { class: "hidden-text" });
    this.table = el("table", { class: "numbers" }, this.caption, el("thead", {}, this.head), this.body, el("tfoot", {}, this.foot));
    this.more = el("button", { type: "button", class: "quiet", hidden: true, onclick: () => { this.limit += MORE_ROWS; this.draw(); } });
    this.element = el("div", {},
      el("div", { class: "table-tools" }, this.search, el("button", { type: "button", class: "quiet", onclick: options.onCsv }, "CSV")),
      this.message, el("div", { class: "scroll" }, this.table), this.more);
  }

  say(text) {
    this.message.textContent = text;
    this.message.hidden = text === "";
    if (text !== "" && this.rows.length === 0) this.table.hidden = this.more.hidden = true;
  }

  // In place of rows that cannot be had.
  fail(message) {
    this.rows = [];
    this.say(message);
  }

  // rows: the API's stats; sparks: Map of key -> requests by bucket; complete:
  // whether these are all rows there are
  show(label, rows, sparks, complete) {
    if (label !== this.label) {
      this.search.value = "";
      this.limit = FIRST_ROWS;
    }
    this.label = label;
    this.rows = rows;
    this.sparks = sparks;
    this.complete = complete;
    this.say(rows.length === 0 ? "No requests." : "");
    this.draw();
  }

  sortBy(id) {
    this.sort = { id, down: this.sort.id === id ? !this.sort.down : id !== "name" };
    this.draw();
  }

  heading(id, name, attributes) {
    const sorted = this.sort.id === id;
    return el("th", { scope: "col", "aria-sort": sorted ? (this.sort.down ? "descending" : "ascending") : null, ...attributes },
      el("button", { type: "button", class: "sort", "data-focus": id, onclick: () => this.sortBy(id) }, name, el("span", { "aria-hidden": "true" }, sorted ? (this.sort.down ? " ↓" : " ↑") : "")));
  }

  draw() {
    if (this.label === undefined) return; // nothing has come yet
    const wanted = this.search.value.toLowerCase();
    const column = COLUMNS.find((c) => c.id === this.sort.id);
    const value = column ? column.value : (s) => s.group_key;
    const sign = this.sort.down ? -1 : 1;
    const rows = this.rows
      .filter((s) => wanted === "" || (s.group_key || "none").toLowerCase().includes(wanted))
      .sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === y) return 0;
        if (x === null) return 1; // what is not known comes last, whichever way
        if (y === null) return -1;
        return x < y ? -sign : sign;
      });
    const most = Math.max(1, ...rows.map((s) => s.total_requests));
    this.table.hidden = this.rows.length === 0;
    this.caption.textContent = `Statistics by ${this.label.toLowerCase()}`;
    const narrow = (c) => ({ class: c.narrow === false ? "wide-only" : null });
    refill(this.head, this.heading("name", this.label, {}), el("th", { scope: "col", class: "wide-only" }, "Over time"),
      ...COLUMNS.map((c) => this.heading(c.id, c.name, narrow(c))));
    refill(this.body, ...rows.slice(0, this.limit).map((s) => {
      const bar = el("span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = (100 * s.total_requests / most).toFixed(1) + "%";
      return el("tr", {},
        el("th", { scope: "row" }, el("button", { type: "button", class: "key", title: "Show only this", "data-focus": s.group_key || "", onclick: () => this.options.onFilter(s.group_key || "") },
          s.group_key === null ? el("i", {}, "none") : s.group_key), bar),
        el("td", { class: "wide-only" }, sparkline(this.sparks.get(s.group_key) || [])),
        ...COLUMNS.map((c) => el("td", narrow(c), c.text(s))));
    }));
    const total = (c) => (c.total ? rows.reduce((sum, s) => { const v = c.value(s); return v === null ? sum : (sum || 0) + Number(v); }, null) : null);
    const shown = (c) => (!c.total || rows.length === 0 ? "" : c.id === "cost" ? f.dollars(total(c)) : c.id === "tokens" ? f.compact(total(c)) : f.count(total(c)));
    this.foot.replaceChildren(el("th", { scope: "row" }, rows.length === this.rows.length ? (this.complete ? "All" : `The ${f.count(rows.length)} busiest`) : `${f.count(rows.length)} of ${f.count(this.rows.length)}`),
      el("td", { class: "wide-only" }), ...COLUMNS.map((c) => el("td", narrow(c), shown(c))));
    this.more.hidden = rows.length <= this.limit;
    this.more.textContent = `Show more (${f.count(rows.length - this.limit)} left)`;
  }
}
