// A file of the visitor's own goes to the model; its mask is drawn over it. Nothing is kept, here or there.
import { problemOf } from "/static/forms.js";

const part = document.getElementById("try"), at = (id) => document.getElementById(`try-${id}`);
// Okabe and Ito's colours, which colour-blind eyes tell apart as well.
const COLOURS = [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [204, 121, 167], [213, 94, 0], [0, 114, 178]];
const INSIDE = 0.35;
let turn = 0, shown = null; // the newest request; what is on the canvas

async function predict(files) {
  const mine = ++turn;
  shown = null;
  at("answer").hidden = at("problem").hidden = true;
  at("status").textContent = `${files.map((file) => file.name).join(", ")}: the model looks at it …`;
  const body = new FormData();
  for (const file of files) body.append("file", file);
  try {
    const answer = await fetch(`/v1/models/${part.dataset.model}:predict`, { method: "POST", body });
    if (mine !== turn) return;
    if (!answer.ok) throw new Error(told(await problemOf(answer)));
    const mask = await answer.blob();
    await show(files, mask);
  } catch (error) {
    if (mine !== turn) return;
    at("status").textContent = "";
    at("problem").hidden = false;
    at("problem").textContent = error instanceof TypeError ? "The service does not answer now. Try again." : error.message;
  }
}

function told({ detail, errors = [] }) {
  return [detail, ...errors.map(({ reason, hint }) => `It ${reason}${hint ? `: ${hint}` : ""}.`)].join(" ");
}

async function show(files, mask) {
  const name = files[0].name.replace(/(\.nii)?\.[^.]+$/, ""), volume = mask.type === "application/gzip";
  URL.revokeObjectURL(at("save").href);
  at("save").href = URL.createObjectURL(mask);
  at("save").download = `${name}-mask${volume ? ".nii.gz" : ".png"}`;
  at("picture").hidden = at("classes").hidden = at("shown").parentElement.hidden = volume;
  if (!volume) {
    const values = await pixels(await createImageBitmap(mask, { colorSpaceConversion: "none", premultiplyAlpha: "none" }));
    // Browsers do not show TIFF: its mask lies on black.
    shown = { ...values, image: await createImageBitmap(files[0]).catch(() => null) };
    legend();
    draw();
  }
  at("status").textContent = `${files[0].name}: the mask is there.`;
  at("answer").hidden = false;
}

// The grey values of a mask, row by row.
async function pixels(bitmap) {
  const { width, height } = bitmap, canvas = new OffscreenCanvas(width, height).getContext("2d");
  canvas.drawImage(bitmap, 0, 0);
  const { data } = canvas.getImageData(0, 0, width, height);
  const values = Uint8Array.from({ length: width * height }, (_, place) => data[4 * place]);
  return { width, height, values, classes: [...new Set(values)].filter(Boolean).sort((a, b) => a - b) };
}

function legend() {
  const { values, classes } = shown, counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const lines = classes.map((value, place) => {
    const line = document.createElement("span"), key = document.createElement("span");
    key.className = "key";
    key.style.borderTop = "12px solid"; // in the colour that follows
    key.style.borderColor = `rgb(${COLOURS[place % COLOURS.length]})`;
    line.append(key, ` value ${value}: ${((100 * counts.get(value)) / values.length).toFixed(1)} % of the pixels `);
    return line;
  });
  at("classes").replaceChildren(...(lines.length ? lines : ["The model finds nothing in it."]));
  at("picture").setAttribute("aria-label", `Mask over the image. ${at("classes").textContent}`);
}

function draw() {
  const { width, height, values, classes, image } = shown, canvas = at("picture"), context = canvas.getContext("2d");
  canvas.width = width;
  canvas.height = height;
  context.fillRect(0, 0, width, height);
  if (image) context.drawImage(image, 0, 0, width, height);
  if (!at("shown").checked) return;
  const picture = context.getImageData(0, 0, width, height), colours = new Map(classes.map((value, place) => [value, COLOURS[place % COLOURS.length]]));
  for (let place = 0; place < values.length; place++) {
    const value = values[place], x = place % width;
    if (!value) continue;
    const edge = (x > 0 && values[place - 1] !== value) || (x < width - 1 && values[place + 1] !== value)
      || (place >= width && values[place - width] !== value) || (place + width < values.length && values[place + width] !== value);
    colours.get(value).forEach((part, band) => {
      const weight = edge ? 1 : INSIDE, byte = 4 * place + band;
      picture.data[byte] = picture.data[byte] * (1 - weight) + part * weight;
    });
  }
  context.putImageData(picture, 0, 0);
}

const sorted = (files) => [...files].sort((a, b) => (a.name < b.name ? -1 : 1));
at("file").addEventListener("change", () => {
  if (at("file").files.length) predict(sorted(at("file").files));
  at("file").value = ""; // so that the same file can be chosen again
});
at("shown").addEventListener("change", draw);
for (const kind of ["dragenter", "dragover"]) {
  at("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
at("drop").addEventListener("dragleave", () => at("drop").classList.remove("over"));
at("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (event.dataTransfer.files.length) predict(sorted(event.dataTransfer.files));
});
