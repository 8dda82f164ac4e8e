// A cross-validation: its buttons, and a look every few seconds whether a fold has gone on. What the server draws is then
// put in the place of what is shown; scroll position, focus and what is typed into the filter stay.
import { problemOf } from "/static/forms.js";

const SECONDS = 4;
const at = (id) => document.getElementById(id), now = () => at("cross-validation").dataset;
const path = `/v1/cross-validations/${now().id}`;

async function refresh() {
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const focused = document.activeElement?.id;
  for (const part of fresh.querySelectorAll("#cross-validation, #evaluation")) at(part.id)?.replaceWith(part);
  // Samples are not changed under a reader's eyes, but for the first time.
  const first = fresh.querySelectorAll("#evaluation, #samples");
  if (!at("evaluation") && first.length) {
    document.querySelector("main > .empty")?.remove();
    document.querySelector("main").append(...first);
  }
  if (focused) at(focused)?.focus({ preventScroll: true });
}

async function look() {
  if (document.hidden) return;
  const answer = await fetch(path);
  if (!answer.ok) return;
  const { folds, state } = await answer.json();
  if (folds.map((one) => `${one.state ?? "DELETED"} `).join("") !== now().folds) await refresh();
  if (state !== "RUNNING") clearInterval(looking);
}
const looking = now().state === "RUNNING" ? setInterval(() => look().catch(() => {}), SECONDS * 1000) : null;

document.querySelector("main").addEventListener("click", async ({ target }) => {
  const deed = target.dataset?.deed;
  if (!deed) return;
  if (deed === "delete" && !confirm("Delete this cross-validation with all of its jobs and their models? There is no way back.")) return;
  target.disabled = true;
  const answer = await (deed === "delete" ? fetch(path, { method: "DELETE" }) : fetch(`${path}:${deed}`, { method: "POST" }));
  at("deed-problem").hidden = answer.ok;
  if (!answer.ok) {
    at("deed-problem").textContent = (await problemOf(answer)).detail;
    target.disabled = false;
  } else if (deed === "delete") location.assign("/cross-validations");
  else await refresh();
});
