/**
 * CRC-32C (Castagnoli polynomial, reflected 0x82f63b78), the checksum of record batches. Sixteen
 * bytes a step by table ("slicing", Kounavis and Berry 2005), since the runtime has no native one.
 */

const SLICES = 16;
const POLYNOMIAL = 0x82f63b78;

/** Sixteen tables of 256: table k advances a byte that is followed by k further bytes. */
const table = buildTable();

function buildTable(): Int32Array {
  const built = new Int32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    built[byte] = crc;
  }
  for (let at = 256; at < built.length; at += 1) {
    const previous = built[at - 256];
    built[at] = (previous >>> 8) ^ built[previous & 0xff];
  }
  return built;
}

/** CRC-32C of `bytes` from `from` up to `to`, as a number in [0, 2^32). */
export function crc32c(bytes: Uint8Array, from = 0, to: number = bytes.length): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const t = table;
  const stepsEnd = from + ((to - from) & ~(SLICES - 1));
  let crc = -1;
  let at = from;
  for (; at < stepsEnd; at += SLICES) {
    const a = view.getInt32(at, true) ^ crc;
    const b = view.getInt32(at + 4, true);
    const c = view.getInt32(at + 8, true);
    const d = view.getInt32(at + 12, true);
    crc = t[3840 + (a & 0xff)] ^ t[3584 + ((a >>> 8) & 0xff)] ^
      t[3328 + ((a >>> 16) & 0xff)] ^ t[3072 + (a >>> 24)] ^
      t[2816 + (b & 0xff)] ^ t[2560 + ((b >>> 8) & 0xff)] ^
      t[2304 + ((b >>> 16) & 0xff)] ^ t[2048 + (b >>> 24)] ^
      t[1792 + (c & 0xff)] ^ t[1536 + ((c >>> 8) & 0xff)] ^
      t[1280 + ((c >>> 16) & 0xff)] ^ t[1024 + (c >>> 24)] ^
      t[768 + (d & 0xff)] ^ t[512 + ((d >>> 8) & 0xff)] ^
      t[256 + ((d >>> 16) & 0xff)] ^ t[d >>> 24];
  }
  for (; at < to; at += 1) crc = (crc >>> 8) ^ t[(crc ^ bytes[at]) & 0xff];
  return ~crc >>> 0;
}
