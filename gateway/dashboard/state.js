// What the page shows, as its address says it: whatever can be shared, and what
// the back button goes through. Pure: no network, no document.

export const PERIODS = { "1h": 3600e3, "6h": 6 * 3600e3, "24h": 24 * 3600e3, "7d": 7 * 86400e3, "30d": 30 * 86400e3 };

// What can be filtered by and grouped by. key: the API's name; label: the page's.
export const DIMENSIONS = [
  { key: "model", label: "Model" },
  { key: "user", label: "User" },
  { key: "team", label: "Team" },
  { key: "api_key", label: "API key" },
  { key: "endpoint", label: "Endpoint" },
  { key: "status", label: "Status" },
  { key: "error_type", label: "Error" },
];
const FILTERS = [...DIMENSIONS.map((d) => d.key), "state", "session", "provider", "method", "service_tier"];
export const ORDERS = { newest: "Newest", slowest: "Slowest", dearest: "Dearest", failed: "Failed" };

export const dimensionLabel = (key) =>
  (DIMENSIONS.find((d) => d.key === key) || { label: key.replaceAll("_", " ") }).label;

export function localZone() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

function knownZone(zone) {
  try {
    new Intl.DateTimeFormat("en", { timeZone: zone });
    return true;
  } catch (e) {
    return false;
  }
}

// An address's query into a state; what is not understood falls back to the default.
export function readState(search) {
  const p = new URLSearchParams(search);
  const from = Date.parse(p.get("from"));
  const to = Date.parse(p.get("to"));
  const custom = Number.isFinite(from) && Number.isFinite(to) && from < to;
  const filters = {};
  for (const key of FILTERS)
    if (p.has(key)) filters[key] = [...new Set(p.getAll(key))];
  return {
    period: custom ? null : p.get("period") in PERIODS ? p.get("period") : "24h",
    from: custom ? from : null,
    to: custom ? to : null,
    zone: p.has("tz") && knownZone(p.get("tz")) ? p.get("tz") : localZone(),
    by: DIMENSIONS.some((d) => d.key === p.get("by")) ? p.get("by") : "model",
    order: p.get("order") in ORDERS ? p.get("order") : "newest",
    request: p.get("request"),
    filters,
  };
}

// The query of a state: only what differs from the default, in one order.
export function writeState(state) {
  const p = new URLSearchParams();
  if (state.period === null) {
    p.set("from", new Date(state.from).toISOString());
    p.set("to", new Date(state.to).toISOString());
  } else if (state.period !== "24h") p.set("period", state.period);
  if (state.zone !== localZone()) p.set("tz", state.zone);
  if (state.by !== "model") p.set("by", state.by);
  if (state.order !== "newest") p.set("order", state.order);
  for (const key of FILTERS)
    for (const value of state.filters[key] || []) p.append(key, value);
  if (state.request !== null) p.set("request", state.request);
  const text = p.toString();
  return text === "" ? "" : "?" + text;
}

export function withFilter(state, key, value) {
  const values = state.filters[key] || [];
  return values.includes(value) ? state : { ...state, filters: { ...state.filters, [key]: [...values, value] } };
}

export function withoutFilter(state, key, value) {
  const filters = { ...state.filters };
  filters[key] = (filters[key] || []).filter((v) => v !== value);
  if (filters[key].length === 0) delete filters[key];
  return { ...state, filters };
}

// The length of what is shown, and the steps it is drawn in.
export const spanOf = (state) => (state.period === null ? state.to - state.from : PERIODS[state.period]);

const STEPS = [
  { step: "minute", upTo: 3 * 3600e3 },
  { step: "quarter", upTo: 18 * 3600e3 },
  { step: "hour", upTo: 8 * 86400e3 },
  { step: "day", upTo: Infinity },
];
export const stepOf = (state) => STEPS.find((s) => spanOf(state) <= s.upTo).step;

// What the API is asked with for this state.
export function queryOf(state) {
  const p = new URLSearchParams();
  if (state.period === null) {
    p.set("from", new Date(state.from).toISOString());
    p.set("to", new Date(state.to).toISOString());
  } else p.set("period", state.period);
  p.set("time_zone", state.zone);
  for (const key of FILTERS)
    for (const value of state.filters[key] || []) p.append(key, value);
  return p;
}
