// The legend: each class with its color (and pattern), its share of the picture, and a switch.

import { find, make } from "./build.js";
import { patterned } from "./view.js";
import { count, percent, words } from "./words.js";

// A swatch of a class as the picture shows it.
export function swatch(color, label, style) {
  const canvas = make("canvas", { width: 36, height: 36, className: "swatch" });
  const context = canvas.getContext("2d");
  const name = `rgb(${color.join(",")})`;
  context.fillStyle = name;
  if (style === "fill") context.fillRect(0, 0, 36, 36);
  else if (style === "outlines") {
    context.lineWidth = 9;
    context.strokeStyle = name;
    context.strokeRect(0, 0, 36, 36);
  } else {
    context.globalAlpha = 0.3;
    context.fillRect(0, 0, 36, 36);
    context.globalAlpha = 1;
    for (let k = 0; k < 144; k++) {
      if (patterned(label, k % 12, Math.floor(k / 12))) context.fillRect((k % 12) * 3, Math.floor(k / 12) * 3, 3, 3);
    }
  }
  return canvas;
}

// Pixels of each class, counted anew after painting; void is left out of the shares.
export function counted(labels, classes, mean) {
  const pixels = new Map();
  for (let k = 0; k < labels.length; k++) pixels.set(labels[k], (pixels.get(labels[k]) ?? 0) + 1);
  const total = labels.length;
  return classes.map((each) => {
    const here = pixels.get(each.index) ?? 0;
    return { ...each, pixels: here, share: here / total, confidence: mean ? each.confidence : null };
  });
}

export class Legend {
  constructor(view, changed) {
    this.view = view;
    this.changed = changed;
    this.rows = [];
    this.wide = false; // whether absent classes are listed
    find("all").onclick = () => this.switchAll(true);
    find("none").onclick = () => this.switchAll(false);
    find("absent").onclick = () => {
      this.wide = !this.wide;
      this.show(this.rows);
    };
  }

  switchAll(on) {
    this.view.hidden = on ? new Set() : new Set(this.rows.map((row) => row.index));
    this.changed();
    for (const box of find("legend").querySelectorAll("input")) box.checked = on;
  }

  // Rows are the classes with pixels, share and confidence; those that are absent go behind a link.
  show(rows) {
    this.rows = rows;
    const present = rows.filter((row) => row.pixels > 0);
    present.sort((a, b) => b.share - a.share);
    const absent = rows.filter((row) => !row.pixels);
    const listed = this.wide ? [...present, ...absent] : present;
    const focused = document.activeElement?.dataset?.index;
    find("legend").replaceChildren(...listed.map((row) => this.row(row, present[0]?.share ?? 1)));
    if (focused) find("legend").querySelector(`[data-index="${focused}"]`)?.focus();
    find("absent").hidden = absent.length === 0;
    find("absent").textContent = this.wide ? words("absentLess") : words("absent", { count: absent.length });
    find("absent").setAttribute("aria-expanded", this.wide);
  }

  row(row, largest) {
    const { view } = this;
    const box = make("input", { type: "checkbox", checked: !view.hidden.has(row.index) });
    box.dataset.index = row.index;
    const hint = words("classHint", { name: row.name, share: percent(row.share), confidence: percent(row.confidence, 0) });
    box.setAttribute("aria-label", `${words("hideClass", { name: row.name })}. ${hint}`);
    box.onchange = () => {
      if (box.checked) view.hidden.delete(row.index);
      else view.hidden.add(row.index);
      this.changed();
    };
    const bar = make("span", { className: "bar" }, make("i"));
    bar.firstChild.style.width = `${Math.max((row.share / largest) * 100, row.pixels ? 1.5 : 0)}%`;
    const line = make(
      "label",
      { title: hint },
      box,
      swatch(row.color, row.index, view.style),
      make("bdi", { textContent: row.name }),
      make("b", { textContent: percent(row.share) }),
      bar,
    );
    const item = make("li", {}, line);
    const light = (label) => () => {
      view.lit = label;
      view.draw();
    };
    item.onpointerenter = light(row.index);
    item.onpointerleave = light(null);
    box.onfocus = () => box.matches(":focus-visible") && light(row.index)();
    box.onblur = light(null);
    return item;
  }

  // The table as a CSV: RFC 4180, one row a class; a name that a spreadsheet would take for a formula is quoted by '.
  table() {
    const cell = (value) => {
      const text = /^[=+\-@\t\r]/.test(String(value)) ? `'${value}` : String(value ?? "");
      return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = this.rows.map((row) => [row.index, cell(row.name), row.pixels, row.share.toFixed(6), row.confidence?.toFixed(4) ?? ""].join(","));
    return ["index,class,pixels,share,mean_confidence", ...lines, ""].join("\r\n");
  }
}

export function factsLine(result) {
  const seconds = result.seconds ? Object.values(result.seconds).reduce((sum, each) => sum + each, 0) : null;
  const size = words("size_line", { width: count(result.width), height: count(result.height) });
  return seconds === null ? size : `${size} · ${words("seconds", { value: seconds.toFixed(2) })}`;
}
