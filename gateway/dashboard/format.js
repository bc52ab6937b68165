// Numbers as people read them. Pure. null and undefined are "–": not known.

const NONE = "–";
const known = (v) => v !== null && v !== undefined && !Number.isNaN(Number(v));

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const PERCENT = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 2 });
const PERCENT_DELTA = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1, signDisplay: "always" });
const CENTS = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const SMALL = new Intl.NumberFormat("en", { minimumSignificantDigits: 2, maximumSignificantDigits: 3, maximumFractionDigits: 12 });
const EXACT = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 12 });
const RATE = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const count = (v) => (known(v) ? WHOLE.format(v) : NONE);
export const compact = (v) => (!known(v) ? NONE : Math.abs(v) < 10000 ? WHOLE.format(v) : COMPACT.format(v));
export const percent = (v) => (known(v) ? PERCENT.format(v) : NONE);
export const rate = (v) => (!known(v) ? NONE : Math.abs(v) < 1000 ? RATE.format(v) : compact(v));

// Cents for what is worth cents; what is less shows its first digits.
export function dollars(v) {
  if (!known(v)) return NONE;
  const n = Number(v);
  return (n < 0 ? "-$" : "$") + (n !== 0 && Math.abs(n) < 0.995 ? SMALL : CENTS).format(Math.abs(n));
}
// All digits, for the lines of one request's cost.
export const dollarsExact = (v) => (known(v) ? "$" + EXACT.format(Number(v)) : NONE);

export function duration(ms) {
  if (!known(ms)) return NONE;
  const n = Number(ms);
  if (n < 9.95) return n.toFixed(1) + " ms";
  if (n < 999.5) return n.toFixed(0) + " ms";
  if (n < 59950) return (n / 1000).toFixed(n < 9995 ? 2 : 1) + " s";
  return Math.floor(n / 60000) + " min " + Math.round((n % 60000) / 1000) + " s";
}

// The same, short, for an axis.
export function durationTick(ms) {
  if (ms < 1000) return ms + " ms";
  return ms < 60000 ? ms / 1000 + " s" : Math.round(ms / 60000) + " min";
}

// A change against before: {text, direction: -1, 0, 1}, or null where there is
// nothing to compare with.
export function change(now, before) {
  if (!known(now) || !known(before) || Number(before) === 0) return null;
  const ratio = Number(now) / Number(before) - 1;
  if (Math.abs(ratio) < 0.0005) return { text: "no change", direction: 0 };
  return { text: ratio > 9.995 ? "×" + RATE.format(ratio + 1) : PERCENT_DELTA.format(ratio), direction: Math.sign(ratio) };
}
