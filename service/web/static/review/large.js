// One sample, large: its picture with the masks over it, its numbers, and how they came about.
import * as api from "./api.js";
import { fillBadge, points } from "./card.js";
import { heatLayer, heatOpacity, heatShown } from "./heat.js";
import { decodeMask, outline, picture } from "./masks.js";
import { neighbours } from "./neighbours.js";
import { otherMasks } from "./other_masks.js";
import { overJobs } from "./over_jobs.js";
import { go, place } from "./place.js";

const LARGEST = 2048, SMALLEST = 64; // px, of a picture of the API
const VOLUME = 1024; // px, of a slice
const STYLES = {
  label: { colour: "rgb(0,114,178)", fill: [0, 114, 178] },
  prediction: { colour: "rgb(230,159,0)", fill: [230, 159, 0], dash: [9, 6] },
  correction: { colour: "rgb(0,158,115)", fill: [0, 158, 115], dash: [2, 3] },
};
const { settings } = api;
const byId = (id) => document.getElementById(id);

export class Large extends EventTarget {
  ordinal = null; // asked for
  shown = null; // on the screen: decisions are about what was seen
  masks = {}; // by kind: { width, height, pixels }
  #heat = null; // layer of the doubted pixels
  #abort = new AbortController();

  constructor(viewer, deck) {
    super();
    this.viewer = viewer;
    this.deck = deck;
    for (const kind of Object.keys(STYLES)) byId(`show-${kind}`)?.addEventListener("change", () => this.#toggled());
    byId("opacity")?.addEventListener("input", () => this.#toggled());
    byId("side")?.addEventListener("change", (event) => {
      viewer.side = event.target.checked;
      viewer.fit();
    });
    byId("axis")?.addEventListener("change", (event) => this.#slice({ axis: event.target.value, slice: "" }));
    byId("slice")?.addEventListener("input", (event) => this.#slice({ slice: event.target.value }));
    deck.addEventListener("cards", (event) => {
      const card = event.detail.find((one) => one.ordinal === this.shown);
      if (card && this.shown === this.ordinal) this.#tell(card);
    });
  }

  get card() {
    return this.deck.card(this.ordinal);
  }

  async open(ordinal) {
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    this.ordinal = ordinal;
    let card;
    try {
      [card] = await this.deck.fetch([ordinal], true); // what others decided meanwhile is seen
      if (signal.aborted || !card) return;
      const draw = await Promise.all([settings.volumes ? this.#volume(card, signal) : this.#image(card, signal), this.#history(card, signal)]);
      if (signal.aborted) return;
      draw.forEach((show) => show());
    } catch (error) {
      if (signal.aborted) return;
      if (card) this.viewer.show(null, card.width, card.height);
      this.masks = {};
      this.dispatchEvent(new CustomEvent("fault", { detail: error.message }));
    }
    if (!card) return;
    if (this.shown !== ordinal) byId("large-conflict").hidden = true;
    this.shown = ordinal;
    this.#tell(this.card);
    byId("canvas").dataset.sample = card.sample;
    await this.#around(card, signal);
  }

  // What is beside it, once it is on the screen: nobody waits for it to decide.
  async #around(card, signal) {
    const parts = await Promise.allSettled([neighbours, overJobs, otherMasks].map((part) => part(card, signal)));
    if (signal.aborted) return;
    for (const { value: show, reason } of parts) {
      if (show) show();
      else this.dispatchEvent(new CustomEvent("fault", { detail: reason.message }));
    }
  }

  close() {
    this.#abort.abort();
    this.ordinal = this.shown = null;
    delete byId("canvas").dataset.sample;
  }

  toggle(kind) {
    const box = byId(`show-${kind}`);
    if (box) box.checked = !box.checked;
    this.#toggled();
  }

  // What the switches show has changed.
  redraw() {
    this.#toggled();
  }

  // After another one decided meanwhile: what they did, and how to insist.
  conflict(card) {
    const what = card.decision ? `${card.decided_by}: ${card.decision}` : "it is undecided again";
    byId("large-conflict").textContent = `Somebody else was here meanwhile: ${what}. Your decision is not saved. Decide again to replace theirs.`;
    byId("large-conflict").hidden = false;
  }

  #tell(card) {
    byId("large-name").textContent = card.sample;
    const index = this.deck.indexOf(card.ordinal);
    byId("large-place").textContent = `rank ${card.rank}` + (index < 0 ? "" : ` · ${index + 1} of ${this.deck.order.length} here`) + ` · ${card.width} × ${card.height}${card.depth ? ` × ${card.depth}` : ""}`;
    fillBadge(byId("large-badge"), card);
    byId("large-note").textContent = card.note;
    byId("large-reason").textContent = card.reason ?? "";
    byId("large-reason").hidden = !card.reason;
    for (const name of ["confidence", "score", "dice", "expected_dice"]) byId(`n-${name}`).textContent = card[name].toFixed(3);
    const correction = byId("show-correction");
    if (correction) correction.disabled = !card.new_mask_sha256;
    byId("canvas").setAttribute("aria-label", `${card.sample}, ${card.decision ?? "undecided"}`);
    if (!settings.volumes && this.#correction !== (card.new_mask_sha256 ?? "")) this.#renewCorrection(card, this.#abort.signal);
  }

  #correction = "";

  async #renewCorrection(card, signal) {
    this.#correction = card.new_mask_sha256 ?? "";
    try {
      const mask = card.new_mask_sha256 ? await this.#mask(card, "correction", signal) : null;
      if (signal.aborted) return;
      this.masks.correction = mask;
      this.#layers();
    } catch (error) {
      if (!signal.aborted) this.dispatchEvent(new CustomEvent("fault", { detail: error.message }));
    }
  }

  async #history(card, signal) {
    const past = await api.history(card.sample, signal);
    return () => {
      for (const name of ["confidence", "score", "dice"]) byId(`h-${name}`).setAttribute("points", points(past.map((point) => point[name]), 300, 80));
      byId("large-epochs").textContent = `History over ${past.length} epoch${past.length === 1 ? "" : "s"}`;
    };
  }

  // Fetches everything of a sample; what it gives draws it.
  async #image(card, signal) {
    const size = Math.min(Math.max(card.width, card.height, SMALLEST), LARGEST);
    const plain = { size, label: false, prediction: false, format: "png" };
    const [blob, label, prediction, correction, heat] = await Promise.all([
      api.ask(api.picturePath(card.sample, plain), { signal }).then((answer) => answer.blob()),
      this.#mask(card, "label", signal),
      settings.predicted ? this.#mask(card, "prediction", signal) : null,
      card.new_mask_sha256 ? this.#mask(card, "correction", signal) : null,
      heatLayer(card.sample, signal),
    ]);
    const image = await createImageBitmap(blob);
    return () => {
      this.masks = { label, prediction, correction };
      this.#heat = heat;
      this.#correction = card.new_mask_sha256 ?? "";
      this.#layers();
      this.viewer.show(image, card.width, card.height);
    };
  }

  // A mask, or null where there is none, such as a prediction that was not kept.
  async #mask(card, kind, signal) {
    try {
      return await decodeMask(await (await api.ask(api.maskPath(card.sample, kind), { signal })).blob());
    } catch (error) {
      if (error.status === 404) return null;
      throw error;
    }
  }

  #layers() {
    const masks = Object.entries(this.masks)
      .filter(([, mask]) => mask)
      .map(([name, mask]) => {
        const several = settings.values.length > 2;
        return { name, path: outline(mask), filled: () => picture(mask, several ? null : STYLES[name].fill), ...STYLES[name] };
      });
    this.viewer.layers = this.#heat ? [this.#heat, ...masks] : masks;
    this.#toggled();
  }

  #toggled() {
    if (settings.volumes) return this.#slice({});
    for (const layer of this.viewer.layers) {
      if (layer.name === "edit") continue;
      if (layer === this.#heat) {
        layer.visible = heatShown("large");
        layer.opacity = heatOpacity();
        continue;
      }
      layer.visible = byId(`show-${layer.name}`).checked;
      layer.opacity = Number(byId("opacity").value);
      if (layer.opacity > 0) layer.picture ??= layer.filled();
    }
    this.viewer.draw();
  }

  async #volume(card, signal) {
    const options = { size: VOLUME, format: "png", axis: place.axis || "axial", label: byId("show-label").checked, prediction: byId("show-prediction").checked };
    if (heatShown("large")) Object.assign(options, { map: true, map_opacity: heatOpacity() });
    if (place.slice !== "") options.slice = place.slice;
    let answer;
    try {
      answer = await api.ask(api.picturePath(card.sample, options), { signal });
    } catch (error) {
      if (error.status !== 422 || place.slice === "") throw error;
      go({ slice: "" }); // this volume has fewer slices than the one before
      return this.#volume(card, signal);
    }
    const image = await createImageBitmap(await answer.blob());
    const number = answer.headers.get("Dale-Slice"), count = Number(answer.headers.get("Dale-Slices"));
    return () => {
      byId("axis").value = options.axis;
      byId("slice").max = count - 1;
      byId("slice").value = number;
      byId("slice-shown").textContent = `${number} of 0 to ${count - 1}`;
      this.viewer.show(image, image.width, image.height, this.shown === card.ordinal);
    };
  }

  async #slice(changes) {
    go(changes);
    if (this.shown === null || this.shown !== this.ordinal) return;
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    try {
      const show = await this.#volume(this.card, signal);
      if (!signal.aborted) show();
    } catch (error) {
      if (!signal.aborted) this.dispatchEvent(new CustomEvent("fault", { detail: error.message }));
    }
  }
}
