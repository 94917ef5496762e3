// Sorts a table by the header that is clicked and filters rows by what is typed; without it the page still reads.
"use strict";
for (const header of document.querySelectorAll("th[data-sort]")) {
  const numeric = header.dataset.sort === "number";
  const key = (row) => {
    const cell = row.cells[header.cellIndex];
    const text = cell.dataset.value ?? cell.textContent.trim();
    if (!numeric) return text;
    const number = Number.parseFloat(text.replaceAll(",", ""));
    return Number.isNaN(number) ? -Infinity : number;
  };
  const compare = (a, b) => {
    if (numeric) return a === b ? 0 : a - b;
    return a.localeCompare(b, undefined, { numeric: true }); // fish2 before fish10
  };
  const sort = () => {
    const down = header.dataset.order !== "down";
    const body = header.closest("table").tBodies[0];
    const rows = [...body.rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => (down ? compare(a, b) : compare(b, a)));
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.dataset.order = down ? "down" : "up";
    header.setAttribute("aria-sort", down ? "ascending" : "descending");
    body.append(...rows.map(([, row]) => row));
  };
  header.tabIndex = 0;
  header.addEventListener("click", sort);
  header.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      sort();
    }
  });
}
for (const box of document.querySelectorAll("input[data-filter]")) {
  const rows = [...document.querySelectorAll(`#${box.dataset.filter} tbody tr`)];
  const counter = document.createElement("output");
  box.after(counter);
  const filter = () => {
    const wanted = box.value.trim().toLowerCase().split(/\s+/);
    let visible = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
      visible += row.hidden ? 0 : 1;
    }
    counter.textContent = `${visible} of ${rows.length} rows`;
  };
  box.addEventListener("input", filter);
  filter();
}
