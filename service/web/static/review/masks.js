// Masks in the browser: numbers of classes, one byte a pixel, never smoothed; their outlines, and their pictures.
export const COLOURS = [null, [0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [240, 228, 66], [86, 180, 233]]; // Okabe and Ito

export const colourOf = (number) => COLOURS[1 + ((number - 1) % (COLOURS.length - 1))];

// The mask in a PNG of grey levels: { width, height, aspect, pixels }.
export async function decodeMask(blob, aspect = 1) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height), pixels = new Uint8Array(width * height);
  for (let i = 0; i < pixels.length; i++) pixels[i] = data[4 * i];
  bitmap.close();
  return { width, height, aspect, pixels };
}

// Closed outlines around every class, along the sides of the pixels, as a Path2D in widths of a pixel.
export function outline({ width, height, aspect, pixels }) {
  const path = new Path2D(), across = width + 1, down = (corner) => Math.floor(corner / across) * aspect;
  for (const [, edges] of sides(width, height, pixels)) {
    while (edges.size) {
      const [first] = edges.keys();
      let at = first, before = 0;
      path.moveTo(first % across, down(first));
      do {
        const ends = edges.get(at), next = ends.pop();
        if (!ends.length) edges.delete(at);
        if (next - at !== before && before) path.lineTo(at % across, down(at));
        before = next - at;
        at = next;
      } while (at !== first && edges.has(at));
      path.closePath();
    }
  }
  return path;
}

// Of every class: corner -> corners that a side leads to, the class on its right.
function sides(width, height, pixels) {
  const across = width + 1, found = new Map();
  const add = (number, from, to) => {
    if (!found.has(number)) found.set(number, new Map());
    const edges = found.get(number), ends = edges.get(from);
    if (ends) ends.push(to);
    else edges.set(from, [to]);
  };
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const number = pixels[i];
      if (!number) continue;
      const corner = y * across + x;
      if (y === 0 || pixels[i - width] !== number) add(number, corner, corner + 1);
      if (x === width - 1 || pixels[i + 1] !== number) add(number, corner + 1, corner + 1 + across);
      if (y === height - 1 || pixels[i + width] !== number) add(number, corner + 1 + across, corner + across);
      if (x === 0 || pixels[i - 1] !== number) add(number, corner + across, corner);
    }
  }
  return found;
}

// The mask as a picture, background transparent; `colour` for all classes, or each its own.
export function picture(mask, colour = null) {
  const canvas = new OffscreenCanvas(mask.width, mask.height);
  repaint(canvas, mask, [0, 0, mask.width, mask.height], colour);
  return canvas;
}

// Bring a part of the picture up to date: [left, top, right, bottom] in pixels.
export function repaint(canvas, { width, height, pixels }, box, colour = null) {
  const left = Math.max(0, Math.floor(box[0])), top = Math.max(0, Math.floor(box[1]));
  const right = Math.min(width, Math.ceil(box[2])), bottom = Math.min(height, Math.ceil(box[3]));
  if (right <= left || bottom <= top) return;
  const context = canvas.getContext("2d"), image = context.createImageData(right - left, bottom - top);
  for (let y = top, to = 0; y < bottom; y++) {
    for (let x = left; x < right; x++, to += 4) {
      const number = pixels[y * width + x];
      if (!number) continue;
      const [red, green, blue] = colour ?? colourOf(number);
      image.data[to] = red;
      image.data[to + 1] = green;
      image.data[to + 2] = blue;
      image.data[to + 3] = 255;
    }
  }
  context.putImageData(image, left, top);
}
