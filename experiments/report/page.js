// Sorts and copies tables, copies commands, says the values in a figure that is pointed at, hides its arms, changes the
// scale of a loss, opens what is folded before printing. Works in a sandboxed frame; nothing depends on it.
"use strict";
function made(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}
function drawn(parent, tag, attributes, text = "") {
  const element = parent.appendChild(document.createElementNS(parent.namespaceURI, tag));
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.textContent = text;
  return element;
}
function button(className, text, onClick) {
  const element = made("button", className, text);
  element.type = "button";
  element.addEventListener("click", onClick);
  return element;
}

// Tables and commands
function cellValue(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replace("−", "-"));
  return Number.isNaN(number) ? text : number;
}
function sortBy(header) {
  const table = header.closest("table"), column = header.cellIndex;
  const falling = header.getAttribute("aria-sort") === "ascending";
  const rows = Array.from(table.tBodies[0].rows);
  rows.sort((a, b) => {
    const x = cellValue(a, column), y = cellValue(b, column);
    const order = typeof x === typeof y ? (x > y ? 1 : x < y ? -1 : 0) : typeof x === "number" ? -1 : 1;
    return falling ? -order : order;
  });
  table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", falling ? "descending" : "ascending");
  rows.forEach((row) => table.tBodies[0].appendChild(row));
}
function asCsv(table) {
  const quote = (text) => (/[",\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text);
  const safe = (text) => (/^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? "'" + text : text);
  return Array.from(table.rows, (row) =>
    Array.from(row.cells, (cell) => quote(safe(cell.textContent.trim()))).join(",")).join("\n");
}
function copyButton(label, text) {
  return button("copy", label, (event) => {
    const area = document.createElement("textarea");
    area.value = text();
    document.body.appendChild(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    event.currentTarget.textContent = done ? "copied" : "could not copy";
  });
}
document.querySelectorAll("table.sortable").forEach((table) => {
  table.querySelectorAll("thead th").forEach((header) => {
    header.replaceChildren(button("sort", header.textContent, () => sortBy(header)));
  });
  table.parentElement.after(copyButton("copy as CSV", () => asCsv(table)));
});
document.querySelectorAll("code.command").forEach((code) => code.after(copyButton("copy", () => code.textContent)));

// Figures. A series is a <g> whose id ends in mean, part, band or mark, its panel, its key in the legend and a number.
const tip = made("div", "tip", "");
tip.hidden = true;
tip.setAttribute("aria-hidden", "true");  // the table below a figure says the same
document.body.appendChild(tip);

function seriesOf(svg) {
  return Array.from(svg.querySelectorAll("g[id]"), (group) => {
    const [, what, panel, key] = group.id.match(/-(mean|part|band|mark)-(\d+)-(\d+)-\d+$/) || [];
    return { group, what, panel: Number(panel), key: Number(key) };
  }).filter((each) => each.what);
}
function marksOf(series) {
  return Array.from(series.group.querySelectorAll("use"), (use, index) =>
    ({ series, index, x: Number(use.getAttribute("x")), y: Number(use.getAttribute("y")) }));
}
function valueAt(place, [low, high], [from, to], log) {
  const share = (place - from) / (to - from);
  return log ? Math.exp(Math.log(low) + share * (Math.log(high) - Math.log(low))) : low + share * (high - low);
}
function placeOf(value, [low, high], [from, to], log) {
  const at = log ? (Math.log(Math.max(value, low)) - Math.log(low)) / (Math.log(high) - Math.log(low))
    : (value - low) / (high - low);
  return from + at * (to - from);
}
const across = (panel, mark) => valueAt(mark.x, panel.x, [panel.box[0], panel.box[2]], false);
const height = (panel, mark) => valueAt(mark.y, panel.y, [panel.box[3], panel.box[1]], panel.log);
function rounded(value, [low, high], log) {
  const decimals = 4 - Math.floor(Math.log10(high - low));
  const text = log || decimals < 0 || decimals > 12 ? value.toPrecision(4) : value.toFixed(decimals);
  return String(Number(text)).replace("-", "−");
}
function nearest(marks, distance) {
  return marks.reduce((best, each) => (best && distance(best) <= distance(each) ? best : each), null);
}
function saidAt(live, x, y) {
  const at = live.panels.findIndex(({ box }) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]);
  const panel = live.panels[at];
  const seen = live.series.filter((each) => each.panel === at && !live.hidden.has(each.key));
  const dot = nearest(seen.filter((each) => each.what === "mark").flatMap(marksOf),
    (mark) => Math.hypot(mark.x - x, mark.y - y));
  if (dot) {
    const name = (live.marks[dot.series.key] || [])[dot.index];
    return Math.hypot(dot.x - x, dot.y - y) > 12 ? "" : `${name}: ${rounded(across(panel, dot), panel.x, false)}`;
  }
  const means = seen.filter((each) => each.what === "mean");
  const close = means.map((each) => nearest(marksOf(each), (mark) => Math.abs(mark.x - x))).filter(Boolean);
  if (!close.length) return "";
  const title = live.panels.filter(({ box }) => box[0] === panel.box[0]).pop().across;
  const counted = /step|epoch/.test(title);
  const where = (mark) => (counted ? String(Math.round(across(panel, mark))) : rounded(across(panel, mark), panel.x, false));
  const first = where(nearest(close, (mark) => Math.abs(mark.x - x)));
  return [`${title}: ${first}`, ...close.map((mark) => {
    const value = `${live.names[mark.series.key] || ""} ${rounded(height(panel, mark), panel.y, panel.log)}`;
    return where(mark) === first ? value : `${value} (at ${where(mark)})`;
  })].join("\n");
}
function point(live, event) {
  const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(live.svg.getScreenCTM().inverse());
  tip.textContent = saidAt(live, place.x, place.y);
  tip.hidden = !tip.textContent;
  tip.style.left = `${Math.max(0, Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(0, Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight - 8))}px`;
}
function toggle(live, key, text) {
  const hides = !live.hidden.delete(key);
  if (hides) live.hidden.add(key);
  live.series.filter((each) => each.key === key).forEach((each) => { each.group.style.display = hides ? "none" : ""; });
  text.setAttribute("aria-pressed", String(!hides));
}
function readLegend(live) {
  const texts = Array.from(live.svg.querySelectorAll("g[id]")).filter((group) => /-key-\d+-text$/.test(group.id));
  texts.forEach((text) => {
    const key = Number(text.id.match(/(\d+)-text$/)[1]);
    live.names[key] = text.textContent.trim();
    if (texts.length < 2) return;
    const line = live.svg.getElementById(text.id.replace(/text$/, "line"));
    [text, line].forEach((each) => each.addEventListener("click", () => toggle(live, key, text)));
    line.style.cursor = "pointer";
    Object.entries({ role: "button", tabindex: "0", "aria-pressed": "true", "aria-label": live.names[key] })
      .forEach(([name, value]) => text.setAttribute(name, value));
    text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      toggle(live, key, text);
    });
  });
}

// The other scale of a loss: what was drawn is read back as values and put where the scale has them.
function ticksOf([low, high], log) {
  if (!log) {
    const power = 10 ** Math.floor(Math.log10((high - low) / 4));
    const step = power * [1, 2, 5, 10].find((times) => times * power >= (high - low) / 4);
    return Array.from({ length: 6 }, (_, number) => (Math.ceil(low / step) + number) * step);
  }
  const first = Math.floor(Math.log10(low)), decades = Math.ceil(Math.log10(high)) - first;
  const powers = Array.from({ length: decades + 1 }, (_, number) => first + number);
  if (decades <= 2) return powers.flatMap((power) => [1, 2, 5].map((times) => times * 10 ** power));
  return powers.filter((_, number) => number % Math.ceil(decades / 6) === 0).map((power) => 10 ** power);
}
function drawTicks(live, panel, number) {
  const axes = live.svg.querySelector(`g[id$="-axes_${number + 1}"]`), [left, top, right, bottom] = panel.box;
  axes.querySelectorAll('g[id*="-ytick_"]').forEach((tick) => { tick.style.display = panel.isOther ? "none" : ""; });
  axes.querySelectorAll(".ticks").forEach((each) => each.remove());
  const ticks = drawn(axes, "g", { class: "ticks" });
  axes.insertBefore(ticks, axes.children[1]);
  const shown = panel.isOther ? ticksOf(panel.y, panel.log) : [];
  shown.filter((value) => value >= panel.y[0] && value <= panel.y[1]).forEach((value) => {
    const place = placeOf(value, panel.y, [bottom, top], panel.log);
    drawn(ticks, "path", { d: `M ${left} ${place} L ${right} ${place}`, stroke: "#dddddd" });
    if (left > Math.min(...live.panels.map(({ box }) => box[0]))) return;
    const text = { x: left - 6, y: place + 3, style: "font: 8px sans-serif; text-anchor: end" };
    drawn(ticks, "text", text, String(Number(value.toPrecision(3))));
  });
}
function redraw(live) {
  live.series.forEach(({ group, what, panel }) => {
    const old = live.drawn[panel], now = live.panels[panel], ends = [now.box[3], now.box[1]];
    const moved = (y) => placeOf(valueAt(y, old.y, ends, old.log), now.y, ends, now.log);
    const shift = what === "band" ? Number(group.querySelector("use").getAttribute("y")) : 0;
    group.querySelectorAll(what === "band" ? "defs > path" : ":scope > path").forEach((path) => {
      path.dataset.d = path.dataset.d || path.getAttribute("d");
      path.setAttribute("d", path.dataset.d.replace(/([ML]) (\S+) (\S+)/g, (_, letter, x, y) =>
        `${letter} ${x} ${(moved(Number(y) + shift) - shift).toFixed(4)}`));
    });
    if (what === "band") return;
    group.querySelectorAll("use").forEach((use) => {
      use.dataset.y = use.dataset.y || use.getAttribute("y");
      use.setAttribute("y", moved(Number(use.dataset.y)).toFixed(4));
    });
  });
  live.panels.forEach((panel, number) => drawTicks(live, panel, number));
}
function offerScale(live, card) {
  const means = live.series.filter((each) => each.what === "mean").flatMap(marksOf);
  const values = means.map((mark) => height(live.panels[mark.series.panel], mark)).filter((value) => value > 0);
  if (values.length < means.length || !values.length) return;
  const other = (panel) => ({ ...panel, isOther: true, log: !panel.log,
    y: [panel.log ? 0 : 0.8 * Math.min(...values), panel.y[1]] });
  const others = live.drawn.map(other), name = () => (live.panels[0].log ? "linear scale" : "logarithmic scale");
  const scale = button("scale", name(), () => {
    live.panels = live.panels === others ? live.drawn : others;
    redraw(live);
    scale.textContent = name();
  });
  card.before(scale);
}
document.querySelectorAll("figure[data-panels]").forEach((figure) => {
  const { panels, marks } = JSON.parse(figure.dataset.panels), svg = figure.querySelector("svg");
  const live = { svg, panels, marks, drawn: panels, series: seriesOf(svg), names: [], hidden: new Set() };
  readLegend(live);
  if (/loss$/.test(figure.id)) offerScale(live, svg.parentElement);
  ["pointermove", "pointerdown"].forEach((kind) => svg.addEventListener(kind, (event) => point(live, event)));
  svg.addEventListener("pointerleave", () => { tip.hidden = true; });
});
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
});
