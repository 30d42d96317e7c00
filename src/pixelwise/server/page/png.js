// Label maps as PNG, read and written without a canvas: a canvas gives colors, and two classes may share one.
// Read: grey or indexed of 1–16 bits, RGB of 8 bits, not interlaced. Written: 8 or 16 bits, the value
// being the class.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

async function through(stream, bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

// {width, height, channels, values: Uint8Array or Uint16Array, channels beside each other} of a PNG's bytes.
export async function decodePng(buffer) {
  const bytes = new Uint8Array(buffer);
  const words = new DataView(buffer);
  if (SIGNATURE.some((value, k) => bytes[k] !== value)) throw new Error("not a PNG");
  let head = null;
  const parts = [];
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = words.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (kind === "IHDR") head = new DataView(buffer, at + 8, length);
    if (kind === "IDAT") parts.push(body);
    at += 12 + length;
  }
  const width = head.getUint32(0);
  const height = head.getUint32(4);
  const depth = head.getUint8(8);
  const channels = { 0: 1, 2: 3, 3: 1 }[head.getUint8(9)];
  if (!channels || head.getUint8(12) !== 0 || (channels === 3 && depth !== 8)) throw new Error("an unexpected kind of PNG");
  const raw = await through(new DecompressionStream("deflate"), await new Blob(parts).arrayBuffer());
  const line = Math.ceil((width * channels * depth) / 8);
  const step = Math.max(1, (channels * depth) >> 3); // bytes from a value to the one on its left
  const rows = new Uint8Array(height * line);
  for (let y = 0; y < height; y++) unfilter(rows, raw, y, line, step);
  return { width, height, channels, values: unpacked(rows, width, height, depth, line) };
}

function unfilter(rows, raw, y, line, step) {
  const from = y * (line + 1);
  const filter = raw[from];
  const to = y * line;
  for (let x = 0; x < line; x++) {
    const left = x >= step ? rows[to + x - step] : 0;
    const up = y ? rows[to + x - line] : 0;
    const corner = y && x >= step ? rows[to + x - line - step] : 0;
    let guess = 0;
    if (filter === 1) guess = left;
    else if (filter === 2) guess = up;
    else if (filter === 3) guess = (left + up) >> 1;
    else if (filter === 4) {
      const p = left + up - corner;
      const [a, b, c] = [Math.abs(p - left), Math.abs(p - up), Math.abs(p - corner)];
      guess = a <= b && a <= c ? left : b <= c ? up : corner;
    }
    rows[to + x] = raw[from + 1 + x] + guess;
  }
}

function unpacked(rows, width, height, depth, line) {
  if (depth === 8) return rows;
  const values = depth === 16 ? new Uint16Array(width * height) : new Uint8Array(width * height);
  for (let y = 0, k = 0; y < height; y++) {
    for (let x = 0; x < width; x++, k++) {
      const bit = x * depth;
      const at = y * line + (bit >> 3);
      values[k] =
        depth === 16
          ? (rows[at] << 8) | rows[at + 1]
          : (rows[at] >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
    }
  }
  return values;
}

// A PNG of a label map, as a Blob: 16 bits a value for a Uint16Array, else 8; these with colors, [red, green, blue] of
// each value, where they are given.
export async function encodePng(values, width, height, colors = null) {
  const depth = values instanceof Uint16Array ? 16 : 8;
  const line = (width * depth) / 8;
  const raw = new Uint8Array(height * (line + 1)); // each row begins with its filter: 0, none
  for (let y = 0; y < height; y++) {
    const row = values.subarray(y * width, (y + 1) * width);
    const to = y * (line + 1) + 1;
    if (depth === 8) raw.set(row, to);
    else for (let x = 0; x < width; x++) raw.set([row[x] >> 8, row[x] & 255], to + 2 * x);
  }
  const head = new Uint8Array(13);
  const numbers = new DataView(head.buffer);
  numbers.setUint32(0, width);
  numbers.setUint32(4, height);
  const indexed = colors !== null && depth === 8;
  head.set([depth, indexed ? 3 : 0, 0, 0, 0], 8);
  const body = await through(new CompressionStream("deflate"), raw);
  const chunks = [chunk("IHDR", head), chunk("IDAT", body), chunk("IEND", new Uint8Array())];
  if (indexed) chunks.splice(1, 0, chunk("PLTE", Uint8Array.from({ length: 768 }, (_, k) => colors[Math.floor(k / 3)]?.[k % 3] ?? 0)));
  return new Blob([new Uint8Array(SIGNATURE), ...chunks], { type: "image/png" });
}

function chunk(kind, body) {
  const out = new Uint8Array(12 + body.length);
  const numbers = new DataView(out.buffer);
  numbers.setUint32(0, body.length);
  out.set([...kind].map((letter) => letter.charCodeAt(0)), 4);
  out.set(body, 8);
  numbers.setUint32(8 + body.length, crc(out.subarray(4, 8 + body.length)));
  return out;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function crc(bytes) {
  let c = 0xffffffff;
  for (const byte of bytes) c = TABLE[(c ^ byte) & 255] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}
