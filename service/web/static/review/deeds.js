// What a person can do on the page, by key or by button.
import { settings } from "./api.js";
import { DECISIONS } from "./card.js";
import { go, place } from "./place.js";
import { toast } from "./toast.js";

const byId = (id) => document.getElementById(id);

export class Deeds {
  #busy = false;
  #running = Promise.resolve(); // what is being saved

  constructor(parts) {
    Object.assign(this, parts);
    this.root = byId("review");
  }

  get mode() {
    return this.root.dataset.mode;
  }

  wire() {
    for (const decision of Object.keys(DECISIONS)) {
      byId(`act-${decision}`).disabled = !settings.review || (decision === "corrected" && !settings.predicted);
      byId(`act-${decision}`).addEventListener("click", () => this.decide(decision));
    }
    byId("act-undo").disabled = !settings.review;
    const wired = {
      "act-undo": () => this.undo(), "act-all": () => this.selectAll(), "act-open": () => this.open(), "act-close": () => this.showGrid(), "act-edit": () => this.edit(),
      "act-help": () => this.help(), "go-next": () => this.step(1), "go-previous": () => this.step(-1), fit: () => this.viewer.fit(),
      "zoom-in": () => this.viewer.zoom(1.3), "zoom-out": () => this.viewer.zoom(1 / 1.3), "paint-save": () => this.save(), "paint-cancel": () => this.cancel(),
    };
    for (const [id, run] of Object.entries(wired)) byId(id)?.addEventListener("click", run);
    byId("mask-file").addEventListener("change", (event) => this.#saveFile(event.target));
    byId("large").addEventListener("dragover", (event) => event.preventDefault());
    byId("large").addEventListener("drop", (event) => this.#drop(event));
    byId("act-edit").disabled = !settings.review;
    if (!settings.predicted) for (const id of ["show-prediction", "side"]) byId(id).disabled = true;
    if (!settings.review) toast("Your key may look, not decide: ask an admin of the project for one with the role review.", { stays: true });
  }

  showSelected() {
    const { size } = this.selection;
    byId("selected").textContent = size > 1 ? `${size} selected` : "";
  }

  selectAll() {
    this.selection.set(this.deck.order);
    this.grid.root.focus({ preventScroll: true });
  }

  help() {
    byId("help").showModal();
  }

  // Samples that a decision is about: the large one; else what is selected; else the one under the cursor.
  #meant() {
    if (this.mode === "large") return [this.large.ordinal];
    if (this.selection.size > 1 || (this.selection.size === 1 && !this.selection.has(this.deck.order[this.grid.cursor]))) return this.selection.list();
    return this.deck.order.length ? [this.deck.order[this.grid.cursor]] : [];
  }

  get #seen() {
    return this.mode === "grid" || this.large.shown === this.large.ordinal;
  }

  // A key that comes while the decision before is being saved, or before the next sample is on the screen, is for
  // nothing that the person has seen: it does nothing.
  async decide(decision) {
    if (this.#busy || !this.#seen || !settings.review || this.mode === "edit") return;
    if (decision === "corrected" && !settings.predicted) return toast("The job has no predictions before it has succeeded.", { kind: "bad" });
    const meant = this.#meant();
    if (meant.length) await this.#during(meant, () => this.decider.decide(meant, decision), `${DECISIONS[decision].icon} ${decision}`);
  }

  async undo() {
    if (!settings.review || this.mode === "edit") return;
    await this.#running;
    await this.#guard(async () => {
      const result = await this.#shown(() => this.decider.undo(this.#meant()));
      if (result.faults.length) return toast(result.faults[0].message, { kind: "bad" });
      if (result.conflicts.length) return this.#told(result, "undone", false);
      toast(`Undone${result.batch.length > 1 ? ` for ${result.batch.length} samples` : ""}.`);
      if (this.mode === "large" && result.batch.length === 1 && result.batch[0] !== this.large.ordinal) this.open(result.batch[0], false);
    });
  }

  async #during(meant, run, word) {
    await this.#guard(async () => {
      const result = await this.#shown(run);
      this.#told(result, word, true);
      if (result.done.length === 1 && meant.length === 1) this.#goOn(meant[0]);
    });
  }

  // With how far it is, where it takes more than one request.
  async #shown(run) {
    const progress = ({ detail: { finished, of } }) => finished < of && toast(`${finished} of ${of}`, { action: "Stop", run: () => this.decider.stop(), stays: true });
    this.decider.addEventListener("progress", progress);
    try {
      return await run();
    } finally {
      this.decider.removeEventListener("progress", progress);
    }
  }

  async #guard(run) {
    this.#busy = true;
    try {
      this.#running = run();
      await this.#running;
    } catch (error) {
      toast(error.message, { kind: "bad" });
    } finally {
      this.#busy = false;
    }
  }

  #told({ done, conflicts, faults }, word, undoable) {
    if (conflicts.length && this.mode !== "grid") this.large.conflict(this.deck.card(conflicts[0]));
    const parts = [];
    if (done.length) parts.push(done.length === 1 ? `${this.deck.card(done[0])?.sample ?? "1 sample"}: ${word}.` : `${done.length} samples: ${word}.`);
    if (conflicts.length) {
      const card = this.deck.card(conflicts[0]);
      parts.push(conflicts.length === 1 ? `${card.sample}: not saved, ${card.decided_by ?? "somebody"} decided meanwhile (${card.decision ?? "undone"}). Decide again to replace it.` : `${conflicts.length} not saved: others decided meanwhile; they are selected now.`);
      if (this.mode === "grid") this.selection.set(conflicts);
    }
    if (faults.length) parts.push(`${faults.length === 1 ? "" : `${faults.length} failed; the first: `}${faults[0].message}`);
    const action = undoable && done.length ? { action: "Undo", run: () => this.undo() } : {};
    toast(parts.join(" "), { kind: conflicts.length || faults.length ? "bad" : "", ...action });
  }

  #goOn(ordinal) {
    byId("large-conflict").hidden = true;
    if (place.advance === "off") return;
    const index = this.deck.indexOf(ordinal);
    if (this.mode === "grid" && index === this.grid.cursor) {
      this.grid.moveTo(index + 1);
      this.selection.set([]);
    } else if (this.mode === "large" && index + 1 < this.deck.order.length) this.step(1);
  }

  async open(ordinal = this.deck.order[this.grid.cursor], step = true) {
    if (ordinal === undefined) return;
    const index = this.deck.indexOf(ordinal);
    if (index >= 0) this.grid.cursor = index;
    const entering = this.mode === "grid";
    this.root.dataset.mode = "large";
    byId("large").hidden = false;
    go({ at: ordinal, view: "large" }, step && entering);
    if (entering) byId("canvas").focus();
    await this.large.open(ordinal);
    const following = this.deck.order[this.grid.cursor + 1];
    if (following !== undefined) this.deck.fetch([following]).catch(() => {}); // only to be quicker
  }

  showGrid(step = true) {
    if (this.mode === "edit") return;
    this.root.dataset.mode = "grid";
    byId("large").hidden = true;
    this.large.close();
    if (step) go({ view: "" }, true);
    this.grid.layout();
    this.grid.root.focus({ preventScroll: true });
  }

  // To the next (1) or the previous (-1) sample in the grid's order.
  async step(by) {
    if (this.mode === "edit") return;
    const index = this.grid.cursor + by;
    if (index < 0 || index >= this.deck.order.length) return toast(by > 0 ? "This was the last sample of this list." : "This is the first sample of this list.");
    if (this.mode === "large") await this.open(this.deck.order[index]);
    else this.grid.moveTo(index);
  }

  edit() {
    if (!settings.review || this.mode !== "large" || !this.#seen || !this.large.masks.label) return;
    this.root.dataset.mode = "edit";
    this.editor.open();
  }

  cancel() {
    this.editor.close();
    this.root.dataset.mode = "large";
    byId("canvas").focus();
  }

  async save() {
    if (!this.#busy) await this.#saveMask(await this.editor.encoded());
  }

  async #saveFile(input) {
    const [file] = input.files;
    input.value = "";
    if (file && !this.#busy) await this.#saveMask(file);
  }

  // A mask that is dropped on the large sample becomes its correction.
  async #drop(event) {
    event.preventDefault(); // the browser would leave the page to show the file
    const [file] = event.dataTransfer.files;
    if (!file || this.#busy || !this.#seen || !settings.review) return;
    await this.#saveMask(file);
  }

  async #saveMask(content) {
    const { ordinal } = this.large;
    await this.#guard(async () => {
      const result = await this.decider.saveMask(ordinal, content);
      if (result.done.length && this.mode === "edit") this.cancel();
      this.#told(result, "✎ corrected", true);
      if (result.done.length) this.#goOn(ordinal);
    });
  }
}
