// Sorts a table by the header that is clicked and filters rows by what is typed; without it the page still reads.
"use strict";
for (const header of document.querySelectorAll("th[data-sort]")) {
  header.addEventListener("click", () => {
    const body = header.closest("table").tBodies[0];
    const column = header.cellIndex;
    const numeric = header.dataset.sort === "number";
    const down = header.dataset.order !== "down";
    const key = (row) => {
      const cell = row.cells[column];
      const text = cell.dataset.value ?? cell.textContent.trim();
      return numeric ? Number.parseFloat(text) || 0 : text;
    };
    const order = (a, b) => (numeric ? key(a) - key(b) : key(a).localeCompare(key(b)));
    const rows = [...body.rows].sort((a, b) => (down ? order(a, b) : order(b, a)));
    header.dataset.order = down ? "down" : "up";
    body.append(...rows);
  });
}
for (const box of document.querySelectorAll("input[data-filter]")) {
  box.addEventListener("input", () => {
    const wanted = box.value.toLowerCase();
    for (const row of document.querySelectorAll(`#${box.dataset.filter} tbody tr`)) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    }
  });
}
