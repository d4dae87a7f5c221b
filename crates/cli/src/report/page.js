"use strict";
(() => {
  const all = (selector) => document.querySelectorAll(selector);
  const zoom = document.getElementById("zoom"), lanes = document.getElementById("lanes");
  const find = document.getElementById("find"), found = document.getElementById("found");
  if (zoom) {
    zoom.addEventListener("input", () => {
      const view = lanes.parentElement, middle = (view.scrollLeft + view.clientWidth / 2) / lanes.offsetWidth;
      lanes.style.width = 100 * 2 ** zoom.value + "%";
      view.scrollLeft = middle * lanes.offsetWidth - view.clientWidth / 2;
    });
    find.addEventListener("input", () => {
      const wanted = find.value.toLowerCase();
      let count = 0;
      for (const bar of all(".bar")) {
        const matches = bar.textContent.toLowerCase().includes(wanted);
        bar.classList.toggle("hidden", !matches);
        count += matches;
      }
      found.textContent = wanted ? count + " attempts" : "";
    });
  }
  let shown = [];
  const show = (event) => {
    const of = event.target.closest && event.target.closest("[data-t]");
    const id = of ? of.dataset.t : "";
    if (shown.id === id) return;
    shown.forEach((element) => element.classList.remove("shown"));
    shown = id ? [...all('[data-t="' + id + '"]')] : [];
    shown.id = id;
    shown.forEach((element) => element.classList.add("shown"));
  };
  document.addEventListener("mouseover", show);
})();
