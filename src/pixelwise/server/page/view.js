// The picture with its classes over it: drawing, zoom and pan, the divider, the place that is looked at.
// Places are [x, y] in pixels of the picture, with fractions; points are [x, y] in CSS pixels of the stage.

const TOOLS = 78; // CSS pixels at the stage's lower edge that the fitted picture leaves to the tools
const MOST = 2.5e6; // pixels of overlay computed for a frame
const CELL = 1.6; // CSS pixels of a pattern's cell; a pattern has 8 × 8 cells
const PATTERNS = [
  (u, v) => (u + v) % 8 < 3, // diagonal
  (u, v) => u % 4 < 2 && v % 4 < 2, // dots
  (u, v) => v % 8 < 3, // rows
  (u, v) => (u - v + 8) % 8 < 3, // the other diagonal
  (u) => u % 8 < 3, // columns
  (u, v) => u % 8 < 2 || v % 8 < 2, // grid
  (u, v) => (u + v) % 8 < 2 || (u - v + 8) % 8 < 2, // crossed
  (u, v) => (u < 4) === (v < 4), // checks
].map((rule) => Uint8Array.from({ length: 64 }, (_, k) => (rule(k & 7, k >> 3) ? 1 : 0)));

export const STYLES = ["fill", "patterns", "outlines"];

// Whether a class's pattern covers a cell; the legend draws its swatches by it, too.
export function patterned(label, u, v) {
  return PATTERNS[label % PATTERNS.length][((v & 7) << 3) | (u & 7)] === 1;
}

function packed([red, green, blue], alpha) {
  return ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

export class View extends EventTarget {
  constructor(stage, canvas) {
    super();
    this.stage = stage;
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.layer = document.createElement("canvas");
    this.base = null; // what can be drawn, or null where the browser cannot show the picture
    this.labels = null;
    this.width = this.height = 0;
    this.scale = 1; // CSS pixels for a pixel of the picture
    this.x = this.y = 0; // where its top left corner lies
    this.fitted = true;
    this.opacity = 0.55;
    this.style = "fill";
    this.shown = true;
    this.split = null; // part of the stage's width that shows the picture alone, or null
    this.colors = [];
    this.hidden = new Set();
    this.lit = null; // the class that the legend points at
    this.void = 255;
    this.cursor = null; // a place: the brush, or the keyboard's cross
    this.brush = 0; // its diameter in pixels of the picture; 0 for a cross, null for nothing
    this.tool = null; // what a single pointer does instead of panning: {start, move, end, cancel}
    this.pointers = new Map();
    new ResizeObserver(() => this.resized()).observe(stage);
    this.listen();
  }

  // ---- what is shown

  show(base, width, height, labels, colors, keep = false) {
    const same = keep && width === this.width && height === this.height;
    Object.assign(this, { base, width, height, labels, colors });
    if (!same) {
      this.cursor = null;
      this.fit();
    }
    this.draw();
  }

  resized() {
    if (this.fitted) this.fit();
    else this.moved();
  }

  get least() {
    const { clientWidth: wide, clientHeight: high } = this.stage;
    const margin = wide < 600 ? 10 : 28;
    return Math.max(Math.min((wide - 2 * margin) / this.width, (high - margin - TOOLS) / this.height), 1e-4);
  }

  fit() {
    if (!this.width) return;
    this.scale = Math.min(this.least, 8);
    this.x = (this.stage.clientWidth - this.width * this.scale) / 2;
    const margin = this.stage.clientWidth < 600 ? 10 : 28;
    const high = this.stage.clientHeight - this.height * this.scale;
    this.y = Math.min(high / 2, Math.max(margin, high - TOOLS)); // above the tools, in the middle where there is room
    this.fitted = true;
    this.moved();
  }

  zoom(factor, point = [this.stage.clientWidth / 2, this.stage.clientHeight / 2]) {
    if (!this.width) return;
    const least = Math.min(this.least, 8);
    const scale = Math.min(Math.max(this.scale * factor, least), 40);
    const [x, y] = this.place(point);
    this.scale = scale;
    this.x = point[0] - x * scale;
    this.y = point[1] - y * scale;
    this.fitted = scale <= least * 1.0001;
    if (this.fitted) this.fit();
    else this.moved();
  }

  pan(dx, dy) {
    if (this.fitted) return;
    this.x += dx;
    this.y += dy;
    this.moved();
  }

  // Moves the picture so that a place is inside the stage.
  reveal([x, y]) {
    const margin = 24;
    const [px, py] = this.point([x, y]);
    const dx = Math.min(0, this.stage.clientWidth - margin - px) + Math.max(0, margin - px);
    const dy = Math.min(0, this.stage.clientHeight - margin - py) + Math.max(0, margin - py);
    this.pan(dx, dy);
  }

  moved() {
    const { clientWidth: wide, clientHeight: high } = this.stage;
    const limit = (at, size, room) => Math.min(Math.max(at, Math.min(room * 0.5 - size, (room - size) / 2)), Math.max(room * 0.5, (room - size) / 2));
    if (!this.fitted) {
      this.x = limit(this.x, this.width * this.scale, wide);
      this.y = limit(this.y, this.height * this.scale, high);
    }
    this.stage.classList.toggle("zoomed", !this.fitted);
    this.dispatchEvent(new Event("moved"));
    this.draw();
  }

  place([px, py]) {
    return [(px - this.x) / this.scale, (py - this.y) / this.scale];
  }

  point([x, y]) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }

  inside([x, y]) {
    return x >= 0 && y >= 0 && x < this.width && y < this.height;
  }

  // ---- drawing

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  paint() {
    const { canvas, context, stage } = this;
    const ratio = Math.min(window.devicePixelRatio || 1, 3);
    const [wide, high] = [stage.clientWidth, stage.clientHeight];
    if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(high * ratio)) {
      canvas.width = Math.round(wide * ratio);
      canvas.height = Math.round(high * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, wide, high);
    if (!this.width) return;
    context.imageSmoothingEnabled = this.scale < 3;
    context.imageSmoothingQuality = "high";
    const size = [this.width * this.scale, this.height * this.scale];
    if (this.base) context.drawImage(this.base, this.x, this.y, ...size);
    else {
      context.fillStyle = getComputedStyle(stage).getPropertyValue("--track");
      context.fillRect(this.x, this.y, ...size);
    }
    if (this.labels && this.shown) {
      context.save();
      if (this.split !== null) {
        context.beginPath();
        context.rect(wide * this.split, 0, wide, high);
        context.clip();
      }
      this.paintClasses(context, wide, high, ratio);
      context.restore();
    }
    if (this.cursor && this.brush !== null) this.paintCursor(context);
  }

  paintClasses(context, wide, high, ratio) {
    const left = Math.max(this.x, 0);
    const top = Math.max(this.y, 0);
    const right = Math.min(this.x + this.width * this.scale, wide);
    const bottom = Math.min(this.y + this.height * this.scale, high);
    if (right <= left || bottom <= top) return;
    const fine = Math.min(ratio, Math.sqrt(MOST / ((right - left) * (bottom - top))));
    const frame = { left, top, fine, wide: Math.ceil((right - left) * fine), high: Math.ceil((bottom - top) * fine) };
    const pixels = this.rasterized(frame);
    this.layer.width = frame.wide;
    this.layer.height = frame.high;
    this.layer.getContext("2d").putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = fine !== ratio;
    context.drawImage(this.layer, left, top, frame.wide / fine, frame.high / fine);
  }

  // The colors of one frame: for each pixel of the screen the class at its place, no array of the picture's size.
  rasterized({ left, top, fine, wide, high }) {
    const { labels, width, height, scale } = this;
    const columns = Int32Array.from({ length: wide }, (_, i) =>
      Math.min(width - 1, Math.max(0, Math.floor((left + (i + 0.5) / fine - this.x) / scale))),
    );
    const rows = Int32Array.from({ length: high }, (_, j) =>
      Math.min(height - 1, Math.max(0, Math.floor((top + (j + 0.5) / fine - this.y) / scale))) * width,
    );
    const cells = Uint8Array.from({ length: wide }, (_, i) => Math.floor((left + i / fine - this.x) / CELL) & 7);
    const { strong, weak, edge } = this.tints();
    const seam = packed([16, 16, 16], Math.min(1, this.opacity * 1.8)); // between two outlines
    const lines = this.style === "outlines";
    const thick = Math.max(1, Math.round(fine * (lines ? 2.6 : 1)));
    const out = new ImageData(wide, high);
    const colors = new Uint32Array(out.data.buffer);
    const plain = this.style !== "patterns";
    for (let j = 0, k = 0; j < high; j++) {
      const row = rows[j];
      const above = rows[Math.max(j - thick, 0)];
      const below = rows[Math.min(j + thick, high - 1)];
      const next = rows[Math.min(j + 1, high - 1)];
      const band = (Math.floor((top + j / fine - this.y) / CELL) & 7) << 3;
      for (let i = 0; i < wide; i++, k++) {
        const column = columns[i];
        const label = labels[row + column];
        if (
          labels[above + column] !== label ||
          labels[below + column] !== label ||
          labels[row + columns[i < thick ? 0 : i - thick]] !== label ||
          labels[row + columns[i + thick < wide ? i + thick : wide - 1]] !== label
        ) {
          colors[k] = edge[label];
          if (lines && colors[k] && (labels[next + column] !== label || labels[row + columns[i + 1 < wide ? i + 1 : i]] !== label)) {
            colors[k] = seam;
          }
          continue;
        }
        colors[k] =
          plain || PATTERNS[label % PATTERNS.length][band | cells[i]] === 1 ? strong[label] : weak[label];
      }
    }
    return out;
  }

  tints() {
    const count = Math.max(this.colors.length, this.void + 1);
    const tables = { strong: new Uint32Array(count), weak: new Uint32Array(count), edge: new Uint32Array(count) };
    this.colors.forEach((color, label) => {
      if (this.hidden.has(label)) return;
      const dim = this.lit !== null && this.lit !== label ? 0.16 : 1;
      const opacity = this.opacity * dim;
      const lines = this.style === "outlines";
      tables.strong[label] = packed(color, lines ? 0 : Math.min(1, opacity * (this.style === "patterns" ? 1.25 : 1)));
      tables.weak[label] = packed(color, lines ? 0 : opacity * 0.16);
      tables.edge[label] = packed(color, (lines ? Math.min(1, this.opacity * 1.8) : Math.min(1, this.opacity * 1.5)) * dim);
    });
    return tables;
  }

  paintCursor(context) {
    const [x, y] = this.point(this.cursor);
    context.lineWidth = 1.5;
    for (const [color, grow] of [["rgba(0,0,0,.75)", 1.5], ["#fff", 0]]) {
      context.strokeStyle = color;
      context.beginPath();
      if (this.brush) context.arc(x, y, Math.max((this.brush * this.scale) / 2, 1.5) + grow, 0, 7);
      else {
        for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
          context.moveTo(x + dx * 4 + (dy ? grow : 0), y + dy * 4 + (dx ? grow : 0));
          context.lineTo(x + dx * 12 + (dy ? grow : 0), y + dy * 12 + (dx ? grow : 0));
        }
      }
      context.stroke();
    }
  }

  // The whole picture with its classes as they are shown, at its own size.
  async exported() {
    const canvas = document.createElement("canvas");
    canvas.width = this.width;
    canvas.height = this.height;
    const context = canvas.getContext("2d");
    if (this.base) context.drawImage(this.base, 0, 0, this.width, this.height);
    const kept = [this.scale, this.x, this.y, this.lit];
    [this.scale, this.x, this.y, this.lit] = [1, 0, 0, null];
    const pixels = this.rasterized({ left: 0, top: 0, fine: 1, wide: this.width, high: this.height });
    [this.scale, this.x, this.y, this.lit] = kept;
    const layer = document.createElement("canvas");
    layer.width = this.width;
    layer.height = this.height;
    layer.getContext("2d").putImageData(pixels, 0, 0);
    context.drawImage(layer, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  // ---- pointers

  listen() {
    const { stage } = this;
    const at = (event) => {
      const box = stage.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    stage.addEventListener("wheel", (event) => {
      if (!this.width) return;
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 30 : 1;
      this.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), at(event));
    }, { passive: false });
    stage.addEventListener("pointerdown", (event) => {
      if (!this.width || event.target.closest("[role=slider], .tools, .card")) return;
      if (event.pointerType === "mouse" && event.button > 1) return;
      stage.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, at(event));
      this.dragged = 0;
      if (this.pointers.size === 2 && this.tool) this.tool.cancel();
      if (this.pointers.size !== 1) return;
      this.painting = this.tool !== null && event.button === 0 && !this.holding;
      if (this.painting) this.tool.start(this.place(at(event)));
      else if (this.width) this.look(this.place(at(event)), at(event), event.pointerType);
    });
    stage.addEventListener("pointermove", (event) => {
      if (!this.width) return;
      const now = at(event);
      const before = this.pointers.get(event.pointerId);
      if (!before && event.target.closest("button, [role=slider], .tools")) return this.look(null);
      if (!before) return this.look(this.place(now), now, event.pointerType);
      if (this.pointers.size === 1) {
        if (this.painting) {
          for (const each of event.getCoalescedEvents?.() ?? []) this.tool.move(this.place(at(each)));
          this.tool.move(this.place(now));
        } else {
          this.pan(now[0] - before[0], now[1] - before[1]);
          this.dragged += Math.hypot(now[0] - before[0], now[1] - before[1]);
        }
      } else if (this.pointers.size === 2) this.pinch(event.pointerId, before, now);
      this.pointers.set(event.pointerId, now);
      this.look(this.place(now), now, event.pointerType);
    });
    const up = (event) => {
      if (!this.pointers.delete(event.pointerId)) return;
      if (this.pointers.size === 0 && this.painting) {
        this.painting = false;
        this.tool?.end();
      }
    };
    stage.addEventListener("pointerup", up);
    stage.addEventListener("pointercancel", up);
    stage.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") this.look(null);
    });
    stage.addEventListener("dblclick", (event) => {
      if (this.tool || event.target.closest("[role=slider], .tools, .card")) return;
      if (this.fitted) this.zoom(2.5, at(event));
      else this.fit();
    });
  }

  pinch(id, before, now) {
    const other = [...this.pointers].find(([key]) => key !== id)[1];
    const apart = (a, b) => Math.max(Math.hypot(a[0] - b[0], a[1] - b[1]), 1);
    const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const [from, to] = [middle(before, other), middle(now, other)];
    this.painting = false;
    this.zoom(apart(now, other) / apart(before, other), to);
    this.pan(to[0] - from[0], to[1] - from[1]);
  }

  // Tells which place is looked at; null for none.
  look(place, point = null, by = "mouse") {
    this.cursor = place && this.inside(place) && (this.brush || by === "keyboard") ? place : null;
    this.dispatchEvent(new CustomEvent("look", { detail: { place, point, by } }));
    if (this.brush !== null) this.draw();
  }
}
