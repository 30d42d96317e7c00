// What the page asks of the server, and how what went wrong is told apart.

import { decodePng, encodePng } from "./png.js";

const TOKEN = "pixelwise.token";

// Something that did not work: `code` is the server's word for it, "gone" where nothing answered, "aborted" where we left.
export class Fault extends Error {
  constructor(code, message = "", { status = 0, retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { code, status, retryAfter });
  }
}

export function takeToken(text) {
  sessionStorage.setItem(TOKEN, text);
}

// A token in the address (#token=…) is kept for this tab and taken out of the address.
export function tokenFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given === null) return;
  takeToken(given);
  history.replaceState(null, "", location.pathname + location.search);
}

async function asked(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { Accept: "application/json", ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    throw new Fault(error.name === "AbortError" ? "aborted" : "gone", error.message);
  }
  let body = null;
  try {
    body = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw new Fault("aborted");
    if (answer.ok) throw new Fault("gone", error.message);
  }
  if (answer.ok) return body;
  throw new Fault(body?.error?.code ?? `status_${answer.status}`, body?.error?.message ?? "", {
    status: answer.status,
    retryAfter: Number(answer.headers.get("Retry-After")) || 0,
  });
}

export function service() {
  return asked("v1/models");
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

// The classes of a picture: {width, height, labels, confidence (0–255 each), classes, mask (Blob), polygons}.
export async function segment(file, model, signal) {
  const wanted = new URLSearchParams({ model, output: "json", include: "polygons,mask,indices" });
  const body = await asked(`v1/segment?${wanted}`, {
    method: "POST",
    body: file,
    signal,
    headers: { "Content-Type": "application/octet-stream" },
  });
  const { values, width, height } = await decodePng(bytesOf(body.indices).buffer);
  const many = body.classes.length > 255;
  const labels = many ? new Uint16Array(width * height) : new Uint8Array(width * height);
  const confidence = new Uint8Array(width * height);
  for (let k = 0, at = 0; k < labels.length; k++, at += 3) {
    labels[k] = values[at] | (values[at + 1] << 8);
    confidence[k] = values[at + 2];
  }
  const mask = new Blob([bytesOf(body.mask)], { type: "image/png" });
  const { classes, polygons } = body;
  return { width, height, labels, confidence, classes, mask, polygons, mean: body.confidence, seconds: body.seconds };
}

export async function saveCorrection(file, labels, width, height, model) {
  const form = new FormData();
  form.append("image", file, "image");
  form.append("mask", await encodePng(labels, width, height), "mask.png");
  form.append("model", model);
  return asked("v1/corrections", { method: "POST", body: form });
}

// A label map as the server's own masks: values are classes, in their colors.
export function mask(labels, { width, height }, colors) {
  return encodePng(labels, width, height, colors);
}
