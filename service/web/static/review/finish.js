// The end of a review: the next version, and a job over it.
import * as api from "./api.js";

const { settings } = api;
const byId = (id) => document.getElementById(id);
const many = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
let key = "";

// Counts at the top, and what they would come to.
export async function showCounts() {
  const { counts, undecided } = await api.counts();
  const decided = Object.values(counts).reduce((sum, count) => sum + count, 0);
  byId("counts").textContent = `${decided} of ${decided + undecided} decided: ${Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ")}`;
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
