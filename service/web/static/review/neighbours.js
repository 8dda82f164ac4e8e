// Samples that look like the large one: how they are drawn, and whether the fault repeats.
import * as api from "./api.js";
import { DECISIONS } from "./card.js";
import { sampleLink } from "./place.js";

const WITHOUT = {
  known: "No other sample has another image.",
  "not-yet": "Not yet: they are found out when the job ends.",
  none: "This job has not found them out.",
};
const byId = (id) => document.getElementById(id);

// Fetches them; what it gives shows them.
export async function neighbours(card, signal) {
  const found = await api.neighbours(card.sample, signal);
  return () => {
    byId("alike").replaceChildren(...found.neighbours.map(entry));
    byId("alike-none").textContent = WITHOUT[found.state];
    byId("alike-none").hidden = found.neighbours.length > 0;
    byId("alike-among").textContent = found.neighbours.length ? `of ${found.among} samples` : "";
  };
}

function entry(one, place) {
  const link = Object.assign(document.createElement("a"), { href: sampleLink({ at: one.ordinal }) });
  link.dataset.ordinal = one.ordinal;
  const picture = Object.assign(document.createElement("img"), { src: api.picturePath(one.sample, { size: 112 }), alt: "", width: 84, height: 84, loading: "lazy" });
  const name = Object.assign(document.createElement("span"), { className: "name", textContent: one.sample });
  const figures = Object.assign(document.createElement("span"), { className: "figures", textContent: `conf ${one.confidence.toFixed(2)}\nalike ${one.similarity.toFixed(2)}` });
  const known = DECISIONS[one.decision];
  const badge = Object.assign(document.createElement("span"), { className: `badge ${one.decision ?? ""}`, textContent: known ? `${known.icon} ${known.word}` : "", hidden: !known });
  const decided = one.decision ? `${one.decision} by ${one.decided_by}` : "undecided";
  link.setAttribute("aria-label", `Alike, number ${place + 1}: ${one.sample}, confidence ${one.confidence.toFixed(2)}, similarity ${one.similarity.toFixed(2)}, ${decided}${one.reason ? `, ${one.reason}` : ""}`);
  link.title = [one.sample, one.reason].filter(Boolean).join(": ");
  link.append(picture, name, figures, badge);
  const item = document.createElement("li");
  item.append(link);
  return item;
}
