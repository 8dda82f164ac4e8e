// From a key to what it does.
import { toggleHeat } from "./heat.js";
import { settings } from "./api.js";
import { isTyping, onControl } from "./keys.js";

const DECIDE = { a: "accepted", f: "flagged", m: "corrected", x: "excluded" };
const LAYERS = { l: "label", p: "prediction", c: "correction" };
const TOOLS = { b: "brush", r: "eraser", g: "polygon", i: "fill" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const byId = (id) => document.getElementById(id);

export function press(event, deeds) {
  if (event.altKey || event.isComposing) return;
  const command = event.ctrlKey || event.metaKey, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (isTyping(event)) {
    if (key === "Escape" && !document.querySelector("dialog[open]") && deeds.mode !== "edit") byId(deeds.mode === "grid" ? "grid" : "canvas").focus();
    return;
  }
  const run = deeds.mode === "edit" ? editing(event, key, command, deeds) : command ? commands(key, deeds) : common(key, deeds) ?? (deeds.mode === "grid" ? inGrid(event, key, deeds) : inLarge(key, deeds));
  if (!run) return;
  event.preventDefault();
  run();
}

function commands(key, deeds) {
  if (key === "z") return () => deeds.undo();
  if (key === "a" && deeds.mode === "grid") return () => deeds.selectAll();
  return null;
}

function common(key, deeds) {
  if (key in DECIDE) return () => deeds.decide(DECIDE[key]);
  return { h: () => toggleHeat(deeds.mode), u: () => deeds.undo(), j: () => deeds.step(1), k: () => deeds.step(-1), "?": () => deeds.help(), "/": deeds.mode === "grid" ? () => byId("filters").elements.text.focus() : undefined }[key];
}

function inGrid(event, key, deeds) {
  const { grid, deck, selection } = deeds;
  if ((key === "Enter" || key === " ") && onControl(event)) return null;
  const page = grid.rowsOnScreen * grid.columns;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -grid.columns, ArrowDown: grid.columns, PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity }[key];
  if (by !== undefined) {
    return () => {
      const from = grid.cursor;
      grid.moveTo(by === Infinity ? deck.order.length - 1 : by === -Infinity ? 0 : from + by);
      if (event.shiftKey) selection.range(deck.order, (deeds.anchor ??= from), grid.cursor);
      else deeds.anchor = null;
    };
  }
  return { Enter: () => deeds.open(), " ": () => selection.toggle(deck.order[grid.cursor]), Escape: () => selection.set([]) }[key];
}

function inLarge(key, deeds) {
  if (key in LAYERS) return () => deeds.large.toggle(LAYERS[key]);
  return slices(key, deeds) ?? {
    ArrowRight: () => deeds.step(1), ArrowLeft: () => deeds.step(-1), Escape: () => deeds.showGrid(), e: () => deeds.edit(), s: () => byId("side")?.click(),
    "+": () => deeds.viewer.zoom(1.3), "=": () => deeds.viewer.zoom(1.3), "-": () => deeds.viewer.zoom(1 / 1.3), 0: () => deeds.viewer.fit(),
    "[": () => deeds.large.step(-1), "]": () => deeds.large.step(1),
  }[key];
}

function slices(key, { large }) {
  if (!settings.volumes) return undefined;
  return { PageUp: () => large.step(1), PageDown: () => large.step(-1), v: () => large.turn() }[key];
}

function editing(event, key, command, deeds) {
  const { editor, viewer } = deeds;
  if (command) return { z: () => (event.shiftKey ? editor.redo() : editor.undo()), y: () => editor.redo(), s: () => deeds.save() }[key];
  if (key in ARROWS) {
    const [x, y] = ARROWS[key], by = event.shiftKey ? 10 : 1;
    return () => editor.move(x * by, y * by);
  }
  if (key in TOOLS) return () => editor.choose(TOOLS[key]);
  if (key === "d") return () => editor.copy(event.shiftKey ? 1 : -1);
  if ((key === "Enter" || key === " ") && onControl(event)) return null;
  return slices(key, deeds) ?? {
    Enter: () => editor.apply(), " ": () => (viewer.panKey = true), Escape: () => editor.escape() || deeds.cancel(),
    "[": () => editor.resize(-1), "]": () => editor.resize(1), "+": () => viewer.zoom(1.3), "=": () => viewer.zoom(1.3), "-": () => viewer.zoom(1 / 1.3), 0: () => viewer.fit(), h: () => toggleHeat("large"), "?": () => deeds.help(),
  }[key];
}
