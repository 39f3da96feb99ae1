/** Which key ends when: a binary heap, earliest first, equal times in the order of the keys. */

export interface Expiry {
  readonly key: string;
  /** Milliseconds since 1970, in the time of the entries. */
  readonly atMs: number;
}

/** So many expiries that no longer hold may wait beside each one that does. */
const STALE_RATIO = 2;
const STALE_FLOOR = 64;

/**
 * An expiry that was replaced stays in the heap until its time has come; `holds` tells it from
 * one that is in force.
 */
export class Expiries {
  private heap: Expiry[] = [];
  /** Expiries in force. */
  private held = 0;

  constructor(private readonly holds: (expiry: Expiry) => boolean) {}

  add(expiry: Expiry): void {
    this.held += 1;
    this.heap.push(expiry);
    this.rise(this.heap.length - 1);
    if (this.heap.length > STALE_FLOOR + STALE_RATIO * this.held) this.rebuild();
  }

  /** An expiry that was in force is so no more: its key was written or deleted. */
  release(): void {
    this.held -= 1;
  }

  /** The earliest expiry in force, or null. */
  first(): Expiry | null {
    while (this.heap.length > 0 && !this.holds(this.heap[0])) this.dropFirst();
    return this.heap[0] ?? null;
  }

  private rebuild(): void {
    const inForce = this.heap.filter(this.holds).sort((left, right) =>
      isBefore(left, right) ? -1 : 1
    );
    // Two equal expiries of one key are one.
    this.heap = inForce.filter((expiry, at) => at === 0 || isBefore(inForce[at - 1], expiry));
  }

  private dropFirst(): void {
    const last = this.heap.pop()!;
    if (this.heap.length === 0) return;
    this.heap[0] = last;
    let at = 0;
    while (true) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < this.heap.length && isBefore(this.heap[child], this.heap[least])) least = child;
      }
      if (least === at) return;
      this.swap(at, least);
      at = least;
    }
  }

  private rise(from: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!isBefore(this.heap[at], this.heap[parent])) return;
      this.swap(at, parent);
      at = parent;
    }
  }

  private swap(left: number, right: number): void {
    [this.heap[left], this.heap[right]] = [this.heap[right], this.heap[left]];
  }
}

function isBefore(left: Expiry, right: Expiry): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.key < right.key);
}
