// A zip of a folder, packed without compression (images are compressed already): its files are read once for their
// checksums, and the browser reads them again while it sends. Without ZIP64, so below 4 GiB and 65,535 files.
const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});
const PIECE = 8 << 20, MOST_BYTES = 2 ** 32 - 2 ** 24, MOST_FILES = 65_534;
const MADE = (46 << 9) | (1 << 5) | 1; // 1 January 2026: the same files make the same zip, so that a reload can go on

async function crc32(file) {
  let crc = -1;
  for (let at = 0; at < file.size; at += PIECE) {
    const bytes = new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer());
    for (let i = 0; i < bytes.length; i++) crc = TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  }
  return (crc ^ -1) >>> 0;
}

function header(signature, fields) {
  const size = fields.reduce((sum, [width]) => sum + width, 4), bytes = new DataView(new ArrayBuffer(size));
  bytes.setUint32(0, signature, true);
  let at = 4;
  for (const [width, value] of fields) {
    if (width === 2) bytes.setUint16(at, value, true);
    else bytes.setUint32(at, value, true);
    at += width;
  }
  return bytes;
}

// entries: [{path, file}]; gives a Blob that refers to the files. Throws an Error that says what to do.
export async function zipOf(entries, told = () => {}) {
  const total = entries.reduce((sum, { file }) => sum + file.size, 0);
  if (entries.length > MOST_FILES || total > MOST_BYTES)
    throw new Error("This folder has more than 65,534 files or 4 GiB: make a zip of it, or use `dale upload`.");
  const pieces = [], directory = [];
  let offset = 0, done = 0;
  for (const { path, file } of [...entries].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    const name = new TextEncoder().encode(path), crc = await crc32(file);
    const common = [[2, 20], [2, 0x0800], [2, 0], [2, 0], [2, MADE], [4, crc], [4, file.size], [4, file.size], [2, name.length], [2, 0]];
    pieces.push(header(0x04034b50, common), name, file);
    directory.push(header(0x02014b50, [[2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), name);
    offset += 30 + name.length + file.size;
    told(++done, entries.length);
  }
  const length = directory.reduce((sum, piece) => sum + piece.byteLength, 0);
  const end = header(0x06054b50, [[2, 0], [2, 0], [2, entries.length], [2, entries.length], [4, length], [4, offset], [2, 0]]);
  return new Blob([...pieces, ...directory, end], { type: "application/zip" });
}

// The files below what was dropped, if it is one folder; null otherwise.
export async function droppedFolder(items) {
  const roots = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (roots.length !== 1 || !roots[0].isDirectory) return null;
  const found = [];
  async function walk(entry, path) {
    if (entry.isFile) {
      found.push({ path, file: await new Promise((done, fail) => entry.file(done, fail)) });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, fail) => reader.readEntries(done, fail)); // a hundred at a time
      if (!some.length) return;
      for (const child of some) await walk(child, `${path}/${child.name}`);
    }
  }
  await walk(roots[0], roots[0].name);
  return { name: roots[0].name, entries: found };
}
