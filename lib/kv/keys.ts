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

/**
 * The keys that exist, sorted when somebody asks: adding a key costs nothing but its place in a
 * list, and looking through them sorts what was added since and merges it.
 */
export class SortedKeys {
  private sorted: string[] = [];
  private readonly added = new Set<string>();
  private readonly removed = new Set<string>();

  /** `key` was not there before. */
  add(key: string): void {
    if (!this.removed.delete(key)) this.added.add(key);
  }

  /** `key` was there before. */
  remove(key: string): void {
    if (!this.added.delete(key)) this.removed.add(key);
  }

  all(): readonly string[] {
    if (this.added.size + this.removed.size > 0) {
      const kept = this.sorted.filter((key) => !this.removed.has(key));
      this.sorted = merged(kept, [...this.added].sort());
      this.added.clear();
      this.removed.clear();
    }
    return this.sorted;
  }

  /** Keys that begin with `prefix`, those after `after` ("" for all), in order. */
  *from(prefix: string, after: string): Generator<string, void, void> {
    const keys = this.all();
    const first = after >= prefix ? firstAt(keys, (key) => key > after) : firstAt(
      keys,
      (key) => key >= prefix,
    );
    for (let at = first; at < keys.length && keys[at].startsWith(prefix); at += 1) yield keys[at];
  }
}

function merged(left: readonly string[], right: readonly string[]): string[] {
  const all: string[] = [];
  let at = 0;
  for (const key of left) {
    while (at < right.length && right[at] < key) all.push(right[at++]);
    all.push(key);
  }
  for (; at < right.length; at += 1) all.push(right[at]);
  return all;
}

/** Where the first key stands for which `holds`, which is false before it and true from it on. */
function firstAt(keys: readonly string[], holds: (key: string) => boolean): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(keys[middle])) high = middle;
    else low = middle + 1;
  }
  return low;
}
