// Painting on a mask { width, height, aspect, pixels }: whole pixels get a class or keep theirs, so no value is ever in
// between. `aspect`: height of a pixel in units of its width.

// A disc around a place, its radius in widths; a pixel is in it if its centre is.
export function disc(mask, [x, y], radius, number) {
  const { width, height, aspect, pixels } = mask, reach = radius / aspect;
  for (let row = Math.max(0, Math.floor(y - reach)); row <= Math.min(height - 1, Math.ceil(y + reach)); row++) {
    for (let column = Math.max(0, Math.floor(x - radius)); column <= Math.min(width - 1, Math.ceil(x + radius)); column++) {
      const inside = (column + 0.5 - x) ** 2 + ((row + 0.5 - y) * aspect) ** 2 <= radius * radius;
      const under = Math.floor(x) === column && Math.floor(y) === row; // the smallest brush still paints
      if (inside || under) pixels[row * width + column] = number;
    }
  }
}

export function stroke(mask, from, to, radius, number) {
  const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], (to[1] - from[1]) * mask.aspect) / Math.max(radius / 2, 0.5)));
  for (let i = 0; i <= steps; i++) {
    const part = i / steps;
    disc(mask, [from[0] + (to[0] - from[0]) * part, from[1] + (to[1] - from[1]) * part], radius, number);
  }
}

// The pixels whose centres lie within a closed polygon, by the even-odd rule.
export function polygon(mask, corners, number) {
  const { width, height, pixels } = mask;
  for (let row = 0; row < height; row++) {
    const y = row + 0.5, crossings = [];
    corners.forEach(([x1, y1], i) => {
      const [x2, y2] = corners[(i + 1) % corners.length];
      if (y1 <= y !== y2 <= y) crossings.push(x1 + ((y - y1) / (y2 - y1)) * (x2 - x1));
    });
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const begin = Math.max(0, Math.ceil(crossings[i] - 0.5)), end = Math.min(width, Math.ceil(crossings[i + 1] - 0.5));
      if (end > begin) pixels.fill(number, row * width + begin, row * width + end);
    }
  }
}

// The pixels of one class that hang together by their sides.
export function flood(mask, [x, y], number) {
  const { width, height, pixels } = mask;
  const column = Math.floor(x), row = Math.floor(y);
  if (column < 0 || row < 0 || column >= width || row >= height) return;
  const old = pixels[row * width + column], open = [row * width + column];
  if (old === number) return;
  while (open.length) {
    const i = open.pop();
    if (pixels[i] !== old) continue;
    pixels[i] = number;
    if (i % width > 0) open.push(i - 1);
    if (i % width < width - 1) open.push(i + 1);
    if (i >= width) open.push(i - width);
    if (i + width < pixels.length) open.push(i + width);
  }
}
