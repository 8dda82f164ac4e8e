// The grid: a tall empty box in which only the cards on the screen exist.
import { CardView } from "./card.js";

const GAP = 12, SMALLEST = 190, BELOW = 92, SPARE_ROWS = 1, SETTLED = 70; // px, px, px under the picture, rows, ms between two looks

export class Grid extends EventTarget {
  #views = new Map(); // index -> CardView
  #pool = [];
  #columns = 1;
  #width = SMALLEST;
  #frame = 0;
  #timer = 0;
  #top = 0; // where it was when it was last looked
  cursor = 0;
  many = false; // each click selects one more, as fingers need it

  constructor(root, deck, selection) {
    super();
    this.root = root;
    this.deck = deck;
    this.selection = selection;
    this.box = root.firstElementChild;
    root.addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.layout()).observe(root);
    deck.addEventListener("cards", (event) => this.#refill(event.detail));
    selection.addEventListener("change", () => this.mark());
    root.addEventListener("click", (event) => this.#clicked(event));
    root.addEventListener("dblclick", (event) => {
      if (event.target.closest(".tile")) this.dispatchEvent(new Event("open"));
    });
  }

  get columns() {
    return this.#columns;
  }

  get rowsOnScreen() {
    return Math.max(1, Math.floor(this.root.clientHeight / this.#rowHeight));
  }

  get #rowHeight() {
    return this.#width + BELOW + GAP;
  }

  // Everything anew: the order or the width has changed.
  layout() {
    const width = this.root.clientWidth - 2 * GAP;
    if (width <= 0) return; // hidden
    this.#columns = Math.max(1, Math.floor((width + GAP) / (SMALLEST + GAP)));
    this.#width = Math.floor((width - GAP * (this.#columns - 1)) / this.#columns);
    this.box.style.height = `${Math.ceil(this.deck.order.length / this.#columns) * this.#rowHeight + GAP}px`;
    for (const view of this.#views.values()) this.#release(view);
    this.#views.clear();
    this.reveal(this.cursor);
    this.#draw();
    this.#settle();
  }

  moveTo(index, keepFocus = true) {
    if (!this.deck.order.length) return;
    this.cursor = Math.min(Math.max(index, 0), this.deck.order.length - 1);
    this.reveal(this.cursor);
    this.#draw();
    this.#settle();
    if (keepFocus) this.dispatchEvent(new Event("cursor"));
  }

  reveal(index) {
    const top = Math.floor(index / this.#columns) * this.#rowHeight;
    const { scrollTop, clientHeight } = this.root;
    if (top < scrollTop) this.root.scrollTop = top;
    else if (top + this.#rowHeight + GAP > scrollTop + clientHeight) this.root.scrollTop = top + this.#rowHeight + GAP - clientHeight;
  }

  // Every card on the screen anew.
  refill() {
    for (const view of this.#views.values()) if (view.card) view.fill(view.card);
  }

  mark() {
    for (const [index, view] of this.#views) {
      view.root.setAttribute("aria-selected", this.selection.has(this.deck.order[index]));
      view.root.classList.toggle("cursor", index === this.cursor);
    }
    if (this.#views.has(this.cursor)) this.root.setAttribute("aria-activedescendant", `tile-${this.cursor}`);
    else this.root.removeAttribute("aria-activedescendant");
  }

  #soon() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
    this.#timer ||= setTimeout(() => this.#slower(this.root.scrollTop), SETTLED);
  }

  // While it flies, more than a screen at a time, cards stay empty: what is gone at once is never asked for.
  #slower(top) {
    this.#timer = 0;
    const far = Math.abs(top - this.#top) > this.root.clientHeight;
    this.#top = top;
    if (far) this.#timer = setTimeout(() => this.#slower(this.root.scrollTop), SETTLED);
    else this.#settle();
  }

  #draw() {
    const { scrollTop, clientHeight } = this.root;
    const first = Math.max(0, Math.floor(scrollTop / this.#rowHeight) - SPARE_ROWS) * this.#columns;
    const rows = Math.ceil(clientHeight / this.#rowHeight) + 1 + 2 * SPARE_ROWS;
    const end = Math.min(first + rows * this.#columns, this.deck.order.length);
    for (const [index, view] of this.#views) {
      if (index >= first && index < end) continue;
      this.#release(view);
      this.#views.delete(index);
    }
    for (let index = end - 1; index >= first; index--) if (!this.#views.has(index)) this.#take(index);
    while (this.#pool.length) this.#pool.pop().root.remove();
    this.mark();
  }

  #take(index) {
    const view = this.#pool.pop() ?? new CardView();
    const column = index % this.#columns, row = Math.floor(index / this.#columns);
    view.place(index, this.deck.order.length, GAP + column * (this.#width + GAP), GAP + row * this.#rowHeight, this.#width, this.#width + BELOW);
    view.fill(this.deck.card(this.deck.order[index]));
    this.box.insertBefore(view.root, this.#views.get(index + 1)?.root ?? null); // read out in order
    this.#views.set(index, view);
  }

  #release(view) {
    view.clear();
    this.#pool.push(view);
  }

  #settle() {
    this.deck.show([...this.#views.keys()].map((index) => this.deck.order[index]));
  }

  #refill(cards) {
    for (const card of cards) this.#views.get(this.deck.indexOf(card.ordinal))?.fill(card);
  }

  #clicked(event) {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    const index = Number(tile.dataset.index), ordinal = this.deck.order[index];
    if (event.shiftKey) this.selection.range(this.deck.order, this.cursor, index);
    else if (event.ctrlKey || event.metaKey || this.many) this.selection.toggle(ordinal);
    else this.selection.only(ordinal);
    if (event.shiftKey) this.dispatchEvent(new Event("cursor"));
    else this.moveTo(index);
  }
}
