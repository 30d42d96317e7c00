// The pictures of this visit and their way to the server: one after the other, what is looked at first.

import { Fault, segment } from "./api.js";

const TRIES = 6; // after "queue full", before the person is asked
const EDGE = 132; // pixels of a thumbnail's longer side

export class Pictures extends EventTarget {
  constructor() {
    super();
    this.all = [];
    this.current = null;
    this.model = null;
    this.limits = null;
    this.busy = null;
    this.next = 1;
  }

  tell(name) {
    this.dispatchEvent(new Event(name));
  }

  // Adds files (or blobs with a name); the first of them is shown.
  async add(files) {
    const added = files.map((file) => ({
      id: this.next++,
      file,
      name: file.name || "picture.png",
      base: null,
      thumb: null,
      results: new Map(), // by the model's name
      painting: null,
      saved: false,
      state: "waiting",
      opened: false, // looked at here; only then is it sent
      fault: null,
      wait: 0,
    }));
    this.all.push(...added);
    if (added.length) this.choose(added[0]);
    for (const picture of added) {
      await this.open(picture);
      this.work();
    }
  }

  // Draws the thumbnail, and finds out early what the server would refuse.
  async open(picture) {
    const limits = this.limits;
    if (picture.file.size === 0) this.fail(picture, new Fault("empty"));
    else if (limits && picture.file.size > limits.bytes) this.fail(picture, new Fault("too_large"));
    else {
      try {
        const base = await createImageBitmap(picture.file, { imageOrientation: "from-image" });
        if (!this.all.includes(picture)) return base.close(); // it was removed meanwhile
        picture.base = base;
        const { width, height } = base;
        if (limits && width * height > limits.pixels) this.fail(picture, new Fault("too_many_pixels"));
        picture.thumb = thumbnail(picture.base);
      } catch {
        picture.base = null; // a TIFF, say: the server may read it
      }
    }
    picture.opened = true;
    if (picture === this.current) this.tell("opened");
    this.tell("changed");
  }

  choose(picture) {
    this.current = picture;
    this.tell("chosen");
    this.tell("changed");
    if (picture && picture.state !== "failed" && !picture.results.has(this.model?.name)) {
      picture.state = picture === this.busy?.picture ? "working" : "waiting";
      this.work();
    }
  }

  step(by) {
    const at = this.all.indexOf(this.current);
    const to = this.all[at + by];
    if (to) this.choose(to);
  }

  remove(picture) {
    const at = this.all.indexOf(picture);
    if (at < 0) return;
    if (this.busy?.picture === picture) this.busy.control.abort();
    clearTimeout(picture.timer);
    this.all.splice(at, 1);
    picture.base?.close();
    if (picture === this.current) this.choose(this.all[at] ?? this.all[at - 1] ?? null);
    else this.tell("changed");
  }

  // Another model: what was sent for the old one is dropped.
  use(model) {
    this.model = model;
    this.busy?.control.abort();
    for (const picture of this.all) {
      if (picture.fault && !["too_large", "too_many_pixels", "empty"].includes(picture.fault.code)) picture.fault = null;
      if (picture.fault) continue;
      picture.state = picture.results.has(model.name) ? "done" : "waiting";
    }
    this.tell("chosen");
    this.tell("changed");
    this.work();
  }

  retry(picture) {
    Object.assign(picture, { state: "waiting", fault: null, tries: 0, wait: 0 });
    clearTimeout(picture.timer);
    this.tell("chosen");
    this.tell("changed");
    this.work();
  }

  retryAll(code) {
    for (const picture of this.all) if (picture.fault?.code === code) this.retry(picture);
  }

  fail(picture, fault) {
    Object.assign(picture, { state: "failed", fault, wait: 0 });
  }

  async work() {
    if (this.busy || !this.model) return;
    const ready = (picture) => picture.state === "waiting" && picture.opened && !picture.wait;
    const picture = this.current && ready(this.current) ? this.current : this.all.find(ready);
    if (!picture) return;
    const model = this.model.name;
    const control = new AbortController();
    this.busy = { picture, control };
    picture.state = "working";
    this.tell("changed");
    try {
      const result = await segment(picture.file, model, control.signal);
      if (this.all.includes(picture)) picture.results.set(model, result);
      if (!control.signal.aborted) picture.state = "done";
      picture.thumb ??= null;
    } catch (error) {
      this.stumble(picture, error, control.signal.aborted);
    }
    this.busy = null;
    if (picture === this.current) this.tell("segmented");
    this.tell("changed");
    this.work();
  }

  stumble(picture, error, aborted) {
    const fault = error instanceof Fault ? error : new Fault("other", String(error));
    picture.tries = (picture.tries ?? 0) + 1;
    if (aborted || fault.code === "aborted") {
      if (picture.state === "working") picture.state = "waiting";
      picture.tries = 0;
    } else if (fault.code === "queue_full" && picture.tries < TRIES) {
      picture.state = "waiting";
      this.countDown(picture, Math.max(1, Math.ceil(fault.retryAfter || picture.tries)));
    } else {
      this.fail(picture, fault);
      if (fault.code === "unauthorized") this.tell("unauthorized");
    }
  }

  countDown(picture, seconds) {
    picture.wait = seconds;
    picture.timer = setTimeout(() => {
      if (seconds > 1) this.countDown(picture, seconds - 1);
      else {
        picture.wait = 0;
        this.work();
      }
    }, 1000);
    this.tell("changed");
  }
}

function thumbnail(base) {
  const scale = Math.min(1, EDGE / Math.min(base.width, base.height));
  const canvas = document.createElement("canvas");
  const side = Math.max(1, Math.round(Math.min(base.width, base.height) * scale));
  canvas.width = canvas.height = side;
  const cut = Math.min(base.width, base.height);
  const from = [(base.width - cut) / 2, (base.height - cut) / 2];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(base, ...from, cut, cut, 0, 0, side, side);
  return canvas;
}
