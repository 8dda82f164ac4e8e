// Forms that the server makes of a JSON Schema: read what was changed, and show each error beside its field.

export function controls(form) {
  return [...form.querySelectorAll("[data-kind]")].filter((control) => !control.matches(":disabled"));
}

// The value as the API takes it; undefined where the default stands, so that the service can fill it in or advise.
function valueOf(control) {
  const { kind, default: standard } = control.dataset;
  const text = kind === "text" ? control.value : control.value.trim();
  if (text === standard) return undefined;
  if (text === "") return kind === "text" ? "" : null;
  if (kind === "integer" || kind === "number") return Number(text);
  if (kind === "yesno") return text === "true";
  if (kind === "json") return JSON.parse(text);
  return text;
}

// All changed values as one object; "method.start" goes into the object `method`.
export function collect(form) {
  const body = {}, wrong = [];
  for (const control of controls(form)) {
    let value;
    try {
      value = valueOf(control);
    } catch (error) {
      wrong.push({ field: control.name, reason: "is not JSON", hint: error.message });
    }
    if (value === undefined) continue;
    const path = control.name.split("."), last = path.pop();
    let place = body;
    for (const step of path) place = place[step] ??= {};
    place[last] = value;
  }
  return { body, wrong };
}

// Each error beside the field that it names; gives back those that have no field here.
export function showErrors(form, errors) {
  clearErrors(form);
  const left = [];
  let first = null;
  for (const error of errors) {
    const field = fieldFor(form, error.field ?? "");
    if (!field) {
      left.push(error);
      continue;
    }
    const wrong = field.querySelector(".wrong");
    wrong.textContent = [wrong.textContent, [error.reason, error.hint].filter(Boolean).join("; ")].filter(Boolean).join(" ");
    wrong.hidden = false;
    const control = field.querySelector("[name]");
    control.setAttribute("aria-invalid", "true");
    wrong.id ||= `${control.id}-wrong`;
    control.setAttribute("aria-describedby", `${control.id}-about ${wrong.id}`);
    for (let up = field.closest("details"); up; up = up.parentElement.closest("details")) up.open = true;
    first ??= control;
  }
  first?.focus();
  return left;
}

// "method.dale.start" is the field method.start of the API's union; of "network.arguments.channels" its parent is here.
function fieldFor(form, name) {
  const steps = name.replace(/^method\.(dale|plain)\./, "method.").split(".");
  for (; steps.length; steps.pop()) {
    const field = form.querySelector(`[data-field="${CSS.escape(steps.join("."))}"]`);
    if (field && !field.closest("[hidden]")) return field;
  }
  return null;
}

export function clearErrors(form) {
  for (const wrong of form.querySelectorAll(".wrong")) {
    wrong.textContent = "";
    wrong.hidden = true;
  }
  for (const control of form.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
}

// What an answer that is no success says, in the API's own words.
export async function problemOf(answer) {
  const text = await answer.text();
  try {
    const problem = JSON.parse(text);
    return { detail: problem.detail ?? text, errors: problem.errors ?? [] };
  } catch {
    return { detail: `The service answered ${answer.status}.`, errors: [] };
  }
}
