// One card of the grid. The elements are made once and filled again and again as the grid scrolls.
import { thumbnail } from "./api.js";
import { heatShown } from "./heat.js";

export const DECISIONS = {
  accepted: { icon: "✓", word: "accepted" },
  flagged: { icon: "⚑", word: "flagged" },
  corrected: { icon: "✎", word: "corrected" },
  excluded: { icon: "✕", word: "excluded" },
};
const SVG = "http://www.w3.org/2000/svg";

function element(name, className, parent) {
  const made = document.createElement(name);
  made.className = className;
  parent.append(made);
  return made;
}

export function points(values, width, height) {
  const step = width / Math.max(values.length - 1, 1);
  return values.map((value, i) => `${(i * step).toFixed(1)},${(height * (1 - Math.min(Math.max(value, 0), 1))).toFixed(1)}`).join(" ");
}

export function fillBadge(badge, card) {
  const known = DECISIONS[card?.decision];
  badge.className = `badge ${card?.decision ?? ""}`;
  badge.textContent = known ? `${known.icon} ${known.word} · ${card.decided_by}` : "";
  badge.hidden = !known;
}

export class CardView {
  constructor() {
    const root = (this.root = document.createElement("div"));
    root.className = "tile";
    root.setAttribute("role", "option");
    this.image = element("img", "", root);
    this.image.alt = "";
    this.image.decoding = "async";
    this.image.draggable = false;
    const title = element("span", "title", root);
    this.name = element("span", "name", title);
    this.annotator = element("span", "annotator", title);
    const figures = element("span", "figures", root);
    this.rank = element("span", "", figures);
    this.confidence = element("span", "", figures);
    this.score = element("span", "", figures);
    const chart = document.createElementNS(SVG, "svg");
    chart.setAttribute("viewBox", "0 -2 120 28");
    chart.setAttribute("preserveAspectRatio", "none");
    chart.setAttribute("class", "spark");
    chart.setAttribute("aria-hidden", "true");
    this.trace = document.createElementNS(SVG, "polyline");
    chart.append(this.trace);
    root.append(chart);
    this.reason = element("span", "reason", root);
    this.badge = element("span", "badge", root);
  }

  place(index, total, left, top, width, height) {
    this.index = index;
    const { style } = this.root;
    style.transform = `translate(${left}px, ${top}px)`;
    style.width = `${width}px`;
    style.height = `${height}px`;
    this.root.id = `tile-${index}`;
    this.root.dataset.index = index;
    this.root.setAttribute("aria-posinset", index + 1);
    this.root.setAttribute("aria-setsize", total);
  }

  fill(card) {
    this.card = card;
    if (!card) return this.clear();
    this.name.textContent = card.sample;
    this.annotator.textContent = card.annotator ?? "";
    this.rank.textContent = `#${card.rank}`;
    this.confidence.textContent = `conf ${card.confidence.toFixed(2)}`;
    this.score.textContent = `score ${card.score.toFixed(2)}`;
    this.trace.setAttribute("points", points(card.confidences, 120, 24));
    this.reason.textContent = card.reason ?? "";
    this.reason.hidden = !card.reason;
    fillBadge(this.badge, card);
    this.root.dataset.decision = card.decision ?? "";
    const decided = card.decision ? `${card.decision} by ${card.decided_by}` : "undecided";
    this.root.setAttribute("aria-label", `${card.sample}, rank ${card.rank}, confidence ${card.confidence.toFixed(2)}, ${decided}${card.reason ? `, ${card.reason}` : ""}${card.annotator ? `, drawn by ${card.annotator}` : ""}`);
    const source = thumbnail(card.sample, heatShown("grid"));
    if (this.image.getAttribute("src") !== source) this.image.src = source;
  }

  // Also stops the loading of a picture that nobody sees any more.
  clear() {
    this.card = undefined;
    this.image.removeAttribute("src");
    for (const part of [this.name, this.annotator, this.rank, this.confidence, this.score, this.reason]) part.textContent = "";
    this.trace.setAttribute("points", "");
    this.badge.hidden = this.reason.hidden = true;
    this.root.dataset.decision = "";
    this.root.setAttribute("aria-label", "loading");
  }
}
