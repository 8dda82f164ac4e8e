// One sample, large: its picture with the masks over it, its numbers, and how they came about.
import * as api from "./api.js";
import { fillBadge, points } from "./card.js";
import { heatLayer, heatOpacity, heatShown } from "./heat.js";
import { decodeMask, outline, picture } from "./masks.js";
import { neighbours } from "./neighbours.js";
import { otherMasks } from "./other_masks.js";
import { overJobs } from "./over_jobs.js";
import { go, place } from "./place.js";
import { sizesOf, through } from "./planes.js";

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
  masks = {}; // by kind: { width, height, aspect, pixels }, of what is on the screen
  view = { axis: "", slice: 0 }; // which slice that is; of an image the only one
  #heat = null; // layer of the doubted pixels; on a slice the service draws them
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
    byId("axis")?.addEventListener("change", (event) => {
      const axis = event.target.value, { cross } = viewer; // while painting, the slice through the cross
      this.#slice({ axis, slice: cross ? through(this.view, cross, axis).slice : "" });
    });
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
    if (settings.volumes) this.#slice({});
    else this.#toggled();
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
    const slice = settings.volumes && this.view.axis ? `, ${this.view.axis} slice ${this.view.slice}` : "";
    byId("canvas").setAttribute("aria-label", `${card.sample}, ${card.decision ?? "undecided"}${slice}`);
    if (this.#correction !== (card.new_mask_sha256 ?? "")) this.#renewCorrection(card, this.#abort.signal);
  }

  #correction = "";

  async #renewCorrection(card, signal) {
    this.#correction = card.new_mask_sha256 ?? "";
    try {
      const mask = card.new_mask_sha256 ? await this.#mask(card, "correction", signal, this.#asked) : null;
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
    const [blob, masks, heat] = await Promise.all([
      api.ask(api.picturePath(card.sample, plain), { signal }).then((answer) => answer.blob()),
      this.#masks(card, signal),
      heatLayer(card.sample, signal),
    ]);
    const image = await createImageBitmap(blob);
    return () => {
      this.masks = masks;
      this.#heat = heat;
      this.#correction = card.new_mask_sha256 ?? "";
      this.#layers();
      this.viewer.show(image, card.width, card.height);
    };
  }

  // By kind; of a volume, of the slice.
  async #masks(card, signal, slice = {}) {
    const [label, prediction, correction] = await Promise.all([
      this.#mask(card, "label", signal, slice),
      settings.predicted ? this.#mask(card, "prediction", signal, slice) : null,
      card.new_mask_sha256 ? this.#mask(card, "correction", signal, slice) : null,
    ]);
    return { label, prediction, correction };
  }

  // Of another slice along the same axis than the one that is shown.
  maskAt(kind, slice) {
    return this.#mask(this.card, kind, this.#abort.signal, { axis: this.view.axis, slice });
  }

  // A mask, or null where there is none, such as a prediction that was not kept.
  async #mask(card, kind, signal, slice = {}) {
    try {
      const answer = await api.ask(api.maskPath(card.sample, kind, slice), { signal });
      return await decodeMask(await answer.blob(), Number(answer.headers.get("Dale-Aspect") ?? 1));
    } catch (error) {
      if (error.status === 404) return null;
      throw error;
    }
  }

  #layers() {
    const painting = this.viewer.layers.filter((layer) => layer.name === "edit");
    const masks = Object.entries(this.masks)
      .filter(([, mask]) => mask)
      .map(([name, mask]) => {
        const several = settings.values.length > 2;
        return { name, path: outline(mask), filled: () => picture(mask, several ? null : STYLES[name].fill), ...STYLES[name] };
      });
    this.viewer.layers = [...(this.#heat ? [this.#heat] : []), ...masks, ...painting];
    this.#toggled();
  }

  #toggled() {
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
    const axis = place.axis || "axial", plain = { size: VOLUME, format: "png", axis, label: false, prediction: false };
    if (heatShown("large")) Object.assign(plain, { map: true, map_opacity: heatOpacity() });
    const picture = (slice) => api.ask(api.picturePath(card.sample, { ...plain, ...slice }), { signal });
    const masks = (slice) => this.#masks(card, signal, { axis, slice });
    let answer, found;
    try {
      if (place.slice === "") {
        answer = await picture({}); // chooses the slice
        found = await masks(answer.headers.get("Dale-Slice"));
      } else [answer, found] = await Promise.all([picture({ slice: place.slice }), masks(place.slice)]);
    } catch (error) {
      if (error.status !== 422 || place.slice === "") throw error;
      go({ slice: "" }); // this volume has fewer slices than the one before
      return this.#volume(card, signal);
    }
    const image = await createImageBitmap(await answer.blob());
    const [slice, count, aspect] = ["Slice", "Slices", "Aspect"].map((name) => Number(answer.headers.get(`Dale-${name}`)));
    return () => {
      byId("axis").value = axis;
      byId("slice").max = count - 1;
      byId("slice").value = slice;
      byId("canvas").dataset.slice = `${axis} ${slice}`;
      byId("slice-shown").textContent = `${slice} of 0 to ${count - 1}`;
      const { width, height } = found.label ?? image;
      this.masks = found;
      this.view = { axis, slice, count, sizes: sizesOf(axis, count, width, height) };
      this.#correction = card.new_mask_sha256 ?? "";
      this.#layers();
      this.viewer.show(image, width, height, { keepView: this.shown === card.ordinal, aspect: found.label ? aspect : 1 });
      if (this.shown === card.ordinal) this.#tell(card);
      this.dispatchEvent(new Event("slice"));
    };
  }

  get #asked() {
    return settings.volumes ? { axis: this.view.axis, slice: this.view.slice } : {};
  }

  // To the next slice (1) or the one before (-1).
  step(by) {
    const slider = byId("slice");
    if (!slider) return;
    slider.value = Number(slider.value) + by;
    slider.dispatchEvent(new Event("input"));
  }

  // To the next of the three planes.
  turn() {
    const planes = byId("axis");
    if (!planes) return;
    planes.selectedIndex = (planes.selectedIndex + 1) % planes.options.length;
    planes.dispatchEvent(new Event("change"));
  }

  showSlice(axis, slice) {
    return this.#slice({ axis, slice });
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
