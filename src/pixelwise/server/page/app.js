// The page: puts view, pictures, legend, painting and dialogs together.

import * as api from "./api.js";
import { find, handOver, icon, make } from "./build.js";
import { Correcting } from "./correct.js";
import { askToken, openAbout, openHelp, scoreChip } from "./dialogs.js";
import { counted, factsLine, Legend } from "./legend.js";
import { Pictures } from "./queue.js";
import { STYLES, View } from "./view.js";
import { chooseLanguage, known, otherLanguage, percent, sizeOf, words } from "./words.js";

const EXAMPLES = ["garden-1.jpg", "garden-2.jpg", "garden-3.jpg", "garden-4.jpg"];
const THEMES = ["auto", "light", "dark"];
const STEP = 8; // CSS pixels that an arrow key moves the cross

const stage = find("stage");
const view = new View(stage, find("canvas"));
const pictures = new Pictures();
const legend = new Legend(view, () => view.draw());
const correcting = new Correcting(view, pictures, {
  changed: () => showNumbers(),
  stopped: () => showPanel(),
  failed: (fault) => notify(sentence(fault), true),
});
let service = null; // what GET v1/models said
let cross = null; // the keyboard's place
let painted = null; // where Space last painted

// ---- the server, its models, its token

async function connect() {
  try {
    service = await api.service();
  } catch (fault) {
    if (fault.code === "unauthorized") return authorize();
    return showFault(fault, connect);
  }
  find("token-box").close();
  pictures.limits = service.limits;
  const names = service.models.map((model) => new Option(model.name, model.name));
  find("model").replaceChildren(...names);
  find("model").disabled = names.length < 2;
  document.body.classList.toggle("read-only", !service.corrections);
  useModel(service.models.find((model) => model.default) ?? service.models[0]);
}

let asked = false;
async function authorize() {
  const token = await askToken(asked);
  asked = true;
  api.takeToken(token);
  await connect();
  pictures.retryAll("unauthorized");
}

function showChip() {
  const { model } = pictures;
  find("kept").dataset.words = service.corrections ? "emptyText" : "emptyReadOnly";
  find("kept").textContent = words(find("kept").dataset.words);
  find("about").replaceChildren(...scoreChip(model));
  find("about").title = words("about");
  find("demo").hidden = !model.demo;
}

function useModel(model) {
  correcting.stop();
  find("model").value = model.name;
  const plain = model.classes.filter(({ name, color }) => /^_*(back_?ground|bg)_*$/i.test(name) || !color.some(Boolean));
  view.hidden = new Set(plain.length < model.classes.length ? plain.map(({ index }) => index) : []);
  view.void = model.void;
  pictures.use(model);
  showChip();
  find("live").textContent = words("modelSwitched", { name: model.name });
}

// ---- what is shown

function resultNow() {
  return pictures.current?.results.get(pictures.model?.name) ?? null;
}

function labelsNow(result) {
  const painting = pictures.current.painting;
  return painting && painting.model === pictures.model.name ? painting.labels : result.labels;
}

function showPicture() {
  const picture = pictures.current;
  const result = resultNow();
  find("empty").hidden = Boolean(picture);
  stage.classList.toggle("filled", Boolean(picture));
  const width = result?.width ?? picture?.base?.width ?? 0;
  const height = result?.height ?? picture?.base?.height ?? 0;
  const colors = pictures.model?.classes.map(({ color }) => color) ?? [];
  const keep = view.picture === picture;
  view.picture = picture;
  view.show(picture?.base ?? null, width, height, result ? labelsNow(result) : null, colors, keep);
  if (!keep) cross = null;
  find("tools").hidden = !width;
  find("divider").hidden = view.split === null || !result;
  notify(result && !picture.base ? words("noPreview") : "");
  showState();
  showPanel();
}

function showState() {
  const picture = pictures.current;
  const wrong = picture?.state === "failed" && !resultNow();
  if (wrong) showFault(picture.fault, () => pictures.retry(picture));
  else if (service) find("fault").hidden = true;
  const waits = picture && (picture.state === "waiting" || picture.state === "working") && service;
  find("busy").hidden = !waits;
  if (waits) find("busy-text").textContent = picture.wait ? words("busyRetry", { seconds: picture.wait }) : words(picture.state);
  stage.setAttribute("aria-busy", Boolean(waits));
}

function showPanel() {
  const result = resultNow();
  find("panel").hidden = !result;
  document.body.classList.toggle("painting-on", correcting.on);
  stage.classList.toggle("paints", correcting.on);
  find("painting").hidden = !correcting.on;
  find("correct").hidden = correcting.on || !service?.corrections;
  if (!result) return;
  find("facts").textContent = factsLine(result);
  showNumbers();
}

function showNumbers() {
  const result = resultNow();
  if (!result) return;
  const labels = labelsNow(result);
  legend.show(labels === result.labels ? result.classes : counted(labels, result.classes, false));
  showThumbs();
}

function showThumbs() {
  find("strip").hidden = pictures.all.length === 0;
  const focused = document.activeElement?.dataset?.picture;
  const items = pictures.all.map((picture) => {
    const unsaved = picture.painting?.changed && !picture.saved;
    const state = picture.saved ? words("corrected") : unsaved ? words("unsaved") : words(picture.state);
    const button = make(
      "button",
      { type: "button", className: "thumb", title: `${picture.name} · ${state}`, "aria-label": `${picture.name}, ${state}` },
      picture.thumb ?? icon("picture"),
      mark(picture, unsaved),
    );
    button.dataset.picture = picture.id;
    button.dataset.state = picture.state;
    if (picture === pictures.current) button.setAttribute("aria-current", "true");
    button.onclick = () => pictures.choose(picture);
    button.onkeydown = (event) => {
      if (event.key === "Delete" || event.key === "Backspace") pictures.remove(picture);
    };
    const away = make("button", { type: "button", className: "away", "aria-label": words("remove", { name: picture.name }), title: words("remove", { name: picture.name }) }, icon("close"));
    away.onclick = () => pictures.remove(picture);
    return make("li", {}, button, away);
  });
  find("thumbs").replaceChildren(...items);
  if (focused) find("thumbs").querySelector(`[data-picture="${focused}"]`)?.focus();
}

function mark(picture, unsaved) {
  if (picture.saved || unsaved) return make("span", { className: `mark ${picture.saved ? "good" : "open"}` }, icon(picture.saved ? "check" : "brush"));
  if (picture.state === "failed") return make("span", { className: "mark bad" }, icon("alert"));
  if (picture.state === "working" || picture.wait) return make("span", { className: "mark" }, make("span", { className: "spinner" }));
  if (picture.state === "waiting") return make("span", { className: "mark dots", textContent: "···" });
  return null;
}

// ---- faults

function sentence(fault) {
  const key = `fault_${fault.code}`;
  const limits = service?.limits;
  return words(known(key) ? key : "fault_other", {
    code: fault.code,
    size: sizeOf(pictures.current?.file.size ?? 0),
    limit: limits ? sizeOf(limits.bytes) : "",
    pixels: limits ? (limits.pixels / 1e6).toFixed(limits.pixels < 1e7 ? 1 : 0) : "",
  });
}

function showFault(fault, again) {
  find("fault").hidden = false;
  find("empty").hidden = true;
  find("busy").hidden = true;
  find("fault-text").textContent = sentence(fault);
  find("fault-more").textContent = fault.status ? fault.message : "";
  find("retry").hidden = ["too_large", "too_many_pixels", "empty", "bad_picture", "unsupported_media"].includes(fault.code);
  find("retry").onclick = () => {
    find("fault").hidden = true;
    find("empty").hidden = Boolean(pictures.current);
    again();
  };
}

let noticeTimer = 0;
function notify(text, wrong = false) {
  clearTimeout(noticeTimer);
  find("notice").textContent = text;
  find("notice").hidden = !text;
  find("notice").classList.toggle("wrong", wrong);
  if (text) noticeTimer = setTimeout(() => notify(""), 8000);
  if (text) find("live").textContent = text;
}

// ---- the place that is looked at

function describe(place) {
  const result = resultNow();
  if (!result || !view.labels || !place || !view.inside(place)) return null;
  const at = Math.floor(place[1]) * result.width + Math.floor(place[0]);
  const label = view.labels[at];
  const found = pictures.model.classes[label];
  const name = label === pictures.model.void ? words("notSure") : (found?.name ?? words("nothing"));
  const sure = label === result.labels[at] ? words("confidence", { value: percent(result.confidence[at] / 255, 0) }) : words("painted");
  return { name, sure, color: found?.color ?? null };
}

function showProbe(place, point) {
  const found = describe(place);
  const box = find("probe");
  box.hidden = !found || !point || view.painting;
  if (box.hidden) return;
  const dot = make("i", {});
  if (found.color) dot.style.background = `rgb(${found.color.join(",")})`;
  box.replaceChildren(dot, make("b", {}, make("bdi", { textContent: found.name })), make("span", { textContent: found.sure }));
  const right = point[0] + 18 + box.offsetWidth > stage.clientWidth;
  const low = point[1] + 22 + box.offsetHeight > stage.clientHeight;
  box.style.left = `${Math.max(4, right ? point[0] - box.offsetWidth - 14 : point[0] + 16)}px`;
  box.style.top = `${Math.max(4, low ? point[1] - box.offsetHeight - 14 : point[1] + 18)}px`;
}

view.addEventListener("look", ({ detail: { place, point, by } }) => {
  showProbe(place, by === "touch" && correcting.on ? null : point);
  if (by !== "keyboard") cross = place && view.inside(place) ? place : cross;
});
view.addEventListener("moved", () => {
  find("zoom").textContent = `${Math.round(view.scale * 100)} %`;
  find("probe").hidden = true;
});

function moveCross(dx, dy, fine) {
  const step = fine ? 1 : Math.max(STEP / view.scale, 1);
  const [x, y] = cross ?? [view.width / 2, view.height / 2];
  cross = [Math.min(Math.max(x + dx * step, 0.5), view.width - 0.5), Math.min(Math.max(y + dy * step, 0.5), view.height - 0.5)];
  view.reveal(cross);
  view.look(cross, view.point(cross), "keyboard");
  const found = describe(cross);
  if (found) find("live").textContent = `${found.name}, ${found.sure}`;
  if (correcting.on && painted) {
    correcting.dab(cross, painted);
    painted = cross;
  }
}

// ---- controls

function setOpacity(value) {
  view.opacity = value / 100;
  find("opacity").value = value;
  find("opacity-value").textContent = `${value} %`;
  view.draw();
}

function setStyle(style) {
  view.style = style;
  for (const button of find("styles").children) button.setAttribute("aria-pressed", button.dataset.style === style);
  localStorage.setItem("pixelwise.style", style);
  if (correcting.on) correcting.listClasses();
  showNumbers();
  view.draw();
}

function setShown(on) {
  view.shown = on;
  find("layers").setAttribute("aria-pressed", on);
  view.draw();
}

function setSplit(split) {
  view.split = split;
  const divider = find("divider");
  divider.hidden = split === null || !resultNow();
  find("compare").setAttribute("aria-pressed", split !== null);
  if (split !== null) {
    divider.style.left = `${split * 100}%`;
    divider.setAttribute("aria-valuenow", Math.round(split * 100));
  }
  view.draw();
}

function setTheme(theme) {
  const name = THEMES.includes(theme) ? theme : "auto";
  document.documentElement.dataset.theme = name;
  localStorage.setItem("pixelwise.theme", name);
  const hint = words("theme", { name: words({ auto: "themeAuto", light: "themeLight", dark: "themeDark" }[name]) });
  find("theme").title = hint;
  find("theme").setAttribute("aria-label", hint);
  find("theme").querySelector("use").setAttribute("href", `#i-${name}`);
  view.draw();
}

const nextOf = (list, now) => list[(list.indexOf(now) + 1) % list.length];
const nextTheme = () => setTheme(nextOf(THEMES, document.documentElement.dataset.theme));
const nextStyle = () => setStyle(nextOf(STYLES, view.style));

function switchLanguage() {
  otherLanguage();
  showWords();
}

function showWords() {
  setTheme(document.documentElement.dataset.theme);
  if (correcting.on) {
    correcting.listClasses();
    correcting.pick(correcting.region);
    correcting.refresh();
  }
  if (service) showChip();
  listExamples();
  showPicture();
  showThumbs();
}

function nextModel() {
  if (service?.models.length > 1) useModel(nextOf(service.models, pictures.model));
}

function startPainting(region) {
  const result = resultNow();
  if (!result || !service.corrections) return;
  if (correcting.on) return correcting.pick(region);
  correcting.region = region;
  find("saved").hidden = true;
  correcting.start(result, pictures.model);
  showPanel();
  find("panel").scrollTop = 0;
  window.scrollTo(0, 0); // a narrow screen scrolls as a whole
}

async function download(kind) {
  const result = resultNow();
  const picture = pictures.current;
  if (!result) return;
  const stem = picture.name.replace(/\.[^.]*$/, "") || "picture";
  const labels = labelsNow(result);
  if (kind === "overlay") handOver(await view.exported(), `${stem}-overlay.png`);
  else if (kind === "polygons") handOver(new Blob([JSON.stringify(result.polygons)], { type: "application/geo+json" }), `${stem}.geojson`);
  else if (kind === "shares") handOver(new Blob([legend.table()], { type: "text/csv" }), `${stem}-shares.csv`);
  else handOver(labels === result.labels ? result.mask : await api.mask(labels, result, view.colors), `${stem}-mask.png`);
}

function listExamples() {
  find("examples").replaceChildren(
    ...EXAMPLES.map((name, k) => {
      const label = words("example", { number: k + 1 });
      const button = make("button", { type: "button", className: "example", title: label, "aria-label": label }, make("img", { src: `page/examples/${name}`, alt: "" }));
      button.onclick = async () => {
        try {
          const answer = await fetch(`page/examples/${name}`);
          if (answer.ok) pictures.add([new File([await answer.blob()], name)]);
        } catch {
          showFault(new api.Fault("gone"), connect);
        }
      };
      return button;
    }),
  );
}

function addFiles(list) {
  const files = [...list];
  if (files.length) pictures.add(files);
  if (correcting.on) correcting.stop();
}

// ---- events

pictures.addEventListener("chosen", () => {
  correcting.stop();
  showPicture();
});
for (const name of ["opened", "segmented"]) pictures.addEventListener(name, showPicture);
pictures.addEventListener("changed", () => {
  showThumbs();
  showState();
});
pictures.addEventListener("unauthorized", authorize);

find("model").onchange = () => useModel(service.models.find(({ name }) => name === find("model").value));
find("about").onclick = async () => {
  if (!service) return;
  if (pictures.model.report) {
    try {
      const fresh = await api.service(); // the link to a report opens for an hour only
      pictures.model.report = fresh.models.find(({ name }) => name === pictures.model.name)?.report ?? null;
    } catch {
      // the old link may still do
    }
  }
  openAbout(pictures.model);
};
find("help").onclick = () => openHelp(service?.corrections ?? true);
find("language").onclick = switchLanguage;
find("theme").onclick = nextTheme;
find("choose").onclick = find("add").onclick = () => find("files").click();
find("files").onchange = () => {
  addFiles(find("files").files);
  find("files").value = "";
};
find("zoom-in").onclick = () => view.zoom(1.4);
find("zoom-out").onclick = () => view.zoom(1 / 1.4);
find("zoom-fit").onclick = () => view.fit();
find("compare").onclick = () => setSplit(view.split === null ? 0.5 : null);
find("layers").onclick = () => setShown(!view.shown);
find("opacity").oninput = () => setOpacity(Number(find("opacity").value));
find("paint").onclick = () => startPainting(false);
for (const button of find("styles").children) button.onclick = () => setStyle(button.dataset.style);
for (const button of document.querySelectorAll("[data-download]")) button.onclick = () => download(button.dataset.download);

const divider = find("divider");
divider.onpointerdown = (event) => divider.setPointerCapture(event.pointerId);
divider.onpointermove = (event) => {
  if (!divider.hasPointerCapture(event.pointerId)) return;
  const box = stage.getBoundingClientRect();
  setSplit(Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1));
};
divider.onkeydown = (event) => {
  const by = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  setSplit(Math.min(Math.max(view.split + by, 0), 1));
};

let entered = 0;
document.addEventListener("dragenter", (event) => {
  if (event.dataTransfer?.types.includes("Files")) document.body.classList.toggle("dropping", ++entered > 0);
});
document.addEventListener("dragleave", () => document.body.classList.toggle("dropping", (entered = Math.max(0, entered - 1)) > 0));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  entered = 0;
  document.body.classList.remove("dropping");
  addFiles(event.dataTransfer?.files ?? []);
});
document.addEventListener("paste", (event) => addFiles(event.clipboardData?.files ?? []));
window.addEventListener("beforeunload", (event) => {
  if (pictures.all.some((picture) => picture.painting?.changed && !picture.saved)) event.preventDefault();
});

const KEYS = {
  "?": () => openHelp(service?.corrections ?? true),
  o: () => find("files").click(),
  "[": () => pictures.step(-1),
  "]": () => pictures.step(1),
  "+": () => view.zoom(1.4),
  "=": () => view.zoom(1.4),
  "-": () => view.zoom(1 / 1.4),
  0: () => view.fit(),
  d: () => resultNow() && setSplit(view.split === null ? 0.5 : null),
  h: () => setShown(!view.shown),
  p: nextStyle,
  b: () => startPainting(false),
  f: () => startPainting(true),
  ",": () => correcting.on && correcting.resize(correcting.size - Math.max(1, Math.round(correcting.size * 0.2))),
  ".": () => correcting.on && correcting.resize(correcting.size + Math.max(1, Math.round(correcting.size * 0.2))),
  m: nextModel,
  t: nextTheme,
  l: switchLanguage,
  Escape: () => correcting.stop(),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]") || event.altKey) return;
  const command = event.ctrlKey || event.metaKey;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const text = event.target.matches("select, input[type=password]");
  if (command && correcting.on && ["z", "y", "s"].includes(key)) {
    event.preventDefault();
    if (key === "s") correcting.save();
    else correcting.takeBack(key === "y" || event.shiftKey ? "redo" : "undo");
  } else if (event.target === stage && key in ARROWS && view.width) {
    event.preventDefault();
    const [dx, dy] = ARROWS[key];
    if (event.shiftKey) view.pan(-dx * 40, -dy * 40);
    else moveCross(dx, dy, command);
  } else if (event.target === stage && key === " ") {
    event.preventDefault();
    if (correcting.on && !event.repeat) {
      cross ??= [view.width / 2, view.height / 2];
      correcting.dab(cross);
      painted = cross;
    }
  } else if (correcting.on && !command && !text && /^[1-9]$/.test(key)) {
    const found = pictures.model.classes[Number(key) - 1];
    if (found) correcting.choose(found.index);
  } else if (!command && !text && key in KEYS) {
    if (key !== "Escape") event.preventDefault();
    KEYS[key]();
  }
});
document.addEventListener("keyup", (event) => {
  if (event.key === " ") painted = null;
});
stage.addEventListener("blur", () => {
  painted = null;
  if (view.cursor && !correcting.on) view.look(null);
});

// ---- begin

api.tokenFromAddress();
chooseLanguage();
document.documentElement.dataset.theme = localStorage.getItem("pixelwise.theme") ?? "auto";
view.style = STYLES.includes(localStorage.getItem("pixelwise.style")) ? localStorage.getItem("pixelwise.style") : "fill";
setOpacity(55);
setStyle(view.style);
showWords();
connect();
