// Who else drew the image of the large sample.
import * as api from "./api.js";
import { sampleLink } from "./place.js";

const byId = (id) => document.getElementById(id);

// Fetches it; what it gives shows it.
export async function otherMasks(card, signal) {
  const found = await api.otherMasks(card.sample, signal);
  return () => {
    byId("drawn-by").hidden = !found.others.length;
    const mean = found.agreement === null ? "" : `, mean Dice with the others ${found.agreement.toFixed(2)}`;
    byId("drawn-by-this").textContent = `This one is by ${found.annotator ?? "an unknown hand"}${mean}.`;
    byId("drawn-by-list").replaceChildren(...found.others.map(entry));
  };
}

function entry(one) {
  const link = Object.assign(document.createElement("a"), { href: sampleLink({ at: one.ordinal }), textContent: one.annotator });
  link.dataset.ordinal = one.ordinal;
  const item = document.createElement("li");
  item.append(link, one.dice === null ? "" : ` Dice ${one.dice.toFixed(2)}`);
  return item;
}
