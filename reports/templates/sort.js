// Click a heading: sort the table's row groups by that column's value; rows without a value stay last.
"use strict";
for (const table of document.querySelectorAll("main table")) {
  const heads = [...table.querySelectorAll("thead th")];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (body) => {
        const cell = body.rows[0].cells[column];
        return column === 0 ? cell.textContent : parseFloat(cell.dataset.value);
      };
      const groups = [...table.tBodies].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (column === 0) return down ? y.localeCompare(x) : x.localeCompare(y);
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return down ? y - x : x - y;
      });
      groups.forEach((group) => table.append(group));
    });
  });
}
