"use strict";
(() => {
  const tip = document.getElementById("tip");
  const point = (event) => {
    const at = event.target.closest ? event.target.closest("[data-tip]") : null;
    if (!at) { tip.hidden = true; return; }
    tip.textContent = at.getAttribute("data-tip");
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const right = event.clientX + 14 + box.width > window.innerWidth;
    const low = event.clientY + 14 + box.height > window.innerHeight;
    const x = right ? event.clientX - 14 - box.width : event.clientX + 14;
    const y = low ? event.clientY - 10 - box.height : event.clientY + 14;
    tip.style.left = Math.max(4, x) + "px";
    tip.style.top = Math.max(4, y) + "px";
  };
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  document.addEventListener("scroll", () => { tip.hidden = true; }, true);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

  const unfold = () => {
    const part = document.querySelector("li:target > details");
    if (part) part.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();

  const table = document.getElementById("slice-table");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const cell = row.cells[column];
    const number = cell.getAttribute("data-v");
    if (number === null) return cell.textContent;
    return number === "" ? -Infinity : Number(number);
  };
  const sort = (column) => {
    const numeric = rows.length > 0 && rows[0].cells[column].hasAttribute("data-v");
    const was = heads[column].getAttribute("aria-sort");
    const down = was ? was === "ascending" : numeric;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = rows.map((row) => [value(row, column), row]);
    keyed.sort((a, b) => {
      const order = numeric ? a[0] - b[0] || 0 : a[0].localeCompare(b[0], "en", { numeric: true });
      return down ? -order : order;
    });
    body.append(...keyed.map((pair) => pair[1]));
  };
  heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => sort(i)));

  const find = document.getElementById("find");
  const field = document.getElementById("field");
  const off = document.getElementById("off");
  const shown = document.getElementById("shown");
  const filter = () => {
    const wanted = find.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      const hit = (!field.value || row.dataset.field === field.value)
        && (!off.checked || row.dataset.off)
        && (!wanted || row.cells[1].textContent.toLowerCase().includes(wanted));
      row.hidden = !hit;
      count += hit ? 1 : 0;
    }
    shown.textContent = count + " of " + rows.length + " slices";
  };
  [find, field, off].forEach((one) => one.addEventListener("input", filter));
  find.form.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
