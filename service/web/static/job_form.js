// The form of a job: only what was changed is sent, so that the service fills in the rest, or suggests something better.
import { clearErrors, collect, controls, problemOf, showErrors } from "/static/forms.js";

const form = document.getElementById("job-form"), at = (id) => document.getElementById(id);
const networks = JSON.parse(form?.dataset.networks ?? "{}");

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// The address holds what was changed: a reload, or a link to it, shows the same form.
function remember() {
  const address = new URL(location.pathname, location.href);
  address.searchParams.set("dataset", form.elements.dataset_id.value);
  address.searchParams.set("version", form.elements.dataset_version.value);
  const method = form.elements["method.name"].value;
  if (method !== "dale") address.searchParams.set("method.name", method);
  for (const control of controls(form)) if (control.value !== control.dataset.default) address.searchParams.set(control.name, control.value);
  history.replaceState(null, "", address);
}

function showMethod() {
  for (const fields of form.querySelectorAll("[data-method]"))
    fields.hidden = fields.disabled = fields.dataset.method !== form.elements["method.name"].value;
}

function showNetwork() {
  const control = form.elements["network.name"], found = networks[control.value];
  at(`${control.id}-about`).textContent = found?.about ?? "";
  const list = Object.entries(found?.arguments ?? {}).map(([name, value]) => (value === null ? `${name} (needed)` : `${name} = ${value}`));
  at(`${form.elements["network.arguments"].id}-about`).textContent = `as JSON; what is not named keeps its default: ${list.join(", ")}`;
}

function body() {
  const { body: changed, wrong } = collect(form);
  const method = form.elements["method.name"].value;
  const spec = { ...changed, dataset_id: form.elements.dataset_id.value, dataset_version: Number(form.elements.dataset_version.value) };
  if (method !== "dale" || changed.method) spec.method = { name: method, ...changed.method };
  return { spec, wrong };
}

function complain(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

// The key makes a second click, or one after a broken connection, post nothing twice; another content has another key.
let key = { of: "", value: "" };
function keyFor(text) {
  if (key.of !== text) key = { of: text, value: Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join("") };
  return key.value;
}

async function post(dry) {
  complain("");
  clearErrors(form);
  const { spec, wrong } = body();
  if (wrong.length) return void complain(showErrors(form, wrong).map((one) => one.reason).join(" ") || "Some values cannot be used.");
  const text = JSON.stringify(spec), headers = { "Content-Type": "application/json" };
  if (!dry) headers["Idempotency-Key"] = keyFor(text);
  for (const button of [at("train"), at("dry-run")]) button.disabled = true;
  try {
    const answer = await fetch(`/v1/jobs${dry ? "?dry_run=true" : ""}`, { method: "POST", headers, body: text });
    if (!answer.ok) {
      at("plan").hidden = true;
      const { detail, errors } = await problemOf(answer);
      const left = showErrors(form, errors).map((one) => [one.field, one.reason, one.hint].filter(Boolean).join(" "));
      return void complain([detail, ...left].join(" "));
    }
    const made = await answer.json();
    if (dry) showPlan(made);
    else location.assign(`/jobs/${made.id}`);
  } catch (error) {
    complain(`The service does not answer: ${error.message}`);
  } finally {
    for (const button of [at("train"), at("dry-run")]) button.disabled = false;
  }
}

const amount = (bytes) => (bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`);

function showPlan(plan) {
  const { cluster, dataset, spec } = plan, lines = [];
  lines.push(`Trains ${spec.network.name} by ${spec.method.name} for ${spec.epochs} epochs on ${dataset.train_count} `
    + `${dataset.spatial_dims === 3 ? "volumes" : "images"} of ${dataset.classes} classes.`);
  const starts = { now: "It would start now", later: `It would wait for ${cluster.waiting_for}`, unknown: "The cluster does not answer now; it would wait" };
  lines.push(`${starts[cluster.starts]}, and take ${cluster.cpus} CPUs and ${cluster.gpus} GPUs.`);
  if (plan.memory) lines.push(`Each worker takes about ${amount(plan.memory.total)} at the height of a step, ${amount(plan.memory.activations)} of it for activations.`);
  for (const warning of plan.warnings ?? []) lines.push(`Warning: ${warning}`);
  const list = element("ul", "", ...lines.map((line) => element("li", line)));
  for (const one of plan.suggested ?? []) list.append(suggestion(one));
  at("plan").replaceChildren(element("b", "This can be trained."), list);
  at("plan").hidden = false;
}

function suggestion({ field, value, reason }) {
  const control = form.elements[field], item = element("li", `${field.replaceAll("_", " ")} ${value} is suggested: ${reason} `);
  if (!control) return item;
  const button = element("button", "Take it");
  button.type = "button";
  button.setAttribute("aria-label", `Take ${field.replaceAll("_", " ")} ${value}`);
  button.addEventListener("click", () => {
    control.value = value;
    button.disabled = true;
    button.textContent = "Taken";
    remember();
  });
  item.append(button);
  return item;
}

if (form) {
  form.addEventListener("input", remember);
  form.addEventListener("change", (event) => {
    if (event.target.name === "method.name") showMethod();
    if (event.target.name === "network.name") showNetwork();
    remember();
    if (event.target.name === "dataset_id") {
      const address = new URL(location.href);
      address.searchParams.delete("version"); // of the other dataset
      location.assign(address); // its versions, and whether it has images or volumes, are the server's to say
    } else if (event.target.name === "dataset_version") location.assign(location.href);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    post(false);
  });
  at("dry-run").addEventListener("click", () => post(true));
  showMethod();
  showNetwork();
}
