// A short message at the bottom, read out by screen readers, with one thing that can be done about it.
const SHOWN = 8000; // ms
const root = document.getElementById("toast"), text = root.querySelector("span"), button = root.querySelector("button");
let timer = 0;

export function toast(message, { kind = "", action = "", run = null, stays = false } = {}) {
  text.textContent = message;
  root.className = kind;
  root.hidden = false;
  button.hidden = !run;
  button.textContent = action;
  button.onclick = () => {
    root.hidden = true;
    run();
  };
  clearTimeout(timer);
  if (!stays) timer = setTimeout(() => (root.hidden = true), SHOWN);
}
