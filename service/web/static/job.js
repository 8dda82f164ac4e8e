// Live progress from the job's event stream. What the server draws of a job is fetched anew when an epoch or the job
// ends, and put in the place of what is shown; the page itself stays.
import { problemOf } from "/static/forms.js";

const job = document.getElementById("job"), at = (id) => document.getElementById(id);
const over = ["SUCCEEDED", "FAILED", "CANCELLED", "DELETING"];
const LOG_LINES = 40, LOG_SECONDS = 4;

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  return s >= 3600 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : s >= 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s} s`;
}

// Without losing scroll position, focus or the event stream.
async function refresh() {
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const focused = document.activeElement?.id;
  for (const part of fresh.querySelectorAll("[data-live]")) at(part.id)?.replaceWith(part);
  if (focused) at(focused)?.focus({ preventScroll: true });
  // The samples move with every epoch; they are not changed under a reader's eyes, but for the first time.
  if (!document.querySelector("#samples .cards") && fresh.querySelector("#samples .cards")) at("samples").replaceWith(fresh.getElementById("samples"));
}

async function showLog() {
  const answer = await fetch(`/v1/jobs/${job.dataset.id}/logs`);
  const text = answer.ok ? await answer.text() : (await problemOf(answer)).detail;
  const log = at("log"), atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  log.textContent = text.trimEnd().split("\n").slice(-LOG_LINES).join("\n") || "Nothing yet.";
  if (atEnd) log.scrollTop = log.scrollHeight;
}

if (!over.includes(job.dataset.state)) {
  const events = new EventSource(`/v1/jobs/${job.dataset.id}/events`);
  const logging = setInterval(() => at("log-part").open && !document.hidden && showLog().catch(() => {}), LOG_SECONDS * 1000);
  events.addEventListener("progress", (event) => {
    const p = JSON.parse(event.data), bar = at("bar");
    bar.max = p.steps;
    bar.value = p.step;
    const where = p.loss === null ? `${p.step} of ${p.steps} samples` : `epoch ${p.epoch + 1} of ${p.epochs}`;
    const rate = p.samples_per_second.toFixed(p.samples_per_second < 10 ? 1 : 0);
    at("eta").textContent = `${where} · ${duration(p.eta_seconds)} left · ${rate} samples/s`;
  });
  let pending = null;
  function refreshSoon() {
    clearTimeout(pending); // what has happened before is replayed at once: draw once
    pending = setTimeout(refresh, 300);
  }
  events.addEventListener("epoch", refreshSoon);
  events.addEventListener("state", refreshSoon);
  // The service ends the stream when the job is over; then the page is loaded once more, with the predictions.
  events.addEventListener("error", async () => {
    const answer = await fetch(`/v1/jobs/${job.dataset.id}`);
    if (!answer.ok || !over.includes((await answer.json()).state)) return; // the browser connects again by itself
    events.close();
    clearInterval(logging);
    location.reload();
  });
}
showLog().catch(() => {});

// Buttons are drawn anew with the rest, so the page listens and not they.
job.addEventListener("click", async ({ target }) => {
  const deed = target.dataset?.deed;
  if (!deed) return;
  if (deed === "delete" && !confirm("Delete this job with everything that it wrote? There is no way back.")) return;
  target.disabled = true;
  const path = `/v1/jobs/${job.dataset.id}`;
  const answer = await (deed === "delete" ? fetch(path, { method: "DELETE" }) : fetch(`${path}:${deed}`, { method: "POST" }));
  at("deed-problem").hidden = answer.ok;
  if (!answer.ok) {
    at("deed-problem").textContent = (await problemOf(answer)).detail;
    target.disabled = false;
  } else if (deed === "delete") location.assign("/");
  else if (deed === "retry") location.reload(); // there is a stream to follow again
  else await refresh();
});
