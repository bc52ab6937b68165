// Building elements. Whatever comes from outside goes in as text, never as
// markup: there is no innerHTML on this page, and its policy forbids it.

// el("td", {class: "n", onclick: f, "aria-label": "x"}, child, ...): strings
// become text, null and false are left out.
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

// New contents, with the focus where it was: on what has the same data-focus.
export function refill(parent, ...children) {
  const active = document.activeElement;
  const focus = parent.contains(active) ? active.dataset.focus : undefined;
  parent.replaceChildren(...children);
  const again = focus === undefined ? undefined : [...parent.querySelectorAll("[data-focus]")].find((e) => e.dataset.focus === focus);
  if (again) again.focus({ preventScroll: true });
}

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";

// A small line of one row's numbers; decoration beside the numbers themselves.
export function sparkline(values, width = 88, height = 22) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("spark");
  const most = Math.max(...values, 0);
  if (values.length > 0 && most > 0) {
    const line = document.createElementNS(SVG, "polyline");
    const step = values.length > 1 ? (width - 2) / (values.length - 1) : 0;
    line.setAttribute("points", values.map((v, i) => `${(1 + i * step).toFixed(1)},${(height - 2 - (height - 4) * v / most).toFixed(1)}`).join(" "));
    svg.append(line);
  }
  return svg;
}

// Saves what the API answers as a file.
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
