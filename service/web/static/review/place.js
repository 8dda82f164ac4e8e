// Where the person is: filters, order, sample and view, kept in the address, so that a reload loses nothing.
const defaults = { text: "", min: "", max: "", decision: "", disagree: "", sort: "score", order: "asc", at: "", view: "", advance: "", axis: "", slice: "" };

export const place = { ...defaults };

export function readPlace() {
  const query = new URLSearchParams(location.search);
  for (const key of Object.keys(defaults)) place[key] = query.get(key) ?? defaults[key];
}

// Change some of it; `step`: the browser's Back comes back to what it was before.
export function go(changes, step = false) {
  Object.assign(place, changes);
  const text = written(place);
  history[step ? "pushState" : "replaceState"](null, "", location.pathname + (text ? `?${text}` : ""));
}

// The address of a sample, large: of this job with everything else as it is, of another job with nothing else.
export function sampleLink(changes, job = null) {
  const large = { ...changes, view: "large" };
  if (job !== null) return `/jobs/${job}/review?${new URLSearchParams(large)}`;
  return `${location.pathname}?${written({ ...place, ...large, slice: "" })}`;
}

function written(values) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) if (String(value) !== defaults[key]) query.set(key, value);
  return query.toString();
}

// The question for the API.
export function question() {
  const query = { order_by: place.sort, order: place.order };
  if (place.text) query.name_contains = place.text;
  if (place.min) query.confidence_min = place.min;
  if (place.max) query.confidence_max = place.max;
  if (place.decision) query.decision = place.decision;
  const people = place.disagree.split(",").map((key) => ["disagree", key]);
  return place.disagree ? [...Object.entries(query), ...people] : query;
}
