// An image on a canvas with masks over it: zoom, pan, one view or two side by side.
const LARGEST = 40; // screen pixels for one of the image
const HALO = { label: "rgba(255,255,255,.7)", prediction: "rgba(20,20,20,.7)", correction: "rgba(255,255,255,.7)", edit: "rgba(255,255,255,.7)" };

export class Viewer extends EventTarget {
  image = null;
  width = 1; // of the image, in its own pixels: those of its masks
  height = 1;
  aspect = 1; // height of a pixel in units of its width
  layers = []; // { name, path, picture, colour, dash, visible, opacity, stretched }
  side = false;
  cross = null; // [x, y] of the image: where the keyboard paints
  polygon = [];
  scale = 1;
  x = 0;
  y = 0;
  #pointers = new Map();
  #frame = 0;
  panKey = false;
  painting = false;

  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    new ResizeObserver(() => this.#resized()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, (event) => this.#pointer(event));
    }
  }

  show(image, width, height, { keepView = false, aspect = 1 } = {}) {
    const same = this.width === width && this.height === height && this.aspect === aspect;
    Object.assign(this, { image, width, height, aspect });
    if (keepView && same) this.draw();
    else this.fit();
  }

  get #viewWidth() {
    return this.canvas.clientWidth / (this.side ? 2 : 1);
  }

  fit() {
    const { clientHeight } = this.canvas;
    const height = this.height * this.aspect;
    this.scale = Math.min(this.#viewWidth / this.width, clientHeight / height) * 0.98 || 1;
    this.x = (this.#viewWidth - this.width * this.scale) / 2;
    this.y = (clientHeight - height * this.scale) / 2;
    this.fitted = true;
    this.draw();
  }

  zoom(factor, x = this.#viewWidth / 2, y = this.canvas.clientHeight / 2) {
    const before = this.scale;
    this.scale = Math.min(Math.max(before * factor, 0.02), LARGEST);
    this.x = x - ((x - this.x) * this.scale) / before;
    this.y = y - ((y - this.y) * this.scale) / before;
    this.fitted = false;
    this.draw();
  }

  pan(x, y) {
    this.x += x;
    this.y += y;
    this.fitted = false;
    this.draw();
  }

  // The place in the image under a pointer, in its pixels.
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const left = (event.clientX - box.left) % this.#viewWidth;
    return [(left - this.x) / this.scale, (event.clientY - box.top - this.y) / this.scale / this.aspect];
  }

  draw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#drawNow();
    });
  }

  #drawNow() {
    const { context, canvas } = this, ratio = devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.image) return;
    const views = this.side ? [["doubt", "label"], ["prediction", "correction"]] : [null];
    views.forEach((names, number) => {
      const left = number * this.#viewWidth;
      context.save();
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.beginPath();
      context.rect(left, 0, this.#viewWidth, canvas.clientHeight);
      context.clip();
      context.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * (left + this.x), ratio * this.y);
      context.imageSmoothingEnabled = this.scale < 3;
      context.drawImage(this.image, 0, 0, this.width, this.height * this.aspect);
      for (const layer of this.layers) if (layer.visible && (!names || names.includes(layer.name) || layer.name === "edit")) this.#layer(layer);
      this.#marks();
      context.restore();
    });
  }

  #layer({ name, path, picture, colour, dash, opacity, stretched }) {
    const { context } = this, pixel = 1 / this.scale;
    if (picture && opacity > 0) {
      context.globalAlpha = opacity;
      context.imageSmoothingEnabled = Boolean(stretched);
      context.drawImage(picture, 0, 0, this.width, this.height * this.aspect);
      context.globalAlpha = 1;
    }
    if (!path) return;
    context.setLineDash([]);
    context.lineWidth = 4 * pixel;
    context.strokeStyle = HALO[name];
    context.stroke(path);
    context.setLineDash((dash ?? []).map((length) => length * pixel));
    context.lineWidth = 2 * pixel;
    context.strokeStyle = colour;
    context.stroke(path);
    context.setLineDash([]);
  }

  #marks() {
    const { context } = this, pixel = 1 / this.scale;
    context.lineWidth = 1.5 * pixel;
    context.strokeStyle = "#fff";
    if (this.polygon.length) {
      context.beginPath();
      const corners = this.polygon.map(([x, y]) => [x, y * this.aspect]);
      corners.forEach(([x, y]) => context.lineTo(x, y));
      context.stroke();
      for (const [x, y] of corners) context.strokeRect(x - 3 * pixel, y - 3 * pixel, 6 * pixel, 6 * pixel);
    }
    if (!this.cross) return;
    const x = this.cross[0], y = this.cross[1] * this.aspect;
    for (const [colour, width] of [["#000", 3], ["#fff", 1.2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * pixel;
      context.beginPath();
      context.arc(x, y, Math.max(this.crossSize ?? 0, 3 * pixel), 0, 7);
      context.moveTo(x - 9 * pixel, y);
      context.lineTo(x + 9 * pixel, y);
      context.moveTo(x, y - 9 * pixel);
      context.lineTo(x, y + 9 * pixel);
      context.stroke();
    }
  }

  #resized() {
    const { canvas } = this, ratio = devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    if (this.fitted !== false) this.fit();
    else this.#drawNow();
  }

  #wheel(event) {
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY / 400), (event.clientX - box.left) % this.#viewWidth, event.clientY - box.top);
  }

  #pointer(event) {
    const known = this.#pointers.get(event.pointerId);
    const ends = event.type === "pointerup" || event.type === "pointercancel";
    if (event.type === "pointerdown") {
      this.canvas.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, event);
    } else if (known && !ends) this.#pointers.set(event.pointerId, event);
    const [one, two] = this.#pointers.values();
    if (known && two && !ends) {
      const other = one.pointerId === event.pointerId ? two : one;
      const length = (e) => Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY) || 1;
      const box = this.canvas.getBoundingClientRect();
      this.zoom(length(event) / length(known), (other.clientX - box.left) % this.#viewWidth, other.clientY - box.top);
    } else if (this.painting && !this.panKey && event.button !== 1 && !two) {
      if (known || event.type === "pointerdown") this.dispatchEvent(new CustomEvent("paint", { detail: { kind: event.type, at: this.at(event) } }));
    } else if (known && event.type === "pointermove") this.pan(event.clientX - known.clientX, event.clientY - known.clientY);
    if (ends) this.#pointers.delete(event.pointerId);
  }
}
