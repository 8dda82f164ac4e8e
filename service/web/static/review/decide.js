// Decisions, one or many: each is saved at once, against the state that the person has seen.
import * as api from "./api.js";

const AT_ONCE = 1000, CORRECTIONS = 50; // labels of one request; of one that stores a mask for each

export class Decider extends EventTarget {
  #done = []; // what was done on this page, newest last: lists of { ordinal, revision }
  #stopped = false;

  constructor(deck) {
    super();
    this.deck = deck;
  }

  stop() {
    this.#stopped = true;
  }

  // Decide for all of them. Gives { done, conflicts, faults }: ordinals, ordinals, { message }. Where no card was ever
  // here, nobody on this page has seen what is decided: `revision` null lets that be.
  async decide(ordinals, decision) {
    const labels = ordinals.map((ordinal) => ({ ordinal, revision: this.deck.card(ordinal)?.revision ?? null }));
    const result = await this.#each(labels, decision === "corrected" ? CORRECTIONS : AT_ONCE, (some) => api.decide(some, decision));
    if (result.seen.length) this.#done.push(result.seen);
    return result;
  }

  // `content`: a file, or what api.putSlices takes.
  async saveMask(ordinal, content) {
    const card = this.deck.card(ordinal), put = content instanceof Blob ? api.putMask : api.putSlices;
    const save = async () => ({ labels: [{ ordinal, outcome: "done", ...(await put(card.sample, card.revision, content)) }] });
    const result = await this.#each([{ ordinal }], 1, save);
    if (result.seen.length) this.#done.push(result.seen);
    return result;
  }

  // Undo what was done last on this page; after a reload, what is in force for `otherwise`.
  async undo(otherwise) {
    const labels = this.#done.pop() ?? (await this.deck.fetch(otherwise)).filter(Boolean).map(({ ordinal, revision }) => ({ ordinal, revision }));
    return { batch: labels.map((label) => label.ordinal), ...(await this.#each(labels, AT_ONCE, api.undo)) };
  }

  async #each(labels, size, change) {
    const result = { done: [], seen: [], conflicts: [], faults: [] };
    this.#stopped = false;
    for (let start = 0; start < labels.length && !this.#stopped; start += size) {
      try {
        this.#take((await change(labels.slice(start, start + size))).labels, result);
      } catch (error) {
        if (error.status === 412) result.conflicts.push(labels[start].ordinal);
        else result.faults.push({ message: error.message });
        if (result.faults.length) break; // what was done before stays done, and can be undone
      }
      this.dispatchEvent(new CustomEvent("progress", { detail: { finished: Math.min(start + size, labels.length), of: labels.length } }));
    }
    if (result.conflicts.length) await this.deck.fetch(result.conflicts.slice(0, 1), labels.length === 1); // to say what the other decided
    this.dispatchEvent(new Event("decided"));
    return result;
  }

  #take(outcomes, result) {
    this.deck.reviewed(outcomes.filter((one) => one.outcome));
    for (const { ordinal, sample, outcome, fault, revision } of outcomes) {
      if (outcome === "done") {
        result.done.push(ordinal);
        result.seen.push({ ordinal, revision });
      } else if (outcome === "conflict") result.conflicts.push(ordinal);
      else result.faults.push({ message: fault ? `${sample ?? ordinal}: ${fault}` : `Nothing is decided of ${sample}, so nothing can be undone.` });
    }
  }
}
