// The samples in the order that was asked for once, and those of their cards that were looked at.
import * as api from "./api.js";

const AT_ONCE = 100; // cards of one request; the API gives no more
const KEPT = 4000; // cards in memory

export class Deck extends EventTarget {
  order = [];
  total = 0;
  #turn = 0;
  #cards = new Map(); // by ordinal
  #places = new Map(); // ordinal -> index
  #running = new Set(); // requests for what is on the screen: { wanted, abort }

  // Gives whether this is the newest question; the answer to an older one is dropped.
  async load(query) {
    const turn = ++this.#turn;
    const found = await api.order(query);
    if (turn !== this.#turn) return false;
    this.order = found.ordinals;
    this.total = found.total;
    this.#places = new Map(found.ordinals.map((ordinal, index) => [ordinal, index]));
    return true;
  }

  card(ordinal) {
    return this.#cards.get(ordinal);
  }

  indexOf(ordinal) {
    return this.#places.get(ordinal) ?? -1;
  }

  // What is on the screen now: fetch what is missing, give up what has left it.
  show(ordinals) {
    const shown = new Set(ordinals);
    for (const run of this.#running) {
      if (run.wanted.some((ordinal) => shown.has(ordinal))) run.wanted.forEach((ordinal) => shown.delete(ordinal));
      else run.abort.abort();
    }
    const missing = [...shown].filter((ordinal) => !this.#cards.has(ordinal));
    for (let start = 0; start < missing.length; start += AT_ONCE) this.#run(missing.slice(start, start + AT_ONCE));
  }

  async #run(wanted) {
    const run = { wanted, abort: new AbortController() };
    this.#running.add(run);
    try {
      this.#keep(await api.cards(wanted, run.abort.signal));
    } catch (error) {
      if (error.name !== "AbortError") this.dispatchEvent(new CustomEvent("fault", { detail: error.message }));
    } finally {
      this.#running.delete(run);
    }
  }

  // Cards of any samples, anew from the service if `fresh`.
  async fetch(ordinals, fresh = false) {
    const missing = fresh ? ordinals : ordinals.filter((ordinal) => !this.#cards.has(ordinal));
    for (let start = 0; start < missing.length; start += AT_ONCE) this.#keep(await api.cards(missing.slice(start, start + AT_ONCE)));
    return ordinals.map((ordinal) => this.#cards.get(ordinal));
  }

  // Reviews as the service answered them belong to their cards from now on.
  reviewed(reviews) {
    const known = reviews.filter(({ ordinal }) => this.#cards.has(ordinal));
    this.#keep(
      known.map(({ ordinal, decision, note, revision, new_mask_sha256, by }) => ({
        ...this.#cards.get(ordinal), decision, note, revision, new_mask_sha256, decided_by: decision ? by : null,
      })),
    );
  }

  #keep(cards) {
    for (const card of cards) {
      this.#cards.delete(card.ordinal); // the newest are the last
      this.#cards.set(card.ordinal, card);
    }
    for (const ordinal of this.#cards.keys()) {
      if (this.#cards.size <= KEPT) break;
      this.#cards.delete(ordinal);
    }
    this.dispatchEvent(new CustomEvent("cards", { detail: cards }));
  }
}
