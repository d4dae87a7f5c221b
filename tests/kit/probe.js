// Looks at a report as a person would, and complains on the console: of labels over each other, of text that is cut
// or stands out of its box, of a page that is broader than its window, and of text that its background swallows.
"use strict";
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const complain = (what, element) => console.error(what + ": " + element.outerHTML.slice(0, 200));
  const box = (element) => element.getBoundingClientRect();

  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) complain("broader than the window, " + page.scrollWidth, page);

  for (const line of all(".window .time, .chart .time")) {
    const labels = [...line.children].filter((label) => getComputedStyle(label).fontSize !== "0px");
    const boxes = labels.map(box).sort((a, b) => a.left - b.left);
    for (let i = 1; i < boxes.length; i++) if (boxes[i - 1].right > boxes[i].left + 0.5) complain("labels overlap", line);
    if (boxes.some((label) => label.right > box(line).right + 1)) complain("a label is cut", line);
    if (labels.length < 2) complain("no time can be read", line);
  }
  for (const cell of all(".name, .n, dd, dt, .badge")) {
    if (cell.scrollWidth > cell.clientWidth + 1) complain("cut", cell);
  }
  for (const task of all("g.task")) {
    const rect = box(task.querySelector("rect")), text = box(task.querySelector("text"));
    if (text.right > rect.right) complain("stands out of its box by " + (text.right - rect.right), task);
  }

  const parts = (color) => {
    const found = color.match(/[\d.]+/g).map(Number);
    return { rgb: found.slice(0, 3), alpha: found.length > 3 ? found[3] : 1 };
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((part) => part / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parts(getComputedStyle(at).backgroundColor);
      if (color.alpha === 1) return color.rgb;
    }
    return [255, 255, 255];
  };
  const judge = (element, ink, ground) => {
    const [high, low] = [light(parts(ink).rgb), light(ground)].sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) complain("contrast " + contrast.toFixed(2), element);
  };
  const seen = new Set();
  for (const element of all("body *:not(svg *)")) {
    const has_text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const key = element.tagName + element.className + element.parentElement.className;
    if (!has_text || element.tagName === "SCRIPT" || seen.has(key)) continue;
    seen.add(key);
    judge(element, getComputedStyle(element).color, behind(element));
  }
  for (const task of all("g.task")) {
    if (seen.has(task.getAttribute("class"))) continue;
    seen.add(task.getAttribute("class"));
    const of = (name) => getComputedStyle(task.querySelector(name)).fill;
    judge(task, of("text"), parts(of("rect")).rgb);
  }
  console.log("looked at everything");
})();
