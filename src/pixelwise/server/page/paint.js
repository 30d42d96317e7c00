// Painting classes over a label map: strokes of a round brush, filling of a region, undo and redo.

const DEPTH = 60; // strokes that can be taken back

export class Painting {
  constructor(labels, width, height) {
    this.original = labels;
    this.labels = labels.slice();
    this.width = width;
    this.height = height;
    this.done = [];
    this.undone = [];
    this.before = null; // the map as it was when the stroke began
  }

  get changed() {
    return this.done.length > 0;
  }

  begin() {
    this.before = this.labels.slice();
    this.box = [this.width, this.height, -1, -1]; // what the stroke has touched: left, top, right, bottom
  }

  // A line of disks from one place to another, in pixels of the picture.
  stroke([x0, y0], [x1, y1], size, label) {
    const radius = Math.max(size / 2, 0.5);
    const count = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / Math.max(radius / 2, 0.5)));
    for (let k = 0; k <= count; k++) {
      this.disk(x0 + ((x1 - x0) * k) / count, y0 + ((y1 - y0) * k) / count, radius, label);
    }
  }

  disk(x, y, radius, label) {
    const top = Math.max(0, Math.ceil(y - radius - 0.5));
    const bottom = Math.min(this.height - 1, Math.floor(y + radius - 0.5));
    for (let row = top; row <= bottom; row++) {
      const half = Math.sqrt(Math.max(radius * radius - (row + 0.5 - y) ** 2, 0));
      const left = Math.max(0, Math.ceil(x - half - 0.5));
      const right = Math.min(this.width - 1, Math.floor(x + half - 0.5));
      if (left > right) continue;
      this.labels.fill(label, row * this.width + left, row * this.width + right + 1);
      this.touch(left, row);
      this.touch(right, row);
    }
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (column >= 0 && row >= 0 && column < this.width && row < this.height) {
      this.labels[row * this.width + column] = label; // a brush of one pixel, wherever in it the pointer is
      this.touch(column, row);
    }
  }

  // Gives the connected region around a place another class (4 neighbors).
  fill(column, row, label) {
    const { labels, width, height } = this;
    const old = labels[row * width + column];
    if (old === label) return;
    const stack = [row * width + column];
    while (stack.length) {
      let at = stack.pop();
      if (labels[at] !== old) continue;
      const y = Math.floor(at / width);
      const start = y * width;
      while (at > start && labels[at - 1] === old) at--;
      for (let above = false, below = false; at < start + width && labels[at] === old; at++) {
        labels[at] = label;
        this.touch(at - start, y);
        const up = y > 0 && labels[at - width] === old;
        const down = y < height - 1 && labels[at + width] === old;
        if (up && !above) stack.push(at - width);
        if (down && !below) stack.push(at + width);
        [above, below] = [up, down];
      }
    }
  }

  touch(x, y) {
    const box = this.box;
    if (x < box[0]) box[0] = x;
    if (y < box[1]) box[1] = y;
    if (x > box[2]) box[2] = x;
    if (y > box[3]) box[3] = y;
  }

  end() {
    const before = this.before;
    this.before = null;
    if (!before || this.box[2] < 0) return;
    const step = { box: this.box, old: this.cut(before), now: this.cut(this.labels) };
    if (step.old.every((value, k) => value === step.now[k])) return;
    this.done.push(step);
    if (this.done.length > DEPTH) this.done.shift();
    this.undone = [];
  }

  // Takes back what has not ended: the first finger of a pinch has already painted.
  cancel() {
    if (this.before) this.labels.set(this.before);
    this.before = null;
  }

  undo() {
    const step = this.done.pop();
    if (step) this.undone.push(step) && this.paste(step.box, step.old);
  }

  redo() {
    const step = this.undone.pop();
    if (step) this.done.push(step) && this.paste(step.box, step.now);
  }

  cut(map) {
    const [left, top, right, bottom] = this.box;
    const wide = right - left + 1;
    const out = new map.constructor(wide * (bottom - top + 1));
    for (let y = top; y <= bottom; y++) {
      out.set(map.subarray(y * this.width + left, y * this.width + right + 1), (y - top) * wide);
    }
    return out;
  }

  paste([left, top, right, bottom], patch) {
    const wide = right - left + 1;
    for (let y = top; y <= bottom; y++) {
      this.labels.set(patch.subarray((y - top) * wide, (y - top + 1) * wide), y * this.width + left);
    }
  }
}
