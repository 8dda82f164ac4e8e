// What the review pages ask of the API. Every refusal becomes an ApiError whose message a person can act on.
const settings = JSON.parse(document.getElementById("review").dataset.settings);
const job = `/v1/jobs/${settings.job}`;
const version = `/v1/datasets/${settings.dataset}/versions/${settings.version}`;
export { settings };

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  if (answer.status === 401) location.reload(); // the server sends to the sign-in, and back here
  const problem = await answer.json().catch(() => ({}));
  const faults = (problem.errors ?? []).map((fault) => [fault.field ?? fault.file, fault.reason, fault.hint].filter(Boolean).join(": "));
  throw new ApiError(answer.status, [problem.detail ?? `The service answered ${answer.status}.`, ...faults].join(" "));
}

const sampleOf = (name) => `${job}/samples/${encodeURIComponent(name)}`;
const reviewOf = (name) => `${version}/samples/${encodeURIComponent(name)}/review`;
const seen = (revision) => ({ "If-Match": `"${revision}"` });
const json = { "Content-Type": "application/json" };

export const thumbnail = (name) => `${sampleOf(name)}/overlay?size=320`;
export const maskPath = (name, kind, slice = {}) => `${sampleOf(name)}/masks/${kind}?${new URLSearchParams(slice)}`;

export function picturePath(name, options) {
  return `${sampleOf(name)}/overlay?${new URLSearchParams(options)}`;
}

export async function order(query) {
  return (await ask(`${job}/samples:order?${new URLSearchParams(query)}`)).json();
}

export async function cards(ordinals, signal) {
  const query = ordinals.map((ordinal) => `ordinal=${ordinal}`).join("&");
  return (await (await ask(`${job}/samples:cards?${query}`, { signal })).json()).cards;
}

export async function counts() {
  return (await ask(`${version}/reviews?page_size=1`)).json();
}

export async function history(name, signal) {
  return (await (await ask(`${sampleOf(name)}/history`, { signal })).json()).history;
}

export async function decide(name, revision, decision) {
  const body = JSON.stringify(decision === "corrected" ? { decision, job_id: settings.job } : { decision });
  return (await ask(reviewOf(name), { method: "PUT", headers: { ...json, ...seen(revision) }, body })).json();
}

export async function undo(name, revision) {
  return (await ask(`${reviewOf(name)}:undo`, { method: "POST", headers: seen(revision) })).json();
}

export async function putMask(name, revision, body) {
  const headers = { "Content-Type": "application/octet-stream", ...seen(revision) };
  return (await ask(`${reviewOf(name)}/mask`, { method: "PUT", headers, body })).json();
}

// `body`: the base, and the slices that take the place of its.
export async function putSlices(name, revision, body) {
  const headers = { ...json, ...seen(revision) };
  return (await ask(`${reviewOf(name)}/slices`, { method: "PUT", headers, body: JSON.stringify(body) })).json();
}

export async function finish(again, key) {
  const headers = { ...json, "Idempotency-Key": key };
  const body = JSON.stringify(again ? { again: settings.job } : {});
  return (await ask(`${version}/reviews:finish`, { method: "POST", headers, body })).json();
}
