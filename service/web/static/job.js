// Live progress from the job's event stream; the page is drawn anew by the server when an epoch or the job ends.
const job = document.getElementById("job");
const over = ["SUCCEEDED", "FAILED", "CANCELLED", "DELETING"];

function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  return s >= 3600 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : s >= 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s} s`;
}

// Replace the page's main part by what the server shows now, without losing the scroll position or the event stream.
async function refresh() {
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.getElementById("state").replaceWith(fresh.getElementById("state"));
  const charts = fresh.querySelector(".charts"), old = document.querySelector(".charts");
  if (charts && old) old.replaceWith(charts);
  else if (charts) job.append(charts);
  if (!document.querySelector(".cards") && fresh.querySelector(".cards")) location.reload();
}

if (!over.includes(job.dataset.state)) {
  const events = new EventSource(`/v1/jobs/${job.dataset.id}/events`);
  events.addEventListener("progress", (event) => {
    const p = JSON.parse(event.data), bar = document.getElementById("bar");
    bar.max = p.steps;
    bar.value = p.step;
    document.getElementById("eta").textContent =
      `epoch ${p.epoch + 1} of ${p.epochs} · ${duration(p.eta_seconds)} left · ${p.samples_per_second.toFixed(0)} samples/s`;
  });
  let pending = null;
  function refreshSoon() {
    clearTimeout(pending); // what has happened before is replayed at once: draw once
    pending = setTimeout(refresh, 300);
  }
  events.addEventListener("epoch", refreshSoon);
  events.addEventListener("state", (event) => {
    const state = JSON.parse(event.data).state;
    if (over.includes(state)) {
      events.close();
      location.reload();
    } else refreshSoon();
  });
}

document.getElementById("cancel")?.addEventListener("click", async (event) => {
  event.target.disabled = true;
  await fetch(`/v1/jobs/${job.dataset.id}:cancel`, { method: "POST" });
  refresh();
});
