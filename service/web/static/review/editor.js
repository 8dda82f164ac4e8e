// Painting a new mask for the sample that is large, by mouse, finger or keyboard; of a volume, over its slices.
import { settings } from "./api.js";
import { outline, picture, repaint } from "./masks.js";
import { disc, flood, polygon, stroke } from "./paint.js";
import { compose, painted, through } from "./planes.js";
import { base64, encodeGrey } from "./png.js";
import { toast } from "./toast.js";

const REMEMBERED = 200 << 20; // bytes of masks that undo can go back to
const TINT = 0.4;
const byId = (id) => document.getElementById(id);

export class Editor {
  active = false;
  mask = null; // of the slice that is shown
  // What was begun with, and what was painted since, are never changed: undo takes the state before.
  #state = null; // { start, planes }
  #opened = null;
  #before = [];
  #after = [];
  #view = null; // which slice `mask` is of
  #last = null; // where the pointer was
  #layer = { name: "edit", colour: "rgb(240,228,66)", visible: true, opacity: TINT };

  constructor(viewer, large) {
    Object.assign(this, { viewer, large });
    viewer.addEventListener("paint", (event) => this.#painted(event.detail));
    large.addEventListener("slice", () => this.active && this.#turned());
    byId("start").addEventListener("change", () => this.#change({ start: byId("start").value, planes: [] }));
    byId("brush").addEventListener("input", () => this.#showCross());
    byId("tool").addEventListener("change", () => this.#showCross());
    byId("paint-undo").addEventListener("click", () => this.undo());
    byId("paint-redo").addEventListener("click", () => this.redo());
    byId("fetch")?.addEventListener("change", (event) => {
      this.#fetch(event.target.value);
      event.target.value = "";
      byId("canvas").focus();
    });
  }

  get dirty() {
    return this.#state !== this.#opened;
  }

  get #number() {
    return byId("tool").value === "eraser" ? 0 : Number(byId("class").value);
  }

  open() {
    const { masks } = this.large;
    for (const option of byId("start").options) option.disabled = option.value !== "nothing" && !masks[option.value];
    this.active = this.viewer.painting = true;
    byId("painting").hidden = false;
    const start = masks.correction ? "correction" : masks.label ? "label" : "nothing";
    this.#state = this.#opened = { start, planes: [] };
    this.#before = [];
    this.#after = [];
    this.#turned();
    this.#showCross();
    byId("canvas").focus();
  }

  close() {
    this.active = this.viewer.painting = false;
    this.#state = this.#opened = this.#view = this.#last = null;
    byId("painting").hidden = true;
    Object.assign(this.viewer, { cross: null, polygon: [] });
    this.viewer.layers = this.viewer.layers.filter((layer) => layer !== this.#layer);
    this.viewer.draw();
  }

  // What is saved: an image's mask as PNG with the dataset's own values; of a volume what was painted.
  async encoded() {
    if (!settings.volumes) {
      const { width, height, pixels } = this.mask;
      return encodeGrey(width, height, pixels.map((number) => settings.values[number]));
    }
    const { start, planes } = this.#state;
    const slices = planes.map(async ({ axis, slice, width, height, pixels }) => ({ axis, slice, png: await base64(await encodeGrey(width, height, pixels)) }));
    return { base: start, ...(start === "prediction" && { job_id: settings.job }), slices: await Promise.all(slices) };
  }

  undo() {
    if (this.viewer.polygon.length) {
      this.viewer.polygon.pop();
      this.#drawn();
    } else if (this.#before.length && !this.#last) {
      const [changed] = this.#state.planes.slice(-1);
      this.#after.push(this.#state);
      this.#back(this.#before.pop(), changed);
    }
  }

  redo() {
    if (!this.#after.length || this.#last) return;
    this.#before.push(this.#state);
    const state = this.#after.pop();
    this.#back(state, state.planes.at(-1));
  }

  // Copy the mask of another slice, that by so many further on, into this one.
  async copy(by) {
    const from = { ...this.#view, slice: this.#view.slice + by };
    if (!settings.volumes || this.#last) return;
    if (from.slice < 0 || from.slice >= from.count) return toast("There is no slice to copy from.");
    const state = this.#state, view = this.#view, { width, height } = this.mask;
    try {
      const under = state.start === "nothing" ? null : await this.large.maskAt(state.start, from.slice);
      if (this.#state !== state || this.#view !== view) return; // painted, or gone on, meanwhile
      const pixels = under?.pixels ?? new Uint8Array(width * height);
      compose(pixels, from, state.planes);
      this.#replace(pixels);
    } catch (error) {
      if (error.name !== "AbortError") toast(error.message, { kind: "bad" });
    }
  }

  resize(change) {
    byId("brush").value = Number(byId("brush").value) + change;
    this.#showCross();
  }

  choose(tool) {
    byId("tool").value = tool;
    this.viewer.polygon = [];
    this.#showCross();
  }

  // Move the place where the keyboard paints.
  move(x, y) {
    const [left, top] = this.viewer.cross;
    this.viewer.cross = [Math.min(Math.max(left + x, 0), this.viewer.width), Math.min(Math.max(top + y, 0), this.viewer.height)];
    this.viewer.draw();
  }

  // What the keyboard does at that place.
  apply() {
    const at = [...this.viewer.cross], tool = byId("tool").value, corners = this.viewer.polygon;
    if (tool === "polygon") {
      const last = corners.at(-1);
      if (last && last[0] === at[0] && last[1] === at[1]) this.#closePolygon();
      else corners.push(at);
      return this.viewer.draw();
    }
    if (tool === "fill") flood(this.mask, at, this.#number);
    else disc(this.mask, at, Number(byId("brush").value), this.#number);
    this.#commit();
  }

  // Gives whether there was something to give up short of the whole mask.
  escape() {
    if (!this.viewer.polygon.length) return false;
    this.viewer.polygon = [];
    this.viewer.draw();
    return true;
  }

  // Another slice is on the screen, or the same again.
  #turned() {
    if (this.#last) this.#commit(); // the stroke belongs to the slice where it began
    this.#last = null;
    const { width, height, cross } = this.viewer, { axis } = this.large.view;
    if (!cross) this.viewer.cross = [width / 2, height / 2];
    else if (axis !== this.#view.axis) this.viewer.cross = through(this.#view, cross, axis).cross;
    this.viewer.polygon = [];
    this.#show();
  }

  // Bring the mask up to date with the state.
  #show() {
    const { width, height, aspect } = this.viewer, from = this.large.masks[this.#state.start];
    const pixels = from ? from.pixels.slice() : new Uint8Array(width * height);
    this.#view = this.large.view;
    compose(pixels, this.#view, this.#state.planes);
    this.mask = { width, height, aspect, pixels };
    this.#drawn();
  }

  // What was painted on the mask becomes a step that can be undone.
  #commit() {
    this.#change({ ...this.#state, planes: painted(this.#state.planes, this.#view, this.mask) });
  }

  #change(state) {
    this.#before.push(this.#state);
    this.#after = [];
    while (this.#before.length * this.mask.pixels.length > REMEMBERED) this.#before.shift();
    this.#state = state;
    this.#show();
  }

  #replace(pixels) {
    this.mask.pixels = pixels;
    this.#commit();
  }

  // Into this slice: the mask of another slice or of another kind.
  #fetch(what) {
    if (what === "before" || what === "after") return this.copy(what === "before" ? -1 : 1);
    const from = this.large.masks[what];
    if (from || what === "nothing") this.#replace(from?.pixels ?? new Uint8Array(this.mask.pixels.length));
    else if (what) toast(`There is no ${what}.`);
  }

  // Show a state again, and the slice that differs in it.
  #back(state, plane) {
    this.#state = state;
    const { axis, slice } = this.#view;
    if (plane && (plane.axis !== axis || plane.slice !== slice)) this.large.showSlice(plane.axis, plane.slice);
    this.#show();
  }

  #painted({ kind, at }) {
    const tool = byId("tool").value;
    if (kind === "pointerdown") {
      this.viewer.cross = at;
      if (tool === "polygon") return this.#corner(at);
      this.#last = at;
      if (tool === "fill") flood(this.mask, at, this.#number);
    }
    if (!this.#last) return;
    const radius = Number(byId("brush").value), [x, y] = this.#last;
    if (tool !== "fill" && kind !== "pointercancel") stroke(this.mask, this.#last, at, radius, this.#number);
    this.#last = kind === "pointermove" || kind === "pointerdown" ? at : null;
    this.viewer.cross = at;
    if (!this.#last) return this.#commit();
    const around = radius + 1, below = radius / this.mask.aspect + 1; // while it moves, only what it touched is drawn
    repaint(this.#layer.picture, this.mask, [Math.min(x, at[0]) - around, Math.min(y, at[1]) - below, Math.max(x, at[0]) + around, Math.max(y, at[1]) + below]);
    this.viewer.draw();
  }

  // A click on the first corner closes the polygon, and so does one where the last is.
  #corner(at) {
    const corners = this.viewer.polygon, near = ([x, y]) => Math.hypot(x - at[0], (y - at[1]) * this.viewer.aspect) * this.viewer.scale < 9;
    if (corners.length > 2 && (near(corners[0]) || near(corners.at(-1)))) this.#closePolygon();
    else corners.push(at);
    this.viewer.draw();
  }

  #closePolygon() {
    const corners = this.viewer.polygon;
    this.viewer.polygon = [];
    if (corners.length < 3) return this.viewer.draw();
    polygon(this.mask, corners, this.#number);
    this.#commit();
  }

  #drawn() {
    if (!this.viewer.layers.includes(this.#layer)) this.viewer.layers = [...this.viewer.layers, this.#layer];
    this.#layer.picture = picture(this.mask);
    this.#layer.path = outline(this.mask);
    byId("paint-undo").disabled = !this.#before.length && !this.viewer.polygon.length;
    byId("paint-redo").disabled = !this.#after.length;
    byId("start").value = this.#state.start;
    if (byId("painted")) byId("painted").textContent = described(this.#state.planes) || "nothing yet";
    this.viewer.draw();
  }

  #showCross() {
    const brushes = ["brush", "eraser"].includes(byId("tool").value);
    this.viewer.crossSize = brushes ? Number(byId("brush").value) : 0;
    this.viewer.draw();
  }
}

// Which slices were painted, in words.
function described(planes) {
  const axes = ["axial", "coronal", "sagittal"].map((axis) => [axis, planes.filter((plane) => plane.axis === axis).map((plane) => plane.slice).sort((a, b) => a - b)]);
  return axes.filter(([, slices]) => slices.length).map(([axis, slices]) => `${axis} ${slices.length > 6 ? `${slices.length} slices` : slices.join(", ")}`).join("; ");
}
