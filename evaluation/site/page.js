"use strict";
// Everything is in the page already; the script only switches the ranking metric and shows a cell's counts.
const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");

for (const group of document.querySelectorAll("[data-group]")) {
  const picker = group.querySelector("select");
  if (picker) {
    picker.addEventListener("change", () => {
      for (const part of group.querySelectorAll("[data-metric]")) part.hidden = part.dataset.metric !== picker.value;
      const body = group.querySelector(".board tbody");
      const place = (row) => Number(row.getAttribute("data-order-" + slug(picker.value)));
      body.append(...[...body.rows].sort((a, b) => place(a) - place(b)));
    });
  }
  const heat = group.querySelector("[data-heat]");
  if (heat) {
    const readout = group.querySelector(".readout");
    heat.addEventListener("click", (event) => {
      const cell = event.target.closest("td[title]");
      readout.hidden = !cell;
      readout.textContent = cell ? cell.title : "";
    });
  }
}
