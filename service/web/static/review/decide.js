// Decisions, one or many: each is saved at once, against the state that the person has seen.
import * as api from "./api.js";

const TOGETHER = 4; // requests at a time

export class Decider extends EventTarget {
  #done = []; // what was done on this page, newest last: lists of ordinals
  #stopped = false;

  constructor(deck) {
    super();
    this.deck = deck;
  }

  stop() {
    this.#stopped = true;
  }

  // Decide for all of them. Gives { done, conflicts, faults }: ordinals, ordinals, { ordinal, message }.
  async decide(ordinals, decision) {
    const result = await this.#each(ordinals, (card) => api.decide(card.sample, card.revision, decision));
    if (result.done.length) this.#done.push(result.done);
    return result;
  }

  async saveMask(ordinal, content) {
    const result = await this.#each([ordinal], (card) => api.putMask(card.sample, card.revision, content));
    if (result.done.length) this.#done.push(result.done);
    return result;
  }

  // Undo what was done last on this page; after a reload, what is in force for `otherwise`.
  async undo(otherwise) {
    const batch = this.#done.pop() ?? otherwise;
    return { batch, ...(await this.#each(batch, (card) => api.undo(card.sample, card.revision))) };
  }

  async #each(ordinals, change) {
    const result = { done: [], conflicts: [], faults: [] }, waiting = [...ordinals];
    this.#stopped = false;
    const work = async () => {
      while (waiting.length && !this.#stopped) {
        const ordinal = waiting.shift();
        if (!this.deck.card(ordinal)) await this.deck.fetch([ordinal, ...waiting.slice(0, 90)]);
        try {
          this.deck.reviewed(ordinal, await change(this.deck.card(ordinal)));
          result.done.push(ordinal);
        } catch (error) {
          if (error.status === 412) result.conflicts.push(ordinal);
          else result.faults.push({ ordinal, message: error.message });
        }
        const finished = result.done.length + result.conflicts.length + result.faults.length;
        this.dispatchEvent(new CustomEvent("progress", { detail: { finished, of: ordinals.length } }));
      }
    };
    await Promise.all(Array.from({ length: Math.min(TOGETHER, ordinals.length) }, work));
    if (result.conflicts.length) await this.deck.fetch(result.conflicts, true); // to see what the others decided
    this.dispatchEvent(new Event("decided"));
    return result;
  }
}
