/**
 * Keys in the order of their bytes. A key is bytes of any kind; in maps it stands as a string with
 * one character for each byte, so that strings compare as the bytes do.
 */

/** Characters built at a time: more arguments would overflow the stack. */
const CHUNK = 8_192;

export function keyOf(bytes: Uint8Array): string {
  if (bytes.length <= CHUNK) return String.fromCharCode(...bytes);
  let key = "";
  for (let at = 0; at < bytes.length; at += CHUNK) {
    key += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  }
  return key;
}

export function bytesOf(key: string): Uint8Array {
  const bytes = new Uint8Array(key.length);
  for (let at = 0; at < key.length; at += 1) bytes[at] = key.charCodeAt(at);
  return bytes;
}
