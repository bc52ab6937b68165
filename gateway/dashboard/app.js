// The dashboard: asks /metrics/api/stats and shows what it says. Everything
// from outside is put in as text, never as markup.
"use strict";

const REFRESH_MS = 10000;
const TOKEN_KEY = "ccproxy_read_token";
const byId = (id) => document.getElementById(id);

// A read token may come as #token=...; it is kept for this tab only.
function takeToken() {
  const match = /^#token=(.+)$/.exec(location.hash);
  if (match) {
    sessionStorage.setItem(TOKEN_KEY, decodeURIComponent(match[1]));
    history.replaceState(null, "", location.pathname + location.search);
  }
}

async function stats(parameters) {
  const headers = { Accept: "application/json" };
  const token = sessionStorage.getItem(TOKEN_KEY);
  if (token) headers.Authorization = "Bearer " + token;
  const response = await fetch("/metrics/api/stats?" + new URLSearchParams(parameters), { headers });
  if (response.status === 401 || response.status === 403)
    throw new Error("A read token is needed: open this page as /metrics/dashboard#token=TOKEN.");
  let body = null;
  try { body = await response.json(); } catch (e) { /* told by the status below */ }
  if (!response.ok) throw new Error((body && body.error) || "The gateway answered " + response.status + ".");
  return body;
}

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 2 });
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 2 });

function dollars(value) {
  if (value === null || value === undefined) return "–";
  const n = Number(value);
  const digits = n !== 0 && Math.abs(n) < 1 ? 6 : 2;
  return new Intl.NumberFormat(undefined, { style: "currency", currency: "USD", maximumFractionDigits: digits }).format(n);
}

function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  return ms < 1000 ? whole.format(ms) + " ms" : (ms / 1000).toFixed(2) + " s";
}

const rate = (value) => (value === null || value === undefined ? "–" : percent.format(value));

function showTotals(s) {
  byId("total_requests").textContent = whole.format(s.total_requests);
  byId("total_cost").textContent = dollars(s.total_cost);
  byId("total_tokens").textContent = compact.format(s.total_tokens);
  byId("error_rate").textContent = rate(s.error_rate);
  byId("avg_response_time_ms").textContent = duration(s.avg_response_time_ms);
  byId("p95_response_time_ms").textContent = duration(s.p95_response_time_ms);
  byId("in_flight_requests").textContent = whole.format(s.in_flight_requests);
  byId("unpriced_requests").textContent = whole.format(s.unpriced_requests);
}

function showModels(rows) {
  byId("models").replaceChildren(...rows.map((s) => {
    const tr = document.createElement("tr");
    const cells = [s.group_key === null ? "unknown" : s.group_key, whole.format(s.total_requests),
      compact.format(Number(s.input_tokens) + Number(s.cache_read_tokens) + Number(s.cache_write_tokens)),
      compact.format(s.output_tokens), dollars(s.total_cost), duration(s.p95_response_time_ms), rate(s.error_rate)];
    for (const cell of cells) {
      const td = document.createElement("td");
      td.textContent = cell;
      tr.append(td);
    }
    return tr;
  }));
}

// One bar per step, gaps included.
function showBars(rows, from, to, stepMs) {
  const start = Math.floor(from / stepMs) * stepMs;
  const counts = new Array(Math.max(1, Math.ceil((to - start) / stepMs))).fill(0);
  for (const s of rows) {
    const i = Math.floor((Date.parse(s.period_start) - start) / stepMs);
    if (i >= 0 && i < counts.length) counts[i] += Number(s.total_requests);
  }
  const most = Math.max(1, ...counts);
  byId("bars").replaceChildren(...counts.map((n, i) => {
    const bar = document.createElement("div");
    bar.style.height = (100 * n / most) + "%";
    bar.title = new Date(start + i * stepMs).toLocaleString() + ": " + whole.format(n);
    return bar;
  }));
}

let running = false;
let timer = 0;

async function refresh() {
  if (running) return;
  running = true;
  clearTimeout(timer);
  const status = byId("status");
  const period = byId("period").value;
  const step = period === "30d" || period === "7d" ? "day" : "hour";
  try {
    const [total, models, steps] = await Promise.all([
      stats({ period }), stats({ period, group_by: "model" }), stats({ period, group_by: step })]);
    status.className = "";
    if (total.stats.length === 0 || Number(total.stats[0].total_requests) === 0) {
      byId("main").hidden = true;
      status.textContent = "No requests in this period yet. Post events to /metrics/api/events.";
    } else {
      showTotals(total.stats[0]);
      showModels(models.stats);
      showBars(steps.stats, Date.parse(steps.start_time), Date.parse(steps.end_time), step === "day" ? 86400000 : 3600000);
      byId("main").hidden = false;
      status.textContent = "As of " + new Date(total.end_time).toLocaleTimeString() + ".";
    }
  } catch (e) {
    status.className = "error";
    status.textContent = e.message;
  }
  running = false;
  schedule();
}

function schedule() {
  clearTimeout(timer);
  if (byId("refresh").checked && !document.hidden)
    timer = setTimeout(refresh, REFRESH_MS * (0.9 + 0.2 * Math.random()));
}

takeToken();
byId("controls").addEventListener("submit", (e) => e.preventDefault());
byId("period").addEventListener("change", refresh);
byId("refresh").addEventListener("change", schedule);
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
refresh();
