// The page of a new dataset: choose, send, watch the check, and show every bad file if it is refused.
import { clearErrors, collect, showErrors } from "/static/forms.js";
import { Refused, begin, complete, giveUp, send, state, watch } from "./sending.js";
import { droppedFolder, zipOf } from "./zip.js";

const form = document.getElementById("upload"), at = (id) => document.getElementById(id);
let chosen = null, stopping = null; // {name, blob} or {name, entries}
let kept = null; // an upload that was begun before a reload

const bytes = (n) => (n < 1e6 ? `${Math.ceil(n / 1e3)} kB` : n < 1e9 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e9).toFixed(2)} GB`);

function choose(what) {
  chosen = what;
  const size = what.blob ? what.blob.size : what.entries.reduce((sum, { file }) => sum + file.size, 0);
  at("chosen").textContent = `${what.name}: ${what.entries ? `${what.entries.length} files, ` : ""}${bytes(size)}`;
  at("send").disabled = false;
  if (!form.elements.name.value) form.elements.name.value = what.name.replace(/\.zip$/i, "");
  at("refusal").hidden = true;
}

at("zip").addEventListener("change", ({ target }) => {
  if (target.files.length) choose({ name: target.files[0].name, blob: target.files[0] });
  target.value = "";
});
at("folder").addEventListener("change", ({ target }) => {
  const entries = [...target.files].map((file) => ({ path: file.webkitRelativePath, file }));
  if (entries.length) choose({ name: entries[0].path.split("/")[0], entries });
  target.value = "";
});
const drop = at("drop");
for (const kind of ["dragenter", "dragover"])
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const files = [...event.dataTransfer.files];
  const folder = await droppedFolder(event.dataTransfer.items);
  if (folder?.entries.length) choose(folder);
  else if (files.length === 1 && !folder) choose({ name: files[0].name, blob: files[0] });
  else complain("Drop one zip or one folder.");
});

function complain(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

// The address names the upload, so that a reload can go on with it.
function remember(id) {
  const address = new URL(location.href);
  if (id) address.searchParams.set("upload", id);
  else address.searchParams.delete("upload");
  history.replaceState(null, "", address);
}

function working(on) {
  for (const id of ["send", "zip", "folder"]) at(id).disabled = on;
  at("stop").hidden = !on;
  if (on) at("progress").hidden = false;
}

async function upload() {
  complain("");
  clearErrors(form);
  at("refusal").hidden = true;
  const { body, wrong } = collect(form);
  if (wrong.length) return void showErrors(form, wrong);
  stopping = new AbortController();
  working(true);
  try {
    const blob = chosen.blob ?? (await zipOf(chosen.entries, (done, of) => (at("sending-text").textContent = `read ${done} of ${of} files`)));
    if (kept && kept.size !== blob.size) {
      complain(`This is not the file of the upload that was begun, which has ${bytes(kept.size)}. Choose that one, or leave it: `);
      at("problem").append(Object.assign(document.createElement("a"), { href: "/datasets/new", textContent: "begin anew" }));
      return;
    }
    const open = kept ?? (await begin(body, blob.size, at("project")?.value));
    remember(open.id);
    kept = open;
    const sha256 = await send(open, blob, (sent) => {
      at("sending").value = sent / blob.size;
      at("sending-text").textContent = `sent ${bytes(sent)} of ${bytes(blob.size)}`;
    }, stopping.signal);
    at("stop").hidden = true; // from here on the service works by itself
    await complete(open.id, sha256);
    await follow(open.id);
  } catch (error) {
    if (error.name === "AbortError") complain("Stopped. What was sent is kept: upload the same file again to go on.");
    else if (error instanceof Refused) {
      const left = showErrors(form, error.errors);
      complain([error.message, ...left.map((one) => `${one.field ?? ""} ${one.reason}`)].join(" "));
    } else complain(error.message);
    if (kept) kept = await state(kept.id).catch(() => null);
  } finally {
    working(false);
  }
}

async function follow(id) {
  at("progress").hidden = false;
  at("checking-text").textContent = "checking";
  const done = await watch(id, (files, total) => {
    at("checking").value = total ? files / total : 0;
    if (total) at("checking-text").textContent = `checked ${files} of ${total} files`;
  });
  if (done.state === "SUCCEEDED") return void location.assign(`/datasets/${done.dataset_id}`);
  if (done.interrupted) return void complain("The check was interrupted. Upload the same file again: what was sent is kept.");
  refuse(done.errors);
  kept = null; // other content is another upload
  remember(null);
  await giveUp(id).catch(() => {}); // nobody waits for its parts; they expire by themselves
}

function refuse(errors) {
  at("refusal-title").textContent = `Refused: ${errors.length} ${errors.length === 1 ? "fault" : "faults"}`;
  at("faults").replaceChildren(...errors.map((fault) => {
    const row = document.createElement("tr");
    for (const text of [fault.file ?? (fault.field && fault.field !== "file" ? fault.field : "the whole"), fault.reason, fault.hint ?? ""]) row.insertCell().textContent = text;
    return row;
  }));
  at("checking-text").textContent = "refused";
  at("refusal").hidden = false;
  at("refusal").focus();
}

at("copy").addEventListener("click", async () => {
  const rows = [...at("faults").rows].map((row) => [...row.cells].map((cell) => cell.textContent).join("\t"));
  try {
    await navigator.clipboard.writeText(rows.join("\n"));
    at("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(at("faults")); // without https a page may not write there
    at("copy").textContent = "Selected: press Ctrl+C";
  }
});
at("stop").addEventListener("click", () => stopping?.abort());
form.addEventListener("submit", (event) => {
  event.preventDefault();
  upload();
});

const id = new URLSearchParams(location.search).get("upload");
if (id) {
  try {
    const found = await state(id);
    if (found.state === "SUCCEEDED") location.replace(`/datasets/${found.dataset_id}`);
    else if (found.state === "IMPORTING" && !found.interrupted) await follow(id);
    else {
      kept = found;
      form.elements.name.value = found.name;
      at("resuming").textContent = `The upload of ${found.name} was begun: ${found.received.length} of ${found.parts} parts are here, and its options stay as they were. `
        + "Choose the same file again to go on; the browser does not let a page keep it over a reload. ";
      at("resuming").append(Object.assign(document.createElement("a"), { href: "/datasets/new", textContent: "Begin anew instead" }));
      at("resuming").hidden = false;
    }
  } catch (error) {
    complain(error.message);
    remember(null);
  }
}
