// The dashboard: keeps the state in the address, asks for what it needs, shows
// it, and asks again while somebody looks.
import { ApiError, get, getCsv, signOut, takeToken } from "./api.js";
import { Chart, forgetColors } from "./charts.js";
import { byId, el, refill, save } from "./dom.js";
import * as f from "./format.js";
import { RequestList, requestDetails } from "./requests.js";
import { DIMENSIONS, ORDERS, dimensionLabel, localZone, queryOf, readState, spanOf, stepOf, withFilter, withoutFilter, writeState } from "./state.js";
import { DimensionTable } from "./table.js";
import { bucketAt, buckets, clock, dateTime, fromInput, monthEnd, monthStart, toInput } from "./zone.js";

const REFRESH_MS = 10000;
const SLOW_MS = 60000; // for the time before, the month's end and what caching saved
const RETRY_MS = 3000;
const STACKED_MODELS = 7;
const LIST_ROWS = 25;
const LIST_MOST = 500; // rows that a refresh keeps
const TABLE_MOST = 1000; // rows, where there are more than an answer holds
const SPARK_MOST = 50; // lines beside them
const SPARK_BYTES = 6000; // of the names in that question
// what of the statistics is drawn
const TABLE_FIELDS = ["total_requests", "error_rate", "p50_response_time_ms", "p95_response_time_ms", "input_tokens", "cache_read_tokens",
  "cache_write_tokens", "total_tokens", "total_cost", "unpriced_requests"];
const TILE_FIELDS = [...TABLE_FIELDS, "failed_requests", "in_flight_requests", "p50_ttft_ms", "p95_ttft_ms", "rate_limited_requests"];
const STEP_FIELDS = ["successful_requests", "failed_requests", "in_flight_requests", "p50_response_time_ms", "p95_response_time_ms",
  "p99_response_time_ms", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "model_usage", "model_costs"];

let state = readState(location.search);
const ready = new Promise((done) => addEventListener("DOMContentLoaded", done)); // uPlot is there by then
let loading = null; // AbortController of the load under way
let timer = 0;
let cursor = null; // where the list of requests goes on
let known = {}; // what the headlines are made of; a refresh keeps it until there is newer
let lists = 0; // questions for it so far: an answer to an older one is too late
let range = { from: 0, to: 0 }; // what the answers cover
let frame = { buckets: [], step: "hour", zone: "UTC" }; // of what is drawn over time

// ------------------------------------------------------------------ state

function go(next) {
  const address = writeState(next);
  if (address !== location.search) history.pushState(null, "", location.pathname + address);
  const moved = JSON.stringify({ ...state, request: null }) !== JSON.stringify({ ...next, request: null });
  state = next;
  showControls();
  showRequest();
  if (moved) load(true);
}

const goRange = (from, to) => go({ ...state, period: null, from: Math.floor(from), to: Math.ceil(to) });
const goFilter = (key, value) => go(withFilter(state, key, value));

// --------------------------------------------------------------- controls

function showControls() {
  for (const button of byId("periods").children) button.setAttribute("aria-pressed", String(button.dataset.period === state.period));
  const custom = state.period === null;
  byId("custom").toggleAttribute("data-active", custom);
  byId("custom-label").textContent = custom ? `${toInput(state.from, state.zone).replace("T", " ")} – ${toInput(state.to, state.zone).replace("T", " ")}` : "Custom";
  const now = Date.now();
  byId("range-from").value = toInput(custom ? state.from : now - spanOf(state), state.zone);
  byId("range-to").value = toInput(custom ? state.to : now, state.zone);
  addZones([state.zone]);
  byId("zone").value = state.zone;
  const used = Object.entries(state.filters).flatMap(([key, values]) => values.map((value) => [key, value]));
  byId("chips").replaceChildren(...used.map(([key, value]) => el("li", {}, el("button", {
    type: "button", "aria-label": `Remove filter ${dimensionLabel(key)} ${value || "none"}`, onclick: () => go(withoutFilter(state, key, value)),
  }, `${dimensionLabel(key)}: ${value || "none"} ✕`))));
  byId("clear-filters").hidden = used.length === 0;
  for (const tab of byId("tabs").children) {
    tab.setAttribute("aria-selected", String(tab.dataset.by === state.by));
    tab.tabIndex = tab.dataset.by === state.by ? 0 : -1;
  }
  for (const button of byId("orders").children) button.setAttribute("aria-pressed", String(button.dataset.order === state.order));
}

function addZones(zones) {
  const there = new Set([...byId("zone").options].map((o) => o.value));
  byId("zone").append(...[...new Set(zones)].filter((z) => !there.has(z)).map((z) => el("option", { value: z }, z)));
}

// They are hundreds, which takes longer to lay out than all else.
function addAllZones() {
  if (byId("zone").options.length < 10 && typeof Intl.supportedValuesOf === "function") addZones(Intl.supportedValuesOf("timeZone"));
}

function makeControls() {
  addZones([localZone(), "UTC"]);
  byId("zone").addEventListener("focus", addAllZones);
  byId("zone").addEventListener("change", (e) => go({ ...state, zone: e.target.value }));
  byId("periods").addEventListener("click", (e) => e.target.dataset.period && go({ ...state, period: e.target.dataset.period, from: null, to: null }));
  byId("range-form").addEventListener("submit", (e) => {
    e.preventDefault();
    const from = fromInput(byId("range-from").value, state.zone);
    const to = fromInput(byId("range-to").value, state.zone);
    byId("range-to").setCustomValidity(from < to ? "" : "must be after the beginning");
    if (!byId("range-form").reportValidity()) return;
    byId("custom").open = false;
    goRange(from, to);
  });
  byId("range-form").addEventListener("input", () => byId("range-to").setCustomValidity(""));

  byId("filter-key").append(...DIMENSIONS.map((d) => el("option", { value: d.key }, d.label)), el("option", { value: "state" }, "State"),
    ...["session", "provider", "method", "service_tier"].map((k) => el("option", { value: k }, dimensionLabel(k))));
  byId("filter-key").addEventListener("change", suggest);
  byId("add-filter").addEventListener("toggle", () => byId("add-filter").open && suggest());
  byId("filter-form").addEventListener("submit", (e) => {
    e.preventDefault();
    const value = byId("filter-value").value.trim();
    byId("add-filter").open = false;
    byId("filter-value").value = "";
    goFilter(byId("filter-key").value, value);
  });
  byId("clear-filters").addEventListener("click", () => go({ ...state, filters: {} }));
  for (const drop of document.querySelectorAll(".drop"))
    drop.addEventListener("keydown", (e) => {
      if (e.key !== "Escape" || !drop.open) return;
      drop.open = false;
      drop.querySelector("summary").focus();
    });
  document.addEventListener("click", (e) => {
    for (const drop of document.querySelectorAll(".drop[open]")) if (!drop.contains(e.target)) drop.open = false;
  });

  byId("tabs").append(...DIMENSIONS.map((d) => el("button", { type: "button", role: "tab", "data-by": d.key, "aria-controls": "table", onclick: () => go({ ...state, by: d.key }) }, d.label)));
  byId("tabs").addEventListener("keydown", (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!step) return;
    const i = DIMENSIONS.findIndex((d) => d.key === state.by);
    const next = (i + step + DIMENSIONS.length) % DIMENSIONS.length;
    go({ ...state, by: DIMENSIONS[next].key });
    byId("tabs").children[next].focus();
  });
  byId("orders").append(...Object.entries(ORDERS).map(([key, label]) => el("button", { type: "button", "data-order": key, onclick: () => go({ ...state, order: key }) }, label)));

  const theme = localStorage.getItem("ccproxy_theme") || "";
  byId("theme").value = theme;
  setTheme(theme);
  byId("theme").addEventListener("change", (e) => {
    localStorage.setItem("ccproxy_theme", e.target.value);
    setTheme(e.target.value);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  byId("sign-out").addEventListener("click", async () => {
    await signOut();
    load(true);
  });
  byId("live").addEventListener("change", schedule);
  byId("requests-csv").addEventListener("click", () => csv("requests", listQuery(Math.max(LIST_ROWS, list.shown)), "requests.csv"));
  byId("request-close").addEventListener("click", () => byId("request").close());
  byId("request").addEventListener("close", () => {
    const id = state.request;
    if (id === null) return;
    go({ ...state, request: null });
    list.focus(id); // the button that opened it may have been drawn anew meanwhile
  });
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  redraw();
}

function redraw() {
  forgetColors();
  Object.values(charts).forEach((c) => c.data && c.show(c.data));
}

// Values to choose from: what the statistics know in this range.
async function suggest() {
  const key = byId("filter-key").value;
  const list = byId("filter-values");
  list.replaceChildren();
  if (key === "state") return list.replaceChildren(...["successful", "failed", "in_flight"].map((v) => el("option", { value: v })));
  try {
    const { stats } = await get("stats", statsQuery({ ...state, filters: {} }, key, { fields: "total_requests" }));
    list.replaceChildren(...stats.filter((s) => s.group_key !== null).slice(0, 200).map((s) => el("option", { value: s.group_key })));
  } catch (e) { /* it can be typed all the same */ }
}

async function csv(path, query, name) {
  try {
    save(await getCsv(path, query), name);
  } catch (e) {
    showFailure(e);
  }
}

// ------------------------------------------------------------------- asking

function statsQuery(of, groupBy, more = {}) {
  const p = queryOf(of);
  if (groupBy) p.set("group_by", groupBy);
  for (const [key, value] of Object.entries(more)) p.set(key, value);
  return p;
}

function savingsQuery() {
  const p = queryOf(state);
  p.delete("time_zone");
  return p;
}

function listQuery(rows) {
  const p = queryOf(state);
  p.delete("time_zone");
  p.set("order", state.order);
  p.set("limit", String(rows));
  return p;
}

// Statistics by one dimension: an answer that says whether it is complete. Where
// there are more groups than one holds, it has the busiest.
function groupsOf(by, more, signal) {
  return get("stats", statsQuery(state, by, more), signal).then((answer) => ({ ...answer, complete: true }), async (e) => {
    if (!e.isTooMany) throw e;
    return { ...await get("stats", statsQuery(state, by, { ...more, limit: TABLE_MOST }), signal), complete: false };
  });
}

// The same over time, likewise: then of the first of those groups.
function groupsOverTime(by, groups, signal) {
  const asked = () => statsQuery(state, `${stepOf(state)},${by}`, { fields: "total_requests" });
  return get("stats", asked(), signal).catch(async (e) => {
    if (!e.isTooMany) throw e;
    const query = asked();
    query.delete(by);
    for (const s of (await groups).stats.slice(0, SPARK_MOST)) {
      if (String(query).length > SPARK_BYTES) break;
      query.append(by, s.group_key === null ? "" : s.group_key);
    }
    return get("stats", query, signal).catch((tooMany) => { if (tooMany.isTooMany) return { stats: [] }; throw tooMany; });
  }).then((answer) => answer.stats);
}

// ------------------------------------------------------------------ showing

const charts = {
  requests: new Chart({ title: "Requests", kind: "bars", format: f.count, axis: f.compact, onRange: goRange, onCsv: () => csv("stats", statsQuery(state, stepOf(state)), "requests-over-time.csv") }),
  latency: new Chart({ title: "Response time", kind: "lines", log: true, total: false, format: f.duration, axis: f.durationTick, onRange: goRange, onCsv: () => csv("stats", statsQuery(state, stepOf(state)), "response-time.csv") }),
  tokens: new Chart({ title: "Tokens", kind: "bars", format: f.compact, axis: f.compact, onRange: goRange, onCsv: () => csv("stats", statsQuery(state, stepOf(state)), "tokens.csv") }),
  cost: new Chart({ title: "Cost by model", kind: "bars", format: f.dollars, axis: f.dollars, onRange: goRange, onCsv: () => csv("stats", statsQuery(state, stepOf(state) + ",model"), "cost-by-model.csv") }),
};
const table = new DimensionTable({ onFilter: (value) => goFilter(state.by, value), onCsv: () => csv("stats", statsQuery(state, state.by), `by-${state.by}.csv`) });
const list = new RequestList({ onOpen: (id) => go({ ...state, request: id }), onMore: () => loadRequests(LIST_ROWS, true), onCsv: null });

function tile(name, value, under, delta, better) {
  const comparison = delta === null ? null : el("span", { class: delta.direction === 0 || better === 0 ? null : delta.direction === better ? "better" : "worse" },
    delta.direction > 0 ? "▲ " : delta.direction < 0 ? "▼ " : "", delta.text);
  return el("div", {}, el("dt", {}, name), el("dd", { class: "value" }, value),
    el("dd", { class: "under" }, comparison, comparison && under ? " · " : null, under));
}

const cached = (s) => {
  const input = Number(s.input_tokens) + Number(s.cache_read_tokens) + Number(s.cache_write_tokens);
  return input > 0 ? Number(s.cache_read_tokens) / input : null;
};

// The month's cost so far, carried on at its own pace.
function projection(month) {
  if (!month || month.total_cost === null || month.total_cost === undefined) return null;
  const begun = monthStart(month.asked, state.zone);
  return Number(month.total_cost) * (monthEnd(month.asked, state.zone) - begun) / Math.max(1, month.asked - begun);
}

// What is known: now, before, month are rows of statistics.
function showTiles({ now, before = {}, limited, month, savings }) {
  const seconds = (range.to - range.from) / 1000;
  const delta = (key) => f.change(now[key], before[key]);
  const ahead = projection(month);
  byId("tiles").replaceChildren(
    tile("Requests", f.count(now.total_requests), now.in_flight_requests > 0 ? f.count(now.in_flight_requests) + " in flight" : null, delta("total_requests"), 0),
    tile("Error rate", f.percent(now.error_rate), f.count(now.failed_requests) + " failed", delta("error_rate"), -1),
    tile("Response time p95", f.duration(now.p95_response_time_ms), "p50 " + f.duration(now.p50_response_time_ms), delta("p95_response_time_ms"), -1),
    tile("First token p95", f.duration(now.p95_ttft_ms), "p50 " + f.duration(now.p50_ttft_ms), delta("p95_ttft_ms"), -1),
    tile("Tokens per second", f.rate(now.total_tokens / seconds), f.compact(now.total_tokens) + " in all", delta("total_tokens"), 0),
    tile("Cost", f.dollars(now.total_cost), ahead === null ? null : `month's end ≈ ${f.dollars(ahead)}`, delta("total_cost"), -1),
    tile("Cache hits", f.percent(cached(now)), !savings || savings.savings === null ? null : `saved ${f.dollars(savings.savings)}`, f.change(cached(now), cached(before)), 1),
    tile("Rate limited", f.count(limited), limited !== null && now.total_requests > 0 ? f.percent(limited / now.total_requests) + " of requests" : null,
      f.change(limited, before.rate_limited_requests), -1),
  );
}

function showUnpriced(models) {
  const rows = models.filter((s) => s.unpriced_requests > 0);
  byId("unpriced").hidden = rows.length === 0;
  if (rows.length === 0) return;
  refill(byId("unpriced"),
    el("h2", {}, `${f.count(rows.reduce((n, s) => n + s.unpriced_requests, 0))} requests have no price`),
    el("p", {}, "Their cost is unknown and in no total. Give these models a price (USD per million tokens), then price the past:"),
    el("ul", {}, ...rows.slice(0, 8).map((s) => el("li", {}, el("button", { type: "button", class: "key", "data-focus": s.group_key || "", onclick: () => goFilter("model", s.group_key || "") },
      s.group_key === null ? el("i", {}, "none") : s.group_key), ` ${f.count(s.unpriced_requests)} requests, ${f.compact(s.total_tokens)} tokens`))),
    el("pre", {}, el("code", {}, `SELECT ccproxy.set_price('${(rows[0].group_key || "model").replaceAll("'", "''")}', input => 1.00, output => 5.00, effective_from => '-infinity');\nCALL ccproxy.reprice(only_unpriced => true);`)));
}

// Budgets in use: how full, and where each is going.
function showBudgets(budgets) {
  const section = byId("budgets");
  section.hidden = budgets.length === 0;
  if (budgets.length === 0) return;
  section.replaceChildren(el("h2", {}, "Budgets"), el("div", { class: "budgets" }, ...budgets.slice(0, 12).map((b) => {
    const meter = el("span", { class: "meter " + b.state, "aria-hidden": "true" }, el("span"));
    meter.firstChild.style.width = Math.min(100, b.used_percent === null ? 100 : b.used_percent) + "%";
    return el("div", {},
      el("div", {}, el("b", {}, b.name), ` ${b.scope === "all" ? "" : b.scope + " " + b.value + ", "}by ${b.period}`),
      meter,
      el("div", { class: "under" }, el("span", { class: b.state === "exceeded" ? "worse" : null }, `${f.dollars(b.spent_usd)} of ${f.dollars(b.limit_usd)}`,
        b.used_percent === null ? "" : ` (${f.count(b.used_percent)} %, ${b.state})`),
      b.projected_usd === null ? null : `, ends ≈ ${f.dollars(b.projected_usd)}`, b.unpriced_requests > 0 ? `, ${f.count(b.unpriced_requests)} unpriced` : null));
  })));
}

// Statistics over time, each with the bucket it belongs to.
function placed(steps) {
  for (const s of steps) s.at = bucketAt(frame.buckets, Date.parse(s.period_start));
  return steps;
}

function showSteps(steps) {
  const column = (key, missing, merge) => {
    const values = frame.buckets.map(() => missing);
    for (const s of steps) if (s[key] !== null) values[s.at] = merge(values[s.at], Number(s[key]));
    return values;
  };
  const bars = (names) => names.map(([name, key, color]) => ({ name, color, values: column(key, 0, (a, b) => a + b) }));
  const optional = (s) => !["In flight"].includes(s.name) || s.values.some((v) => v > 0);
  charts.requests.show({ ...frame, series: bars([["Successful", "successful_requests", "--series-0"], ["Failed", "failed_requests", "--series-1"], ["In flight", "in_flight_requests", "--series-7"]]).filter(optional) });
  charts.latency.show({ ...frame, series: [["p50", "p50_response_time_ms"], ["p95", "p95_response_time_ms"], ["p99", "p99_response_time_ms"]].map(([name, key]) => ({ name, values: column(key, null, (a, b) => b) })) });
  charts.tokens.show({ ...frame, series: bars([["Input", "input_tokens", "--series-0"], ["Cache read", "cache_read_tokens", "--series-2"], ["Cache write", "cache_write_tokens", "--series-4"], ["Output", "output_tokens", "--series-1"]]) });
}

// Numbers over time by name: a Map of name -> values by bucket.
class Lines extends Map {
  add(name, at, n) {
    let values = this.get(name);
    if (!values) this.set(name, values = frame.buckets.map(() => 0));
    values[at] += n;
  }
}

// What steps tell by model. Requests without one are called unknown there, as are
// those of a model of that name; models: the groups, which keep them apart.
function linesByModel(steps, key, models) {
  const unknown = models.some((s) => s.group_key === "unknown") ? "unknown" : null;
  const lines = new Lines();
  for (const s of steps) for (const name in s[key]) lines.add(name === "unknown" ? unknown : name, s.at, s[key][name]);
  return lines;
}

function linesByGroup(steps) {
  const lines = new Lines();
  for (const s of placed(steps)) lines.add(s.group_key2, s.at, s.total_requests);
  return lines;
}

function showCost(steps, models) {
  const lines = [...linesByModel(steps, "model_costs", models)]
    .map(([name, values]) => ({ name: name === null ? "none" : name, values, total: values.reduce((sum, v) => sum + v, 0) }))
    .filter((line) => line.total > 0).sort((a, b) => b.total - a.total);
  const series = lines.slice(0, STACKED_MODELS);
  const rest = lines.slice(STACKED_MODELS);
  if (rest.length > 0)
    series.push({ name: `${rest.length} others`, color: "--series-7", values: frame.buckets.map((_, i) => rest.reduce((sum, line) => sum + line.values[i], 0)) });
  if (series.length === 0) series.push({ name: "Cost", values: frame.buckets.map(() => 0) });
  charts.cost.show({ ...frame, series });
}

function showModels(rows, steps) {
  const lines = linesByModel(steps, "model_usage", rows.stats);
  if (rows.stats.some((s) => s.group_key === null)) lines.delete("unknown"); // it is of both
  showTable(rows, lines);
}

const showTable = (rows, lines) => table.show(dimensionLabel(state.by), rows.stats, lines, rows.complete);

// ------------------------------------------------------------------ loading

// One load of everything. fresh: what is shown belongs to another question.
async function load(fresh) {
  if (loading) loading.abort();
  const mine = loading = new AbortController();
  const { signal } = mine;
  clearTimeout(timer);
  if (fresh) {
    byId("main").classList.add("stale");
    table.say("Loading …");
    list.say("Loading …");
  }
  const step = stepOf(state);
  const now = Date.now();
  const month = queryOf(state);
  month.delete("period");
  month.set("from", new Date(monthStart(now, state.zone)).toISOString());
  month.set("to", new Date(Math.ceil(now / 60000) * 60000).toISOString());
  month.set("fields", "total_cost");
  try {
    // each is shown when it is there; what the headlines need comes first
    if (fresh) known = {};
    const tiles = () => known.now && showTiles(known);
    // what changes slowly is not asked each time, and is not known any more after a pause
    const slowly = (key, ask) => {
      const age = known[key] ? now - known[key].asked : Infinity;
      if (age > 2 * SLOW_MS) delete known[key];
      return age < SLOW_MS ? [] : [ask().then((row) => { known[key] = { ...row, asked: now }; })];
    };
    const steps = get("stats", statsQuery(state, step, { fields: STEP_FIELDS }), signal).then((answer) => answer.stats);
    steps.catch(() => {}); // who asks for it waits for the totals first; a failure is told once
    const byModel = groupsOf("model", { total: true, fields: TILE_FIELDS }, signal);
    const totals = byModel.then((answer) => {
      range = { from: Date.parse(answer.start_time), to: Date.parse(answer.end_time), now };
      frame = { buckets: buckets(range.from, range.to, step, state.zone), step, zone: state.zone };
      known.now = answer.total;
      if (known.now.rate_limited_requests !== null || known.limited === undefined) known.limited = known.now.rate_limited_requests;
      tiles();
      byId("main").classList.remove("stale");
      showStatus(answer);
      showUnpriced(answer.stats);
    });
    const listed = loadRequests(fresh ? LIST_ROWS : Math.min(LIST_MOST, Math.max(LIST_ROWS, list.shown)), false, signal, totals.catch(() => {}));
    const drawTable = async () => {
      if (state.by === "model") return showModels(await byModel, placed(await steps));
      const rows = groupsOf(state.by, { fields: TABLE_FIELDS }, signal);
      const lines = groupsOverTime(state.by, rows, signal);
      return Promise.all([rows, lines]).then(([some, all]) => showTable(some, linesByGroup(all)), (e) => inItsPlace(e, table));
    };
    await Promise.all([
      Promise.all([byModel, totals.then(() => steps), ready]).then(([models, all]) => { placed(all); showSteps(all); showCost(all, models.stats); }),
      totals.then(drawTable),
      listed.catch((e) => inItsPlace(e, list)),
      Promise.all([
        ...slowly("before", () => totals.then(() => get("stats", statsQuery({ ...state, period: null, from: 2 * range.from - range.to, to: range.from }, null, { fields: TILE_FIELDS }), signal))
          .then((answer) => answer.stats[0])),
        ...slowly("month", () => get("stats", month, signal).then((answer) => answer.stats[0])),
        ...slowly("savings", () => get("savings", savingsQuery(), signal)),
      ]).then((asked) => asked.length > 0 && tiles()),
    ]);
    // With some filters no rollup tells statuses, and single requests are read: last, and
    // the tile stays without a number when that takes too long.
    if (known.now.rate_limited_requests === null)
      await get("stats", statsQuery(state, "status", { fields: "total_requests" }), signal).then(({ stats }) => {
        known.limited = (stats.find((s) => s.group_key === "429") || { total_requests: 0 }).total_requests;
        tiles();
      }).catch((e) => inItsPlace(e, { fail() {} }));
    // a session that is limited to one user sees none
    await get("budgets", null, signal).then((answer) => showBudgets(answer.budgets), (e) => { if (e.status !== 403 && e.status !== 404) throw e; });
    schedule();
  } catch (e) {
    if (e.name === "AbortError") return;
    mine.abort(); // what else comes in must not say that all is well
    showFailure(e);
    schedule(e);
  } finally {
    if (loading === mine) loading = null;
    addAllZones();
  }
}

// What fails by itself (a question too slow, say) is told where its answer
// would stand; the rest of the page is as it should be.
function inItsPlace(e, place) {
  if (!(e instanceof ApiError) || e.status === 0 || e.isSignIn || e.isAway) throw e;
  place.fail(e.message);
}

// after: what is to be shown before
async function loadRequests(rows, more, signal, after) {
  const query = listQuery(rows);
  const mine = ++lists;
  if (more && cursor) query.set("cursor", cursor);
  try {
    const answer = await get("requests", query, signal);
    await after;
    if (mine !== lists || (signal && signal.aborted)) return;
    cursor = answer.next_cursor || null;
    list.show(answer.requests, state.zone, cursor !== null, more);
  } catch (e) {
    if (e.name === "AbortError" || !more) throw e;
    list.say(e.message);
  }
}

// The times are of no region that is read out: nobody wants to hear the clock.
function showStatus(answer) {
  const status = byId("status");
  status.className = "";
  const empty = answer.total.total_requests === 0;
  const say = !empty ? "Data as of " : Object.keys(state.filters).length > 0 ? "No requests match these filters in this period." : "No requests in this period yet. Post events to /metrics/api/events.";
  const times = empty ? "" : `${clock(Date.parse(answer.as_of), state.zone)} · ${dateTime(range.from, state.zone)} to ${dateTime(range.to, state.zone)}, ${state.zone}`;
  const said = status.querySelector("[aria-live=off]");
  if (said && status.firstChild.textContent === say) said.textContent = times;
  else status.replaceChildren(say, el("span", { "aria-live": "off" }, times));
}

function showFailure(e) {
  const status = byId("status");
  status.className = "error";
  if (e instanceof ApiError && e.isSignIn) {
    status.replaceChildren("You are not signed in. Ask for a link: ", el("code", {}, "ccproxy-gateway login-link"));
    return;
  }
  const before = " What is shown is from before.";
  status.textContent = !(e instanceof ApiError) || (e.status > 0 && e.status < 500) ? e.message
    : e.isAway ? "PostgreSQL is away; events are still taken if they can be spooled." + before
    : e.message + before;
  byId("main").classList.add("stale");
}

// While the page is in the background nothing is asked.
function schedule(failure) {
  clearTimeout(timer);
  if (!byId("live").checked || document.hidden) return;
  if (failure instanceof ApiError && (failure.status === 401 || failure.status === 400)) return;
  const wait = failure ? Math.max(RETRY_MS, (failure.retryAfter || 0) * 1000) : REFRESH_MS;
  timer = setTimeout(() => load(false), wait * (0.9 + 0.2 * Math.random()));
}

async function showRequest() {
  const dialog = byId("request");
  if (state.request === null) {
    if (dialog.open) dialog.close();
    return;
  }
  const body = byId("request-body");
  const id = state.request;
  body.replaceChildren(el("p", {}, "Loading …"));
  if (!dialog.open) dialog.showModal();
  try {
    const answer = await get("requests/" + encodeURIComponent(id));
    if (state.request !== id) return; // another one has been opened
    body.replaceChildren(requestDetails(answer, answer.cost_lines, state.zone));
  } catch (e) {
    if (state.request !== id) return;
    body.replaceChildren(el("p", {}, e.status === 404 ? "There is no such request, or it has expired." : e.message));
  }
}

// -------------------------------------------------------------------- begin

takeToken();
load(true); // first: the page can be put together while the answers come
byId("charts").append(charts.requests.figure, charts.latency.figure, charts.tokens.figure, charts.cost.figure);
byId("table").append(table.element);
byId("requests").append(list.element);
makeControls();
showControls();
addEventListener("popstate", () => {
  state = readState(location.search);
  showControls();
  showRequest();
  load(true);
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : load(false)));
showRequest();
