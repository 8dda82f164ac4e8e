// Decisions, one or many: each is saved at once, against the state that the person has seen.
import * as api from "./api.js";

const TOGETHER = 4, AT_ONCE = 100; // requests at a time; cards fetched for them

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

  // `content`: a file, or what api.putSlices takes.
  async saveMask(ordinal, content) {
    const put = content instanceof Blob ? api.putMask : api.putSlices;
    const result = await this.#each([ordinal], (card) => put(card.sample, card.revision, content));
    if (result.done.length) this.#done.push(result.done);
    return result;
  }

  // Undo what was done last on this page; after a reload, what is in force for `otherwise`.
  async undo(otherwise) {
    const batch = this.#done.pop() ?? otherwise;
    return { batch, ...(await this.#each(batch, (card) => api.undo(card.sample, card.revision))) };
  }

  // What was decided of a sample whose card was never here, nobody on this page has seen: it counts as a conflict.
  async #each(ordinals, change) {
    const result = { done: [], conflicts: [], faults: [] };
    this.#stopped = false;
    for (let start = 0; start < ordinals.length && !this.#stopped; start += AT_ONCE) {
      const waiting = ordinals.slice(start, start + AT_ONCE);
      const unseen = new Set(waiting.filter((ordinal) => !this.deck.card(ordinal)));
      await this.deck.fetch(waiting);
      const work = async () => {
        while (waiting.length && !this.#stopped) {
          const ordinal = waiting.shift(), card = this.deck.card(ordinal);
          await this.#one(card, change, unseen.has(ordinal) && card.decision, result);
          const finished = result.done.length + result.conflicts.length + result.faults.length;
          this.dispatchEvent(new CustomEvent("progress", { detail: { finished, of: ordinals.length } }));
        }
      };
      await Promise.all(Array.from({ length: TOGETHER }, work));
    }
    if (result.conflicts.length) await this.deck.fetch(result.conflicts, true); // to see what the others decided
    this.dispatchEvent(new Event("decided"));
    return result;
  }

  async #one(card, change, surprising, result) {
    if (surprising) return result.conflicts.push(card.ordinal);
    try {
      this.deck.reviewed(card.ordinal, await change(card));
      result.done.push(card.ordinal);
    } catch (error) {
      if (error.status === 412) result.conflicts.push(card.ordinal);
      else result.faults.push({ ordinal: card.ordinal, message: error.message });
    }
  }
}
