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

export const thumbnail = (name, heat) => `${sampleOf(name)}/overlay?size=320${heat ? "&map=true" : ""}`;
export const mapPath = (name) => `${sampleOf(name)}/map`;
export const maskPath = (name, kind, slice = {}) => `${sampleOf(name)}/masks/${kind}?${new URLSearchParams(slice)}`;

export function picturePath(name, options) {
  return `${sampleOf(name)}/overlay?${new URLSearchParams(options)}`;
}

export async function order(query) {
  return (await ask(`${job}/samples:order?${new URLSearchParams(query)}`)).json();
}

export async function facets(query) {
  const filter = query.filter(([name]) => name !== "order_by" && name !== "order");
  return (await ask(`${job}/samples:facets?${new URLSearchParams(filter)}`)).json();
}

export async function cards(ordinals, signal) {
  const query = ordinals.map((ordinal) => `ordinal=${ordinal}`).join("&");
  return (await (await ask(`${job}/samples:cards?${query}`, { signal })).json()).cards;
}

// Of one split, `train`, `validation` or `test`, of the version.
export async function counts(split) {
  return (await ask(`${version}/reviews?page_size=1&split=${split}`)).json();
}

export async function agreement() {
  return (await ask(`${version}/reviews/agreement`)).json();
}

export async function history(name, signal) {
  return (await (await ask(`${sampleOf(name)}/history`, { signal })).json()).history;
}

export async function neighbours(name, signal) {
  return (await ask(`${sampleOf(name)}/neighbours`, { signal })).json();
}

export async function overJobs(name, signal) {
  return (await ask(`${sampleOf(name)}/jobs`, { signal })).json();
}

export async function otherMasks(name, signal) {
  return (await ask(`${version}/samples/${encodeURIComponent(name)}/annotations`, { signal })).json();
}

// `labels`: { ordinal, revision }, of which the service says one by one what became of it.
export async function decide(labels, decision) {
  return (await ask(`${job}/reviews:decide`, { method: "POST", headers: json, body: JSON.stringify({ labels, decision }) })).json();
}

export async function undo(labels) {
  return (await ask(`${job}/reviews:undo`, { method: "POST", headers: json, body: JSON.stringify({ labels }) })).json();
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
