// Charts over time, drawn by uPlot. A chart is a figure with a title, a legend
// that doubles as the read-out of the bucket under the cursor, and its numbers
// as a table. Dragging chooses a range, a click or Enter a bucket; arrow keys
// move the cursor.
/* global uPlot */
import { el } from "./dom.js";
import { bucketLabel, tickLabel } from "./zone.js";

const HEIGHT = 210;
const DASHES = [[], [6, 3], [2, 3]];

const SEPARATE_BARS = 60; // more of them stand side by side

// The theme's colours. Asking for one makes the browser bring all styles up to
// date, so they are kept until forgetColors().
const known = new Map();
function css(name) {
  if (!known.has(name)) known.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return known.get(name);
}
export const forgetColors = () => known.clear();
const color = (series, i) => css(series.color || `--series-${i % 8}`);

// Heights of stacked parts: each as high as itself and all before it.
function stacked(columns) {
  const sums = [];
  let below = null;
  for (const column of columns) {
    below = column.map((v, i) => (v || 0) + (below ? below[i] : 0));
    sums.push(below);
  }
  return sums;
}

const sum = (values) => values.reduce((a, v) => a + (v || 0), 0);

export class Chart {
  // options: title, kind "bars" (stacked) or "lines", format(value),
  // axis(value), log, total (the legend's sum of a series when nothing is
  // pointed at; false: none), onRange(from, to), onCsv()
  constructor(options) {
    this.options = options;
    this.plot = null;
    this.key = "";
    this.legend = el("ul", { class: "legend" });
    this.where = el("span", { class: "where" });
    this.spoken = el("span", { class: "hidden-text", "aria-live": "polite" });
    this.canvas = el("div", {
      class: "plot", tabindex: "0", role: "group",
      "aria-label": `${options.title}: arrow keys move through the buckets, Enter shows one alone; the numbers are in the table below`,
      onkeydown: (e) => this.onKey(e),
    });
    this.tableBox = el("div", { class: "scroll" });
    this.details = el("details", { ontoggle: () => this.fillTable() }, el("summary", {}, "Show as table"), this.tableBox);
    this.message = el("p", { class: "panel-message", role: "status" }, "Loading …");
    this.figure = el("figure", { class: "panel chart", "aria-label": options.title },
      el("div", { class: "panel-head" }, el("h2", {}, options.title), this.where,
        options.onCsv ? el("button", { type: "button", class: "quiet", onclick: options.onCsv, "aria-label": `${options.title}: save as CSV` }, "CSV") : null),
      this.message, this.canvas, this.legend, this.spoken, this.details);
    // asking for the width instead would lay the page out for each chart
    this.width = 0;
    new ResizeObserver(([entry]) => this.resize(entry.contentRect.width)).observe(this.canvas);
  }

  say(text) {
    this.message.textContent = text;
    this.message.hidden = text === "";
    this.canvas.hidden = this.legend.hidden = this.details.hidden = text !== "" && this.plot === null;
  }

  // data: {buckets: [{start, end}], step, zone, series: [{name, values, color}]}
  show(data) {
    this.data = data;
    const xs = data.buckets.map((b) => b.start / 1000);
    const columns = data.series.map((s) => s.values);
    const bars = this.options.kind === "bars";
    // the highest is drawn first, so that the lower ones stand before it
    const drawn = bars ? stacked(columns).reverse()
      : this.options.log ? columns.map((c) => c.map((v) => (v > 0 ? v : null))) : columns; // a logarithm has no zero
    const key = JSON.stringify([data.zone, data.step, data.buckets.length > SEPARATE_BARS, data.series.map((s) => s.name), css("--paper"), this.options.log]);
    this.say("");
    if (this.plot === null || key !== this.key) this.rebuild(key, data, bars);
    const last = data.buckets.at(-1);
    this.span = { min: xs[0], max: Math.max(last.end / 1000, xs[0] + 1) };
    this.plot.setData([xs, ...drawn], false);
    this.plot.setScale("x", this.span);
    this.showLegend(null);
    this.fillTable();
  }

  rebuild(key, data, bars) {
    this.key = key;
    if (this.plot) this.plot.destroy();
    const order = data.series.map((s, i) => ({ ...s, i }));
    if (bars) order.reverse();
    const axis = { stroke: css("--quiet"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") }, font: "12px system-ui, sans-serif" };
    this.plot = new uPlot({
      width: Math.max(this.width || this.canvas.clientWidth, 200),
      height: HEIGHT,
      tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), data.zone),
      legend: { show: false },
      cursor: { drag: { x: true, y: false, setScale: false, dist: 5 }, points: { show: !bars } },
      scales: {
        x: { time: true, auto: false },
        y: this.options.log
          ? { distr: 3, range: (u, min, max) => (min === null ? [1, 1000] : [10 ** Math.floor(Math.log10(Math.max(min, 0.001))), 10 ** Math.ceil(Math.log10(Math.max(max, 0.01)))]) }
          : { range: (u, min, max) => [0, max > 0 ? max * 1.05 : 1] },
      },
      axes: [
        { ...axis, space: 76, values: (u, ticks, i, space, step) => ticks.map((t) => tickLabel(t * 1000, step, data.zone)) },
        { ...axis, size: 66, values: (u, ticks) => ticks.map((v) => (v === null ? "" : this.options.axis(v))) },
      ],
      series: [{}, ...order.map((s) => bars
        ? { label: s.name, fill: color(s, s.i), stroke: css("--paper"), width: data.buckets.length > SEPARATE_BARS ? 0 : 0.5, paths: uPlot.paths.bars({ size: [0.9, 80], align: 1 }), points: { show: false } }
        : { label: s.name, stroke: color(s, s.i), width: 2, dash: DASHES[s.i % DASHES.length], spanGaps: false, points: { show: data.buckets.length < 3, size: 6 } })],
      hooks: {
        setCursor: [(u) => this.showLegend(u.cursor.idx)],
        setSelect: [(u) => this.choose(u)],
        ready: [(u) => u.over.addEventListener("click", () => this.click(u))],
      },
    }, [[], ...order.map(() => [])], this.canvas);
  }

  resize(width) {
    this.width = Math.floor(width);
    if (this.plot && this.width > 0 && this.width !== this.plot.width) this.plot.setSize({ width: this.width, height: HEIGHT });
  }

  choose(u) {
    if (u.select.width < 5) return;
    this.dragged = performance.now();
    const from = u.posToVal(u.select.left, "x") * 1000;
    const to = u.posToVal(u.select.left + u.select.width, "x") * 1000;
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    // whole buckets: what was touched is shown whole
    const touched = this.data.buckets.filter((b) => b.end > from && b.start < to);
    if (touched.length > 0) this.options.onRange(touched[0].start, touched.at(-1).end);
  }

  click(u) {
    if (this.dragged !== undefined && performance.now() - this.dragged < 300) return;
    const at = u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") * 1000 : NaN;
    const bucket = this.data.buckets.find((b) => b.start <= at && at < b.end);
    if (bucket) this.options.onRange(bucket.start, bucket.end);
  }

  onKey(e) {
    if (!this.plot || !["ArrowLeft", "ArrowRight", "Home", "End", "Enter", "Escape"].includes(e.key)) return;
    const last = this.data.buckets.length - 1;
    const i = this.plot.cursor.idx;
    e.preventDefault();
    if (e.key === "Enter") {
      if (Number.isInteger(i)) this.options.onRange(this.data.buckets[i].start, this.data.buckets[i].end);
      return;
    }
    if (e.key === "Escape") {
      this.plot.setCursor({ left: -10, top: -10 });
      return;
    }
    const to = e.key === "Home" ? 0 : e.key === "End" ? last
      : !Number.isInteger(i) ? (e.key === "ArrowRight" ? 0 : last) : Math.min(last, Math.max(0, i + (e.key === "ArrowRight" ? 1 : -1)));
    this.plot.setCursor({ left: this.plot.valToPos(this.data.buckets[to].start / 1000, "x") + 1, top: HEIGHT / 2 });
    this.spoken.textContent = [this.label(to), ...this.data.series.map((s) => `${s.name} ${this.options.format(s.values[to])}`)].join(", ");
  }

  label(i) {
    return bucketLabel(this.data.buckets[i].start, this.data.step, this.data.zone);
  }

  // i: the bucket pointed at; without one the whole span
  showLegend(i) {
    const at = Number.isInteger(i) && i < this.data.buckets.length;
    this.where.textContent = at ? this.label(i) : "";
    this.legend.replaceChildren(...this.data.series.map((s, k) => {
      const swatch = el("span", { class: this.options.kind === "bars" ? "swatch" : "swatch line", "aria-hidden": "true" });
      swatch.style.background = color(s, k);
      const value = at ? s.values[i] : this.options.total === false ? undefined : sum(s.values);
      return el("li", {}, swatch, s.name, value === undefined ? null : el("b", {}, this.options.format(value)));
    }));
  }

  fillTable() {
    if (!this.details.open || !this.data) return;
    const { series, buckets } = this.data;
    this.tableBox.replaceChildren(el("table", {},
      el("caption", {}, this.options.title),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Time"), ...series.map((s) => el("th", { scope: "col" }, s.name)))),
      el("tbody", {}, ...buckets.map((b, i) => el("tr", {},
        el("th", { scope: "row" }, this.label(i)), ...series.map((s) => el("td", {}, this.options.format(s.values[i]))))))));
  }
}
