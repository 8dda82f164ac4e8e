// Which samples are selected, by ordinal.
export class Selection extends EventTarget {
  #chosen = new Set();
  #base = null; // what was selected before a range began to be drawn

  get size() {
    return this.#chosen.size;
  }

  has(ordinal) {
    return this.#chosen.has(ordinal);
  }

  list() {
    return [...this.#chosen];
  }

  only(ordinal) {
    this.set([ordinal]);
  }

  set(ordinals) {
    this.#chosen = new Set(ordinals);
    this.#base = null;
    this.dispatchEvent(new Event("change"));
  }

  toggle(ordinal) {
    if (!this.#chosen.delete(ordinal)) this.#chosen.add(ordinal);
    this.#base = null;
    this.dispatchEvent(new Event("change"));
  }

  // From one place of an order to another, added to what was selected before the range began.
  range(order, from, to) {
    this.#base ??= new Set(this.#chosen);
    this.#chosen = new Set([...this.#base, ...order.slice(Math.min(from, to), Math.max(from, to) + 1)]);
    this.dispatchEvent(new Event("change"));
  }
}
