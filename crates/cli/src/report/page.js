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
      marks(10 * 2 ** zoom.value);
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
  // The line of time with about so many marks, as the page was made with ten.
  const line = lanes && lanes.querySelector(".time"), made = line && line.innerHTML;
  const MINUTE = 6e7, steps = [];
  for (let power = 1; power < 1e7; power *= 10) steps.push(power, 2 * power, 5 * power);
  steps.push(1e7, 3e7, MINUTE, 5 * MINUTE, 15 * MINUTE, 60 * MINUTE, 240 * MINUTE, 1440 * MINUTE);
  const said = (micros) => {
    if (micros === 0) return "0";
    if (micros < 1000) return micros + "us";
    if (micros < 1e6) return micros / 1000 + "ms";
    if (micros < MINUTE) return micros / 1e6 + "s";
    const parts = [[1440 * MINUTE, "d"], [60 * MINUTE, "h"], [MINUTE, "m"], [1e6, "s"], [1000, "ms"], [1, "us"]];
    let left = micros, text = "";
    for (const [unit, name] of parts) {
      if (left >= unit) text += Math.floor(left / unit) + name;
      left %= unit;
    }
    return text;
  };
  const marks = (wanted) => {
    const span = Number(lanes.dataset.span);
    const step = steps.find((step) => step >= span / wanted) || 1440 * MINUTE;
    if (wanted <= 10) { line.innerHTML = made; return; }
    line.textContent = "";
    for (let at = 0; at <= span; at += step) {
      const mark = document.createElement("span");
      mark.style.left = (at / span) * 100 + "%";
      if (at > span * 0.998) mark.className = "w";
      mark.textContent = said(at);
      line.append(mark);
    }
  };
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
