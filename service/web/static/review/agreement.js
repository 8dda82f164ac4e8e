// How far the people agree who decided about the same labels, and the way to those on which they do not.
import * as api from "./api.js";
import { place } from "./place.js";
import { toast } from "./toast.js";

const byId = (id) => document.getElementById(id);
const figure = (value) => (value === null ? "–" : value.toFixed(2));
let choose = () => {};

// `disagree(text)` is called when a person asks for the labels on which two people differ.
export function wireAgreement(disagree) {
  choose = disagree;
  byId("people").addEventListener("toggle", () => byId("people").open && showAgreement().catch((error) => toast(error.message, { kind: "bad" })));
}

export async function showAgreement() {
  const { agreements } = await api.agreement();
  byId("people").hidden = !agreements.length;
  const between = byId("filters").elements.disagree;
  between.closest("label").hidden = !agreements.length;
  between.replaceChildren(new Option("any", ""), ...agreements.map((pair) => new Option(`${pair.names.join(" / ")} differ`, pair.keys.join(","))));
  between.value = place.disagree;
  if (!agreements.length) return;
  const both = agreements.reduce((sum, pair) => sum + pair.both, 0), same = agreements.reduce((sum, pair) => sum + pair.same, 0);
  byId("people-summary").textContent = `Two people looked at the same label ${both} times and agreed ${same} times`;
  byId("people-rows").replaceChildren(...agreements.map(row));
}

function row(pair) {
  const made = document.createElement("tr");
  const texts = [pair.names.join(" and "), pair.both, pair.same, figure(pair.kappa), pair.masks, figure(pair.dice)];
  texts.forEach((text, column) => {
    const cell = made.insertCell();
    cell.textContent = text;
    if (column) cell.className = "num";
  });
  const differ = pair.both - pair.same, last = made.insertCell();
  if (!differ) last.textContent = "none";
  else {
    const show = Object.assign(document.createElement("button"), { type: "button", textContent: `Show ${differ}` });
    show.setAttribute("aria-label", `Show the ${differ} labels on which ${pair.names.join(" and ")} differ`);
    show.addEventListener("click", () => choose(pair.keys.join(",")));
    last.append(show);
  }
  return made;
}
