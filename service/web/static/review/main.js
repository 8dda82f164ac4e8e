// The review page: its parts put together. Where the person is, is in the address; what was decided, in the service.
import { settings } from "./api.js";
import { showAgreement, wireAgreement } from "./agreement.js";
import { Deck } from "./deck.js";
import { Decider } from "./decide.js";
import { Deeds } from "./deeds.js";
import { Editor } from "./editor.js";
import { showClear, showFacets, showFilters } from "./filters.js";
import { showCounts, wireFinish } from "./finish.js";
import { Grid } from "./grid.js";
import { readHeat, wireHeat } from "./heat.js";
import { fillHelp } from "./keys.js";
import { Large } from "./large.js";
import { FILTERS, go, noFilters, place, question, readPlace } from "./place.js";
import { Selection } from "./selection.js";
import { press } from "./shortcuts.js";
import { toast } from "./toast.js";
import { Viewer } from "./viewer.js";

const byId = (id) => document.getElementById(id);
const deck = new Deck(), selection = new Selection(), decider = new Decider(deck);
const grid = new Grid(byId("grid"), deck, selection);
const viewer = new Viewer(byId("canvas")), large = new Large(viewer, deck);
const editor = new Editor(viewer, large);
const deeds = new Deeds({ deck, selection, decider, grid, viewer, large, editor });

const say = (error) => toast(error.message, { kind: "bad" });

async function load() {
  showClear();
  showFacets().catch(say);
  try {
    if (!(await deck.load(question()))) return; // another question was asked meanwhile
  } catch (error) {
    return say(error);
  }
  const more = deck.total > deck.order.length ? `; the first ${deck.order.length} are here, filter to see others` : "";
  byId("found").textContent = `${deck.total} samples${more}`;
  const filtered = FILTERS.some((name) => place[name]);
  byId("none").textContent = filtered ? "No sample matches." : "Samples appear here after the first epoch.";
  byId("none").hidden = deck.order.length > 0;
  grid.cursor = Math.max(0, deck.indexOf(Number(place.at || -1)));
  grid.layout();
}

let typing = 0, counting = 0;
byId("filters").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    go({ [event.target.name]: event.target.value, at: "" });
    selection.set([]);
    load();
  }, event.target.tagName === "SELECT" ? 0 : 250);
});
byId("clear").addEventListener("click", () => {
  go(noFilters());
  selection.set([]);
  showFilters();
  byId("filters").elements.text.focus();
  load();
});
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("advance").addEventListener("change", (event) => go({ advance: event.target.checked ? "" : "off" }));
byId("many").addEventListener("change", (event) => (grid.many = event.target.checked));
grid.addEventListener("cursor", () => go({ at: deck.order[grid.cursor] ?? "" }));
grid.addEventListener("open", () => deeds.open());
selection.addEventListener("change", () => deeds.showSelected());
decider.addEventListener("decided", () => {
  showCounts().catch(say);
  clearTimeout(counting);
  counting = setTimeout(() => showFacets().catch(say), 1000); // not after each of a quick series
});
for (const part of [deck, large]) part.addEventListener("fault", (event) => toast(event.detail, { kind: "bad" }));
document.addEventListener("keydown", (event) => press(event, deeds));
document.addEventListener("keyup", (event) => {
  if (event.key === " ") viewer.panKey = false;
});
addEventListener("popstate", () => {
  if (!editor.active) return start();
  go({}, true); // stay: Back would throw the painting away
  toast("Save the mask first (Ctrl + S), or cancel (Esc).");
});
addEventListener("beforeunload", (event) => {
  if (editor.active && editor.dirty) event.preventDefault();
});

async function start() {
  readPlace();
  showFilters();
  byId("advance").checked = place.advance !== "off";
  readHeat();
  await load();
  if (place.view === "large" && place.at !== "") await deeds.open(Number(place.at), false);
  else deeds.showGrid(false);
}

// A link to another sample of this job stays on the page.
document.querySelector("aside").addEventListener("click", (event) => {
  const link = event.target.closest("a[data-ordinal]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || deeds.mode === "edit") return;
  event.preventDefault();
  go({ at: link.dataset.ordinal, view: "large", slice: "" }, true);
  deeds.open(Number(link.dataset.ordinal), false).then(() => byId("canvas").focus());
});
wireAgreement((people) => {
  go({ disagree: people, at: "" });
  selection.set([]);
  showFilters();
  load();
});

fillHelp();
wireFinish();
wireHeat({ grid: () => grid.refill(), large: () => large.redraw() });
deeds.wire();
for (const show of [showCounts, showAgreement]) show().catch(say);
start();
