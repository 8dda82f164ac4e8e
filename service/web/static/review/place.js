// Where the person is: filters, order, sample and view, kept in the address, so that a reload loses nothing.
export const FILTERS = ["text", "min", "max", "decision", "reason", "annotator", "class", "verified", "disagree"];
const none = Object.fromEntries(FILTERS.map((name) => [name, ""]));
const defaults = { ...none, sort: "score", order: "asc", at: "", view: "", advance: "", axis: "", slice: "", gridmap: "on", map: "off", heat: "0.6" };

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

export const noFilters = () => ({ ...none, at: "" });

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

// The question for the API, as pairs of name and value.
export function question() {
  const [kind, number] = place.class.split(":");
  const query = {
    order_by: place.sort, order: place.order, text: place.text, confidence_min: place.min, confidence_max: place.max, decision: place.decision,
    reason: place.reason, annotator: place.annotator, verified: place.verified, [kind === "prediction" ? "predicted_class" : "label_class"]: number,
  };
  const people = place.disagree ? place.disagree.split(",").map((key) => ["disagree", key]) : [];
  return [...Object.entries(query).filter(([, value]) => value), ...people];
}
