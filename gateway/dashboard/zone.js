// Time in a zone: where buckets begin, day-light saving included, and how
// moments are written. Pure.

const WHOLE = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" };
const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const DATE_TIME = { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" };
const WEEKDAY = { weekday: "short", day: "numeric", month: "short", year: "numeric" };
const MINUTE = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
const DAY = { day: "numeric", month: "short" };
const TIME = { hour: "2-digit", minute: "2-digit" };

const formats = new Map(); // zone -> one of these -> format

function format(zone, options) {
  if (!formats.has(zone)) formats.set(zone, new Map());
  const ofZone = formats.get(zone);
  if (!ofZone.has(options)) ofZone.set(options, new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options }));
  return ofZone.get(options);
}

// The wall clock of a moment: [year, month (1-12), day, hour, minute, second].
export function wallClock(ms, zone) {
  const parts = {};
  for (const { type, value } of format(zone, WHOLE).formatToParts(ms)) parts[type] = Number(value);
  return [parts.year, parts.month, parts.day, parts.hour, parts.minute, parts.second];
}

// How far the zone's clock is ahead of UTC at a moment, in milliseconds.
export function offsetAt(ms, zone) {
  const [y, mo, d, h, mi, s] = wallClock(ms, zone);
  return Date.UTC(y, mo - 1, d, h, mi, s) - Math.floor(ms / 1000) * 1000;
}

// The moment at which the zone's clock shows this; where it shows it twice the
// earlier, where it never does the moment the clock jumps over it.
export function momentOf(zone, y, mo, d, h = 0, mi = 0) {
  const wall = Date.UTC(y, mo - 1, d, h, mi);
  const before = wall - offsetAt(wall - 86400e3, zone);
  const after = wall - offsetAt(wall + 86400e3, zone);
  const fits = [before, after].filter((ms) => ms + offsetAt(ms, zone) === wall);
  return fits.length > 0 ? Math.min(...fits) : Math.max(before, after);
}

const STEP_MS = { minute: 60e3, quarter: 900e3, hour: 3600e3 };

// The buckets that make up [from, to): [{start, end}], cut at both ends.
export function buckets(from, to, step, zone) {
  const list = [];
  let start;
  let next;
  if (step === "day") {
    const [y, mo, d] = wallClock(from, zone);
    let n = 0;
    next = () => momentOf(zone, y, mo, d + ++n);
    start = momentOf(zone, y, mo, d);
  } else {
    const length = STEP_MS[step];
    const shift = offsetAt(from, zone); // of zones whose hours are not UTC's
    start = Math.floor((from + shift) / length) * length - shift;
    next = () => start + length;
  }
  while (start < to && list.length < 5000) {
    const end = next();
    list.push({ start: Math.max(start, from), end: Math.min(end, to) });
    start = end;
  }
  return list;
}

// Which of these buckets a moment lies in. What the API answers for may begin
// before what was asked (old detail is kept in coarser buckets): the first.
export function bucketAt(list, ms) {
  let low = 0;
  let high = list.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (list[middle].start <= ms) low = middle;
    else high = middle;
  }
  return low;
}

export const monthStart = (ms, zone) => {
  const [y, mo] = wallClock(ms, zone);
  return momentOf(zone, y, mo, 1);
};
export const monthEnd = (ms, zone) => {
  const [y, mo] = wallClock(ms, zone);
  return momentOf(zone, y, mo + 1, 1);
};

export const clock = (ms, zone) => format(zone, CLOCK).format(ms);
export const dateTime = (ms, zone) => format(zone, DATE_TIME).format(ms);
export const bucketLabel = (ms, step, zone) => format(zone, step === "day" ? WEEKDAY : MINUTE).format(ms);

// On an axis: the day where a day begins or steps are days, else the time.
export function tickLabel(ms, stepSeconds, zone) {
  const [, , , h, mi] = wallClock(ms, zone);
  return format(zone, stepSeconds >= 86400 || (h === 0 && mi === 0) ? DAY : TIME).format(ms);
}

// For <input type="datetime-local">, both ways.
export function toInput(ms, zone) {
  const [y, mo, d, h, mi] = wallClock(ms, zone);
  const two = (n) => String(n).padStart(2, "0");
  return `${String(y).padStart(4, "0")}-${two(mo)}-${two(d)}T${two(h)}:${two(mi)}`;
}
export function fromInput(text, zone) {
  const m = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)/.exec(text);
  return m ? momentOf(zone, ...m.slice(1).map(Number)) : NaN;
}
