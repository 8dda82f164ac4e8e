// An upload in parts by the API: begin or go on, send what is missing, ask for the check, and watch it.
import { problemOf } from "/static/forms.js";
import { Sha256 } from "./sha256.js";

export class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.errors = problem.errors;
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Refused(await problemOf(answer));
  return answer.status === 204 ? null : answer.json();
}

const json = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const begin = (fields, size, project) =>
  ask(`/v1/uploads${project ? `?project=${encodeURIComponent(project)}` : ""}`, json({ ...fields, size }));

export const state = (id) => ask(`/v1/uploads/${encodeURIComponent(id)}`);

export const giveUp = (id) => ask(`/v1/uploads/${encodeURIComponent(id)}`, { method: "DELETE" });

// One part to the service itself: the pages' policy lets them reach no other host, such as a store.
function put(upload, number, body, told, signal) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest(); // fetch does not tell how far a body is
    request.open("PUT", `/v1/uploads/${upload.id}/parts/${number}`);
    request.upload.onprogress = (event) => told(event.loaded);
    request.onload = async () => {
      if (request.status === 204) done();
      else fail(new Refused(await problemOf(new Response(request.responseText, { status: request.status }))));
    };
    request.onerror = () => fail(new Error("The connection broke off. Choose the same file again to go on."));
    request.onabort = () => fail(new DOMException("stopped", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

// Send the parts that are not there yet; every byte is read for the checksum. told(bytes done)
export async function send(upload, blob, told, signal) {
  const digest = new Sha256(), here = new Set(upload.received);
  for (let number = 1; number <= upload.parts; number++) {
    signal.throwIfAborted();
    const at = (number - 1) * upload.part_size, piece = blob.slice(at, at + upload.part_size);
    digest.update(new Uint8Array(await piece.arrayBuffer()));
    if (!here.has(number)) await put(upload, number, piece, (sent) => told(at + sent), signal);
    told(at + piece.size);
  }
  return digest.hex();
}

export const complete = (id, sha256) => ask(`/v1/uploads/${id}:complete`, json({ sha256 }));

// The upload once its check is over. told(files done, of how many)
export async function watch(id, told) {
  for (;;) {
    const upload = await state(id);
    told(upload.done, upload.total);
    if (upload.state !== "IMPORTING" || upload.interrupted) return upload;
    await new Promise((done) => setTimeout(done, 500));
  }
}
