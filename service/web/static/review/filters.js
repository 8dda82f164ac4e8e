// The filter bar: what is chosen is in the address, and beside each choice stands how many samples it would leave.
import * as api from "./api.js";
import { FILTERS, place, question } from "./place.js";

const form = document.getElementById("filters"), clear = document.getElementById("clear");
let turn = 0;

// The controls as the address has them.
export function showFilters() {
  for (const name of [...FILTERS, "sort", "order"]) {
    const control = form.elements[name];
    if (control.tagName === "SELECT" && ![...control.options].some((option) => option.value === place[name])) control.add(new Option(place[name], place[name]));
    control.value = place[name];
    if (place[name]) control.closest("label").hidden = false;
  }
  showClear();
}

export function showClear() {
  clear.hidden = !FILTERS.some((name) => place[name]);
}

// Ask how many samples each choice would leave; an answer to an older question is dropped.
export async function showFacets() {
  const asked = ++turn, found = await api.facets(question());
  if (asked !== turn) return;
  fill("decision", Object.entries(found.decisions));
  fill("reason", Object.entries(found.reasons));
  fill("annotator", found.annotators.map(({ annotator, samples }) => [annotator, samples]));
  const classes = found.classes.length > 1 ? found.classes : [];
  fill("class", [
    ...classes.map(({ number, value, labels }) => [`label:${number}`, labels, `label has ${value}`]),
    ...classes.map(({ number, value, predictions }) => [`prediction:${number}`, predictions, `model sees ${value}`]),
  ]);
  fill("verified", found.verified || place.verified ? [["true", found.verified, "yes"], ["false", found.not_verified, "no"]] : []);
}

// A control with nothing to choose from stays away; what is chosen stays chosen, also where it leaves nothing.
function fill(name, choices) {
  const control = form.elements[name], chosen = control.value;
  const options = choices.map(([value, count, word = value]) => new Option(`${word.replace("_", " ")} (${count})`, value));
  if (chosen && !choices.some(([value]) => value === chosen)) options.push(new Option(`${chosen} (0)`, chosen));
  control.replaceChildren(new Option("any", ""), ...options);
  control.value = chosen;
  if (choices.some(([, count]) => count)) control.closest("label").hidden = false;
}
