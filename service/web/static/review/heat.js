// The doubted pixels as colours: a switch for the grid, one for the large view with its opacity, and the map of a sample.
import { ask, mapPath, settings } from "./api.js";
import { decodeMask } from "./masks.js";
import { go, place } from "./place.js";
import { toast } from "./toast.js";

const byId = (id) => document.getElementById(id);
const SWITCHES = { grid: { box: byId("grid-doubt"), key: "gridmap" }, large: { box: byId("show-doubt"), key: "map" } };
const strength = byId("doubt-opacity");
const LAST = settings.heat.length - 1;
const TABLE = Array.from({ length: 256 }, (_, value) => {
  const at = (value / 255) * LAST, low = Math.min(Math.floor(at), LAST - 1);
  return settings.heat[low].map((from, channel) => from + (settings.heat[low + 1][channel] - from) * (at - low));
});

export const heatShown = (mode) => settings.mapped && place[SWITCHES[mode].key] === "on";
export const heatOpacity = () => Number(place.heat);

// `draw`: what each mode does when its switch, or the opacity, has changed.
export function wireHeat(draw) {
  for (const key of document.querySelectorAll(".key.heat")) key.style.background = `linear-gradient(90deg, ${settings.heat.map((colour) => `rgb(${colour})`)})`;
  for (const [mode, { box, key }] of Object.entries(SWITCHES)) {
    box.disabled = !settings.mapped;
    box.addEventListener("change", () => {
      go({ [key]: box.checked ? "on" : "off" });
      draw[mode]();
    });
  }
  strength.disabled = !settings.mapped;
  strength.addEventListener("input", () => {
    go({ heat: strength.value });
    if (heatShown("large")) draw.large();
    else SWITCHES.large.box.click(); // who moves it wants to see it
  });
}

// Bring the switches to what the address says.
export function readHeat() {
  for (const [mode, { box }] of Object.entries(SWITCHES)) box.checked = heatShown(mode);
  strength.value = place.heat;
}

export function toggleHeat(mode) {
  const { box } = SWITCHES[mode];
  if (box.disabled) toast(byId("heat-why").textContent);
  else box.click();
}

// The map of an image as a layer of the viewer, without which there is null.
export async function heatLayer(sample, signal) {
  if (!settings.mapped) return null;
  try {
    const { width, height, pixels } = await decodeMask(await (await ask(mapPath(sample), { signal })).blob());
    return { name: "doubt", stretched: true, picture: coloured(width, height, pixels) };
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

// More doubt covers more: what is not doubted is not covered at all.
function coloured(width, height, pixels) {
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d"), image = context.createImageData(width, height);
  pixels.forEach((doubt, i) => image.data.set([...TABLE[doubt], doubt], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}
