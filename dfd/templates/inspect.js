for (const slider of document.querySelectorAll("input[type=range]")) {
  const map = slider.closest("figure").querySelector(".map");
  const show = () => { map.style.opacity = slider.value / 100; };
  slider.addEventListener("input", show);
  show();
}
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead button").forEach((button, column) => {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const down = head.getAttribute("aria-sort") === "ascending";
      const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const rows = [...body.rows].sort((a, b) =>
        value(a).localeCompare(value(b), undefined, { numeric: true }) * (down ? -1 : 1));
      table.querySelectorAll("th").forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
    });
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(each => { each.open = true; }));
