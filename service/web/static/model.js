// Moves a model on, saves what is said of it (nobody's change is overwritten unseen), and has it predict a dataset.
import { problemOf } from "/static/forms.js";

const model = document.getElementById("model"), problem = document.getElementById("problem");

async function change(fields) {
  const answer = await fetch(`/v1/models/${model.dataset.id}`, {
    method: "PATCH",
    headers: { "Content-Type": "application/json", "If-Match": `"${model.dataset.revision}"` },
    body: JSON.stringify(fields),
  });
  problem.hidden = answer.ok;
  if (answer.ok) return location.reload();
  await tell(answer);
}

async function tell(answer) {
  const { detail, errors = [] } = await problemOf(answer);
  problem.hidden = false;
  problem.textContent = [detail, ...errors.map((one) => `${one.field ?? ""} ${one.reason}`)].join(" ");
  problem.scrollIntoView({ block: "nearest" });
}

model.addEventListener("click", ({ target }) => {
  const stage = target.dataset?.stage;
  if (!stage) return;
  const asked = "Whoever asks for the model in production gets this one from now on; the one before it is archived.";
  if (stage !== "production" || confirm(asked)) change({ stage });
});

document.getElementById("said")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const said = new FormData(event.target), lines = said.get("tags").split("\n").map((line) => line.trim()).filter(Boolean);
  const tags = Object.fromEntries(lines.map((line) => [line.split("=", 1)[0], line.slice(line.indexOf("=") + 1)]));
  const without = lines.find((line) => !line.includes("="));
  if (without === undefined) return change({ intended_use: said.get("intended_use"), description: said.get("description"), tags });
  problem.hidden = false;
  problem.textContent = `The tag "${without}" has no value: write key=value.`;
});

document.getElementById("predict")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = new FormData(event.target), [dataset, version] = asked.get("dataset").split(":");
  const body = {
    model: model.dataset.id, dataset_id: dataset, dataset_version: Number(version), workers: Number(asked.get("workers")),
    outputs: asked.has("uncertainty") ? ["mask", "uncertainty"] : ["mask"],
  };
  event.submitter.disabled = true; // once is enough
  const answer = await fetch("/v1/jobs:predict", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  if (answer.ok) return location.assign(`/jobs/${(await answer.json()).id}`);
  event.submitter.disabled = false;
  await tell(answer);
});
