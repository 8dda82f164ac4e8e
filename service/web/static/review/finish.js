// The end of a review: the next version, and a job over it.
import * as api from "./api.js";

const { settings } = api;
const byId = (id) => document.getElementById(id);
const many = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
let key = "";

const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);
const told = ({ counts, undecided }) => `${total(counts)} of ${total(counts) + undecided} decided: ${Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ")}`;

// Counts at the top, and what they would come to.
export async function showCounts() {
  // The cards are what is trained on; the next version is made of everything.
  const others = Object.entries(settings.beside).filter(([, [, samples]]) => samples);
  const [train, ...beside] = await Promise.all(["train", ...others.map(([, [split]]) => split)].map(api.counts));
  const parts = beside.map((part, place) => (total(part.counts) ? `; of those ${others[place][0]}, ${told(part)}` : ""));
  byId("counts").textContent = told(train) + parts.join("");
  const counts = Object.fromEntries(Object.entries(train.counts).map(([name, count]) => [name, beside.reduce((sum, part) => sum + part.counts[name], count)]));
  const undecided = beside.reduce((sum, part) => sum + part.undecided, train.undecided);
  const what = `${many(counts.corrected, "correction")}, ${many(counts.excluded, "exclusion")}`;
  byId("finish").hidden = !settings.train || counts.corrected + counts.excluded === 0;
  byId("finish").textContent = `${what}: make version ${settings.newest + 1} and train again`;
  byId("finishing-text").textContent = `Version ${settings.newest + 1} of the dataset will have ${many(counts.corrected, "corrected label")} and be without ${many(counts.excluded, "sample")}. ${many(counts.flagged, "flagged label")} and ${many(undecided, "undecided one")} stay as they are.`;
}

export function wireFinish() {
  const dialog = byId("finishing"), again = byId("again"), start = byId("finish-go");
  const name = () => (start.textContent = again.checked ? "Make the version and train" : "Make the version");
  again.addEventListener("change", name);
  byId("finish").addEventListener("click", () => {
    key = crypto.getRandomValues(new Uint32Array(4)).join("-"); // asked twice, it is made once
    byId("finishing-problem").hidden = true;
    name();
    dialog.showModal();
    start.focus();
  });
  byId("finish-not").addEventListener("click", () => dialog.close());
  start.addEventListener("click", async () => {
    start.disabled = true;
    try {
      const made = await api.finish(again.checked, key);
      if (made.job) location.assign(`/jobs/${made.job.id}`);
      else {
        byId("finishing-text").textContent = `Version ${made.version.number} is made: ${many(made.corrected, "correction")}, ${many(made.excluded, "exclusion")}.`;
        settings.newest = made.version.number;
        start.hidden = true;
        byId("finish-not").textContent = "Close";
      }
    } catch (error) {
      byId("finishing-problem").textContent = error.message;
      byId("finishing-problem").hidden = false;
      start.disabled = false;
    }
  });
}
