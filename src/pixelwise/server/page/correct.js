// The corrections path: painting over a wrong region, and sending picture and mask to the server.

import { Fault, saveCorrection } from "./api.js";
import { find, make } from "./build.js";
import { swatch } from "./legend.js";
import { Painting } from "./paint.js";
import { words } from "./words.js";

export class Correcting {
  // `changed` is called after every stroke, `stopped` when painting is left, `failed` with a Fault.
  constructor(view, pictures, { changed, stopped, failed, say }) {
    Object.assign(this, { view, pictures, changed, stopped, failed, say });
    this.on = false;
    this.label = 0;
    this.region = false;
    this.saving = false;
    this.counted = 0;
    find("brush").onclick = () => this.pick(false);
    find("region").onclick = () => this.pick(true);
    find("size").oninput = () => this.resize(Number(find("size").value));
    find("undo").onclick = () => this.takeBack("undo");
    find("redo").onclick = () => this.takeBack("redo");
    find("reset").onclick = () => this.reset();
    find("save").onclick = () => this.save();
    find("stop").onclick = () => this.stop();
    view.tool = null;
  }

  get painting() {
    return this.pictures.current?.painting ?? null;
  }

  start(result, model) {
    const picture = this.pictures.current;
    this.on = true;
    this.model = model;
    if (picture.painting?.model !== model.name) {
      picture.painting = new Painting(result.labels, result.width, result.height);
      picture.painting.model = model.name;
      picture.saved = false;
    }
    if (this.label >= model.classes.length && this.label !== model.void) this.label = 0;
    this.view.labels = picture.painting.labels;
    this.view.tool = this.tool();
    this.listClasses();
    this.pick(this.region);
    this.refresh();
  }

  stop() {
    if (!this.on) return;
    this.on = false;
    this.view.tool = null;
    this.view.brush = 0;
    this.view.cursor = null;
    this.view.draw();
    this.stopped();
  }

  tool() {
    return {
      start: (place) => {
        if (this.region && !this.view.inside(place)) return;
        this.painting.begin();
        this.last = place;
        if (this.region) {
          this.painting.fill(Math.floor(place[0]), Math.floor(place[1]), this.label);
          this.finish();
        } else this.drag(place);
      },
      move: (place) => !this.region && this.drag(place),
      end: () => !this.region && this.finish(),
      cancel: () => {
        this.painting.cancel();
        this.view.draw();
      },
    };
  }

  drag(place) {
    if (!this.painting.before) return;
    this.painting.stroke(this.last, place, this.size, this.label);
    this.last = place;
    this.view.draw();
  }

  finish() {
    this.painting.end();
    this.pictures.current.saved = false;
    find("saved").hidden = true;
    this.view.draw();
    this.refresh();
    this.changed();
  }

  // A dab at the keyboard's cross, joined with the last one while Space is held.
  dab(place, from = null) {
    if (this.region) return this.tool().start(place);
    this.painting.begin();
    this.painting.stroke(from ?? place, place, this.size, this.label);
    this.finish();
  }

  get size() {
    return Number(find("size").value);
  }

  pick(region) {
    this.region = region;
    find("brush").setAttribute("aria-pressed", !region);
    find("region").setAttribute("aria-pressed", region);
    find("size").disabled = region;
    this.resize(this.size);
  }

  resize(size) {
    find("size").value = Math.min(Math.max(size, 1), 120);
    find("size-value").textContent = words("pixels", { count: this.size });
    this.view.brush = this.region ? 0 : this.size;
    this.view.draw();
  }

  listClasses() {
    const { classes } = this.model;
    const choices = [...classes, { index: this.model.void, name: words("notSure"), color: null }];
    find("colors").replaceChildren(
      ...choices.map((each) => {
        const radio = make("input", { type: "radio", name: "color", value: each.index, checked: each.index === this.label });
        radio.onchange = () => this.choose(each.index);
        const mark = each.color ? swatch(each.color, each.index, this.view.style) : make("span", { className: "swatch unsure" });
        return make("li", {}, make("label", {}, radio, mark, make("bdi", { textContent: each.name })));
      }),
    );
  }

  choose(label) {
    this.label = label;
    const radio = find("colors").querySelector(`input[value="${label}"]`);
    if (radio) radio.checked = true;
  }

  takeBack(way) {
    if (!this.on) return;
    this.painting[way]();
    this.pictures.current.saved = false;
    this.view.draw();
    this.refresh();
    this.changed();
  }

  reset() {
    while (this.painting.done.length) this.painting.undo();
    this.painting.labels.set(this.painting.original);
    this.painting.undone = [];
    this.takeBack("undo");
  }

  refresh() {
    const { painting } = this;
    find("undo").disabled = !painting?.changed;
    find("redo").disabled = !painting?.undone.length;
    find("reset").disabled = !painting?.changed;
    find("save").disabled = this.saving || !painting?.changed || this.pictures.current.saved;
    find("save").textContent = words(this.saving ? "saving" : "save");
  }

  async save() {
    const picture = this.pictures.current;
    const { painting } = picture;
    if (!this.on || this.saving || picture.saved || !painting.changed) return;
    this.saving = true;
    this.refresh();
    try {
      const { labels, width, height } = painting;
      const answer = await saveCorrection(picture.file, labels.slice(), width, height, painting.model);
      picture.saved = true;
      this.tellSaved(answer);
      this.pictures.tell("changed");
    } catch (error) {
      this.failed(error instanceof Fault ? error : new Fault("other", String(error)));
    }
    this.saving = false;
    if (this.painting) this.refresh();
  }

  tellSaved(answer) {
    const text = answer.pairs === 1 ? words("savedOne") : words("saved", { count: answer.pairs });
    const copy = make("button", { type: "button", className: "link", textContent: words("copy") });
    copy.onclick = async () => {
      await navigator.clipboard.writeText(answer.command);
      copy.textContent = words("copied");
    };
    const more = answer.command ? [make("p", {}, words("goOn"), " ", copy), make("code", { textContent: answer.command })] : [];
    find("saved").replaceChildren(make("p", { className: "good", textContent: text }), ...more);
    find("saved").hidden = false;
  }
}
