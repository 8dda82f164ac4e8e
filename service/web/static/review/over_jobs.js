// What earlier and later jobs over the same dataset believed of the large sample, in a table and as a line.
import * as api from "./api.js";
import { DECISIONS, points } from "./card.js";
import { sampleLink } from "./place.js";

const { settings } = api;
const WIDTH = 300, HEIGHT = 40; // of the chart
const byId = (id) => document.getElementById(id);

// Fetches it; what it gives shows it.
export async function overJobs(card, signal) {
  const { jobs, next_page_token: more } = await api.overJobs(card.sample, signal);
  return () => {
    byId("over-jobs-rows").replaceChildren(...jobs.map(row));
    byId("over-jobs-none").hidden = jobs.length > 1;
    byId("over-jobs-table").hidden = byId("over-jobs-chart").toggleAttribute("hidden", jobs.length < 2);
    byId("over-jobs-more").hidden = !more;
    const oldestFirst = jobs.toReversed();
    for (const name of ["confidence", "dice"]) byId(`j-${name}`).setAttribute("points", points(oldestFirst.map((one) => one[name]), WIDTH, HEIGHT));
    const here = oldestFirst.findIndex((one) => one.job_id === settings.job);
    const place = byId("j-here");
    place.setAttribute("cx", (here * WIDTH) / Math.max(jobs.length - 1, 1));
    if (here >= 0) place.setAttribute("cy", HEIGHT * (1 - oldestFirst[here].confidence));
    place.toggleAttribute("hidden", here < 0);
  };
}

function row(one) {
  const made = document.createElement("tr");
  const here = one.job_id === settings.job;
  if (here) made.setAttribute("aria-current", "true");
  const cell = (content, className = "") => {
    const td = made.insertCell();
    td.className = className;
    td.append(content);
    return td;
  };
  const name = one.job_name || one.job_id, when = new Date(one.created_at).toLocaleDateString(undefined, { day: "numeric", month: "short" });
  let label = `${name}${here ? " (this)" : ""}`;
  if (!here) label = Object.assign(document.createElement("a"), { href: sampleLink({ at: one.ordinal }, one.job_id), textContent: name });
  const first = cell(label);
  first.title = `${one.job_id}, ${one.state.toLowerCase()}, made ${new Date(one.created_at).toLocaleString()}`;
  first.append(Object.assign(document.createElement("span"), { className: "muted", textContent: ` v${one.dataset_version}, ${when}` }));
  if (!one.same_label) first.append(Object.assign(document.createElement("span"), { className: "other-label", textContent: "another label", title: "the mask of this name was another one in that version" }));
  cell(one.confidence.toFixed(2), "num").title = `score ${one.score.toFixed(3)}, rank ${one.rank} of ${one.samples}`;
  cell(`${one.rank}`, "num").title = `of ${one.samples}`;
  cell(one.dice.toFixed(2), "num");
  const known = DECISIONS[one.decision];
  const decision = cell(known ? known.icon : "–");
  decision.title = known ? `${known.word} by ${one.decided_by}` : "undecided";
  decision.setAttribute("aria-label", decision.title);
  return made;
}
