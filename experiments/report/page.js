// Sorts tables, copies them, opens what is folded before printing. Works in a sandboxed frame; nothing depends on it.
"use strict";
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
function copy(button, table) {
  const area = document.createElement("textarea");
  area.value = asCsv(table);
  document.body.appendChild(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  button.textContent = done ? "copied" : "could not copy";
}
document.querySelectorAll("table.sortable").forEach((table) => {
  table.querySelectorAll("thead th").forEach((header) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.textContent = header.textContent;
    button.addEventListener("click", () => sortBy(header));
    header.replaceChildren(button);
  });
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "copy as CSV";
  button.addEventListener("click", () => copy(button, table));
  table.parentElement.after(button);
});
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((each) => { each.open = true; });
});
