/**
 * A map in the order of its keys that can be frozen in no time: keys and values lie in short sorted
 * chunks, and a frozen view shares them. A chunk that is older than the last view is copied before
 * it changes, so a view costs only the chunks that change while it is in use.
 */

/** A chunk of this many keys is cut in two. */
const CHUNK_KEYS = 256;

interface Chunk<V> {
  /** The map's epoch when this chunk was made: older ones may be shared with a view. */
  readonly epoch: number;
  readonly keys: string[];
  readonly values: V[];
}

export class OrderedMap<V> {
  /** In the order of the keys; none is empty. */
  private chunks: Chunk<V>[] = [];
  private epoch = 0;
  private count = 0;

  get size(): number {
    return this.count;
  }

  get(key: string): V | undefined {
    const chunk = this.chunks[this.chunkOf(key)];
    if (chunk === undefined) return undefined;
    const at = lowerBound(chunk.keys, key);
    return chunk.keys[at] === key ? chunk.values[at] : undefined;
  }

  set(key: string, value: V): void {
    const slot = this.chunkOf(key);
    if (slot === this.chunks.length) {
      this.chunks.push({ epoch: this.epoch, keys: [key], values: [value] });
      this.count += 1;
      return;
    }
    const { keys, values } = this.own(slot);
    const at = lowerBound(keys, key);
    if (keys[at] === key) {
      values[at] = value;
      return;
    }
    keys.splice(at, 0, key);
    values.splice(at, 0, value);
    this.count += 1;
    if (keys.length > CHUNK_KEYS) this.split(slot);
  }

  delete(key: string): boolean {
    const slot = this.chunkOf(key);
    const at = slot === this.chunks.length ? -1 : lowerBound(this.chunks[slot].keys, key);
    if (this.chunks[slot]?.keys[at] !== key) return false;
    const { keys, values } = this.own(slot);
    keys.splice(at, 1);
    values.splice(at, 1);
    this.count -= 1;
    if (keys.length === 0) this.chunks.splice(slot, 1);
    return true;
  }

  /** Entries whose key begins with `prefix`, those after `after` ("" for all), in order. */
  *from(prefix: string, after: string): Generator<readonly [string, V], void, void> {
    const start = after >= prefix ? after : prefix;
    for (let slot = this.chunkOf(start); slot < this.chunks.length; slot += 1) {
      const { keys, values } = this.chunks[slot];
      for (let at = lowerBound(keys, start); at < keys.length; at += 1) {
        if (after !== "" && keys[at] <= after) continue;
        if (!keys[at].startsWith(prefix)) return;
        yield [keys[at], values[at]];
      }
    }
  }

  /** All entries of this moment, in order, whatever is changed while they are taken. */
  frozen(): Iterable<readonly [string, V]> {
    this.epoch += 1;
    return entriesOf([...this.chunks]);
  }

  /** Slot of the chunk that `key` is in, or belongs to: the last that begins at or before it. */
  private chunkOf(key: string): number {
    let low = 0;
    let high = this.chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.chunks[middle].keys[0] <= key) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  /** The chunk at `slot`, which no view shows. */
  private own(slot: number): Chunk<V> {
    const chunk = this.chunks[slot];
    if (chunk.epoch === this.epoch) return chunk;
    const { keys, values } = chunk;
    const copy = { epoch: this.epoch, keys: [...keys], values: [...values] };
    this.chunks[slot] = copy;
    return copy;
  }

  /** Cuts a chunk of the present epoch in two; one that grew at its end keeps most of its keys. */
  private split(slot: number): void {
    const { keys, values } = this.chunks[slot];
    const last = slot === this.chunks.length - 1;
    const at = last ? keys.length - CHUNK_KEYS / 8 : keys.length >>> 1;
    const rest = { epoch: this.epoch, keys: keys.splice(at), values: values.splice(at) };
    this.chunks.splice(slot + 1, 0, rest);
  }
}

function* entriesOf<V>(chunks: readonly Chunk<V>[]): Generator<readonly [string, V], void, void> {
  for (const { keys, values } of chunks) {
    for (let at = 0; at < keys.length; at += 1) yield [keys[at], values[at]];
  }
}

/** Where the first key at or above `key` is. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle] < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
