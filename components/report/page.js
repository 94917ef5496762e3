// Sorts a table by the header that is pressed and filters its rows; without it the page still reads.
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
  // A button, so that a keyboard reaches it and a screen reader says what it is.
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sort";
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => {
    const down = header.dataset.order !== "down";
    const body = header.closest("table").tBodies[0];
    const rows = [...body.rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => (down ? compare(a, b) : compare(b, a)));
    for (const other of header.parentElement.cells) {
      other.removeAttribute("aria-sort");
      delete other.dataset.order;
    }
    header.dataset.order = down ? "down" : "up";
    header.setAttribute("aria-sort", down ? "ascending" : "descending");
    body.append(...rows.map(([, row]) => row));
  });
}
// What filters a table: a search box, and choices that compare the cell of column `data-column`.
const filters = new Map();
for (const control of document.querySelectorAll("[data-filter]")) {
  const id = control.dataset.filter;
  filters.set(id, [...(filters.get(id) ?? []), control]);
}
for (const [id, controls] of filters) {
  const rows = [...document.querySelectorAll(`#${id} tbody tr`)].map((row) => [row, row.textContent.toLowerCase()]);
  const counter = document.createElement("output");
  const reset = document.createElement("button");
  reset.type = "button";
  reset.className = "reset";
  reset.textContent = "Show all";
  controls.at(-1).after(counter, reset);
  const passes = (row, text, control) => {
    const wanted = control.value;
    if (control.dataset.column === undefined) {
      return wanted.trim().toLowerCase().split(/\s+/).every((word) => text.includes(word));
    }
    const cell = row.cells[Number(control.dataset.column)];
    return wanted === "" || (cell.dataset.value ?? cell.textContent.trim()) === wanted;
  };
  const filter = () => {
    let visible = 0;
    for (const [row, text] of rows) {
      row.hidden = !controls.every((control) => passes(row, text, control));
      visible += row.hidden ? 0 : 1;
    }
    counter.textContent = `${visible.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
    reset.hidden = controls.every((control) => control.value === "");
  };
  for (const control of controls) control.addEventListener("input", filter);
  const clear = () => {
    for (const control of controls) control.value = "";
    filter();
  };
  reset.addEventListener("click", () => {
    clear();
    controls[0].focus();
  });
  // A link that shows the rows of one choice: <a href="#table" data-choose="ID" data-column="1" data-value="dark">
  for (const link of document.querySelectorAll(`[data-choose="${id}"]`)) {
    link.addEventListener("click", () => {
      clear();
      const choice = controls.find((control) => control.dataset.column === link.dataset.column);
      choice.value = link.dataset.value;
      filter();
    });
  }
  filter();
}
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
