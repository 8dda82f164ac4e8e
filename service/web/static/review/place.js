// Where the person is: filters, order, sample and view, kept in the address, so that a reload loses nothing.
const defaults = { text: "", min: "", max: "", decision: "", sort: "score", order: "asc", at: "", view: "", advance: "", axis: "", slice: "", gridmap: "on", map: "off", heat: "0.6" };

export const place = { ...defaults };

export function readPlace() {
  const query = new URLSearchParams(location.search);
  for (const key of Object.keys(defaults)) place[key] = query.get(key) ?? defaults[key];
}

// Change some of it; `step`: the browser's Back comes back to what it was before.
export function go(changes, step = false) {
  Object.assign(place, changes);
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(place)) if (String(value) !== defaults[key]) query.set(key, value);
  const text = query.toString();
  history[step ? "pushState" : "replaceState"](null, "", location.pathname + (text ? `?${text}` : ""));
}

// The question for the API.
export function question() {
  const query = { order_by: place.sort, order: place.order };
  if (place.text) query.name_contains = place.text;
  if (place.min) query.confidence_min = place.min;
  if (place.max) query.confidence_max = place.max;
  if (place.decision) query.decision = place.decision;
  return query;
}
