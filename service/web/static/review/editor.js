// Painting a new mask for the sample that is large, by mouse, finger or keyboard.
import { settings } from "./api.js";
import { outline, picture, repaint } from "./masks.js";
import { disc, flood, polygon, stroke } from "./paint.js";
import { encodeGrey } from "./png.js";

const REMEMBERED = 200 << 20; // bytes of masks that undo can go back to
const TINT = 0.4;
const byId = (id) => document.getElementById(id);

export class Editor extends EventTarget {
  active = false;
  dirty = false;
  mask = null;
  #before = [];
  #after = [];
  #last = null; // where the pointer was
  #layer = { name: "edit", colour: "rgb(240,228,66)", visible: true, opacity: TINT };

  constructor(viewer, large) {
    super();
    Object.assign(this, { viewer, large });
    viewer.addEventListener("paint", (event) => this.#painted(event.detail));
    byId("start").addEventListener("change", () => this.#begin(byId("start").value));
    byId("brush").addEventListener("input", () => this.#showCross());
    byId("tool").addEventListener("change", () => this.#showCross());
    byId("paint-undo").addEventListener("click", () => this.undo());
    byId("paint-redo").addEventListener("click", () => this.redo());
  }

  get #number() {
    return byId("tool").value === "eraser" ? 0 : Number(byId("class").value);
  }

  open() {
    const { masks } = this.large;
    for (const option of byId("start").options) option.disabled = option.value !== "nothing" && !masks[option.value];
    this.active = this.viewer.painting = true;
    byId("painting").hidden = false;
    this.viewer.cross = [this.viewer.width / 2, this.viewer.height / 2];
    const start = masks.correction ? "correction" : masks.label ? "label" : "nothing";
    byId("start").value = start;
    this.#begin(start);
    this.#showCross();
    byId("canvas").focus();
  }

  close() {
    this.active = this.dirty = this.viewer.painting = false;
    byId("painting").hidden = true;
    Object.assign(this.viewer, { cross: null, polygon: [] });
    this.viewer.layers = this.viewer.layers.filter((layer) => layer !== this.#layer);
    this.viewer.draw();
  }

  // The mask as PNG with the dataset's own values.
  async encoded() {
    const { width, height, pixels } = this.mask;
    return encodeGrey(width, height, pixels.map((number) => settings.values[number]));
  }

  undo() {
    if (this.viewer.polygon.length) this.viewer.polygon.pop();
    else if (this.#before.length) {
      this.#after.push(this.mask.pixels);
      this.mask.pixels = this.#before.pop();
    }
    this.#drawn();
  }

  redo() {
    if (!this.#after.length) return;
    this.#before.push(this.mask.pixels);
    this.mask.pixels = this.#after.pop();
    this.#drawn();
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
    this.#remember();
    if (tool === "fill") flood(this.mask, at, this.#number);
    else disc(this.mask, at, Number(byId("brush").value), this.#number);
    this.#drawn();
  }

  // Gives whether there was something to give up short of the whole mask.
  escape() {
    if (!this.viewer.polygon.length) return false;
    this.viewer.polygon = [];
    this.viewer.draw();
    return true;
  }

  #begin(start) {
    const { width, height } = this.viewer, from = this.large.masks[start];
    if (this.active && this.mask && this.dirty) this.#remember();
    else this.#before = this.#after = [];
    this.#before = [...this.#before];
    this.#after = [];
    this.mask = { width, height, pixels: from ? from.pixels.slice() : new Uint8Array(width * height) };
    this.viewer.layers = [...this.viewer.layers.filter((layer) => layer !== this.#layer), this.#layer];
    this.dirty = start !== "label";
    this.#drawn(this.dirty);
  }

  #remember() {
    this.#before.push(this.mask.pixels.slice());
    this.#after = [];
    while (this.#before.length * this.mask.pixels.length > REMEMBERED) this.#before.shift();
  }

  #painted({ kind, at }) {
    const tool = byId("tool").value;
    if (kind === "pointerdown") {
      this.viewer.cross = at;
      if (tool === "polygon") return this.#corner(at);
      this.#remember();
      this.#last = at;
      if (tool === "fill") flood(this.mask, at, this.#number);
    }
    if (!this.#last) return;
    const radius = Number(byId("brush").value), [x, y] = this.#last;
    if (tool !== "fill" && kind !== "pointercancel") stroke(this.mask, this.#last, at, radius, this.#number);
    this.#last = kind === "pointermove" || kind === "pointerdown" ? at : null;
    this.viewer.cross = at;
    if (!this.#last) return this.#drawn();
    const around = radius + 1; // while it moves, only what it touched is drawn
    repaint(this.#layer.picture, this.mask, [Math.min(x, at[0]) - around, Math.min(y, at[1]) - around, Math.max(x, at[0]) + around, Math.max(y, at[1]) + around]);
    this.viewer.draw();
  }

  // A click on the first corner closes the polygon, and so does one where the last is.
  #corner(at) {
    const corners = this.viewer.polygon, near = ([x, y]) => Math.hypot(x - at[0], y - at[1]) * this.viewer.scale < 9;
    if (corners.length > 2 && (near(corners[0]) || near(corners.at(-1)))) this.#closePolygon();
    else corners.push(at);
    this.viewer.draw();
  }

  #closePolygon() {
    const corners = this.viewer.polygon;
    this.viewer.polygon = [];
    if (corners.length < 3) return this.viewer.draw();
    this.#remember();
    polygon(this.mask, corners, this.#number);
    this.#drawn();
  }

  #drawn(dirty = true) {
    this.dirty = dirty;
    this.#layer.picture = picture(this.mask);
    this.#layer.path = outline(this.mask);
    byId("paint-undo").disabled = !this.#before.length && !this.viewer.polygon.length;
    byId("paint-redo").disabled = !this.#after.length;
    this.viewer.draw();
  }

  #showCross() {
    const brushes = ["brush", "eraser"].includes(byId("tool").value);
    this.viewer.crossSize = brushes ? Number(byId("brush").value) : 0;
    this.viewer.draw();
  }
}
