// The boxes over the page: shortcuts, the model's own facts, the token.

import { find, make } from "./build.js";
import { count, percent, words } from "./words.js";

const KEYS = [
  ["O", "keyOpen"],
  ["[ ]", "keyStep"],
  ["Delete", "keyDelete"],
  ["← ↑ → ↓", "keyCross"],
  ["Shift + ←", "keyPan"],
  ["+ − 0", "keyZoom"],
  ["D", "keyCompare"],
  ["H", "keyHide"],
  ["P", "keyStyle"],
  ["B F", "keyPaint", "paint"],
  [", .", "keySize", "paint"],
  ["Space", "keySpace", "paint"],
  ["1 … 9", "keyPick", "paint"],
  ["Ctrl + Z Y", "keyUndo", "paint"],
  ["Ctrl + S", "keySave", "paint"],
  ["M", "keyModel"],
  ["T L", "keyLook"],
  ["Esc", "keyEsc"],
];

for (const box of document.querySelectorAll("dialog")) {
  box.querySelector("[data-close]")?.addEventListener("click", () => box.close());
  box.addEventListener("click", (event) => {
    if (event.target === box && box.id !== "token-box") box.close();
  });
}

export function openHelp(corrections) {
  const shown = KEYS.filter(([, , when]) => !when || corrections);
  const rows = shown.flatMap(([keys, key]) => [
    make("dt", {}, ...keys.split(" ").map((each) => (each === "+" && keys.length > 6 ? make("span", { textContent: "+" }) : make("kbd", { textContent: each })))),
    make("dd", { textContent: words(key) }),
  ]);
  find("keys").replaceChildren(...rows);
  find("help-box").showModal();
}

// A short word on how good the model is, for the bar: its measure, which a narrow screen leaves out, and the value.
export function scoreChip(model) {
  const { mean_iou: iou, picture_accuracy: accuracy } = model.scores;
  const parts = [words("noScore")];
  if (typeof iou === "number") parts.splice(0, 1, words("meanIou"), percent(iou));
  else if (typeof accuracy === "number") parts.splice(0, 1, words("pictureAccuracy"), percent(accuracy));
  return parts.map((textContent) => make("span", { textContent }));
}

export function openAbout(model) {
  const { scores } = model;
  const facts = [];
  const add = (key, value) => facts.push(make("dt", { textContent: words(key) }), make("dd", { textContent: value }));
  if (typeof scores.mean_iou === "number") add("meanIouName", percent(scores.mean_iou));
  if (typeof scores.pixel_accuracy === "number") add("pixelAccuracy", percent(scores.pixel_accuracy));
  if (typeof scores.picture_accuracy === "number") add("pictureAccuracyName", percent(scores.picture_accuracy));
  if (scores.split) {
    const split = { test: words("splitTest"), validation: words("splitValidation") }[scores.split] ?? scores.split;
    add("measuredOn", scores.pictures ? words("measured", { count: count(scores.pictures), split }) : split);
  }
  add("network", model.network);
  add("parameters", count(model.parameters));
  const known = typeof scores.mean_iou === "number" || typeof scores.picture_accuracy === "number";
  const table = Array.isArray(scores.per_class) ? classTable(scores.per_class) : null;
  find("about-title").textContent = model.name;
  find("about-body").replaceChildren(
    ...(model.demo ? [make("p", { className: "note", textContent: words("demoModel") })] : []),
    ...(known ? [] : [make("p", { textContent: words("unmeasured") })]),
    make("dl", { className: "facts" }, ...facts),
    ...(table ? [table] : []),
    make("p", { className: "soft", textContent: typeof scores.protocol === "string" ? `${words("protocol")}: ${scores.protocol}` : "" }),
    model.report
      ? make("a", { href: model.report, target: "_blank", rel: "noopener", className: "primary", textContent: words("report") })
      : make("p", { className: "soft", textContent: model.demo ? "" : words("noReport") }),
  );
  find("about-box").showModal();
}

function classTable(rows) {
  const body = rows.map((row) =>
    make("tr", {}, make("td", {}, make("bdi", { textContent: row.name })), make("td", { textContent: percent(row.iou) })),
  );
  const head = make("tr", {}, make("th", { textContent: words("className") }), make("th", { textContent: words("iou") }));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

// Asks for the token; the promise ends when one was entered.
export function askToken(wrong) {
  find("token-wrong").hidden = !wrong;
  find("token").value = "";
  const box = find("token-box");
  if (!box.open) box.showModal();
  return new Promise((resolve) => {
    find("token-form").onsubmit = () => resolve(find("token").value.trim());
    box.oncancel = (event) => event.preventDefault();
  });
}
