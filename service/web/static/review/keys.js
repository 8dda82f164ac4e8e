// Keys: one table, which the help is made from.
export const KEYS = [
  ["J or →, K or ←", "next, previous"],
  ["↑ ↓ Page Up/Down Home End", "move in the grid"],
  ["/", "filter; Esc goes back to the grid"],
  ["Enter", "open the sample; Esc goes back"],
  ["Space, Shift + arrows, Ctrl + A", "select one, a range, all of the filter; Esc selects none"],
  ["A", "accept the label"],
  ["F", "flag it: somebody has to look again"],
  ["M", "take the model's mask"],
  ["X", "exclude the sample"],
  ["U or Ctrl + Z", "undo the last decision"],
  ["E", "edit the mask"],
  ["L, P, C, S", "show label, prediction, correction; side by side"],
  ["H", "show the doubted pixels, in the grid or of one sample"],
  ["+ − 0", "zoom in, out, fit; drag to pan (with Space held while editing)"],
  ["volumes: Page Down/Up or [ ], V", "slice before, after; axial, coronal, sagittal"],
  ["while editing: B R G I", "brush, eraser, polygon, fill; [ ] make the brush smaller, larger"],
  ["while editing: arrows, Enter", "move the cross (Shift: by ten), paint there; Enter twice at a place closes a polygon"],
  ["while editing volumes: Page Down/Up, V, D", "as above, nothing is lost; D copies the slice before (Shift: after)"],
  ["while editing: Ctrl + Z, Ctrl + S, Esc", "undo, save, cancel"],
  ["?", "this help"],
];

export function fillHelp() {
  for (const [keys, what] of KEYS) {
    const row = document.getElementById("help-rows").insertRow();
    row.insertCell().append(Object.assign(document.createElement("kbd"), { textContent: keys }));
    row.insertCell().textContent = what;
  }
}

// Whether a key belongs to the control that has the focus.
export function isTyping(event) {
  const { target } = event;
  if (document.querySelector("dialog[open]")) return true;
  if (target instanceof HTMLSelectElement) return !event.ctrlKey && !event.metaKey;
  if (!(target instanceof HTMLInputElement) || target.type === "checkbox") return false;
  return target.type !== "range" || /^(Arrow|Page|Home|End)/.test(event.key);
}

// Whether Enter and Space are for the button that has the focus.
export const onControl = (event) => event.target.closest("button, a, input, summary") !== null;
