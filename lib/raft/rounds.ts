/**
 * A leader's rounds: the numbered moments that answers refer to. Of each round only the moment of
 * sending matters, and an earlier moment is always a safe answer, so rounds sent within the same
 * millisecond share the first one's.
 */

/** Rounds that share a moment are those less than this far apart. */
const GRAIN_MS = 1;

export class Rounds {
  /** Number of the latest round; 0 before the first. */
  latest = 0;
  /** `[first round, moment]`, ascending in both. */
  private moments: [first: number, sentMs: number][] = [];

  /** Opens the next round. */
  open(nowMs: number): number {
    this.latest += 1;
    const newest = this.moments[this.moments.length - 1];
    if (newest === undefined || nowMs - newest[1] >= GRAIN_MS) {
      this.moments.push([this.latest, nowMs]);
    }
    return this.latest;
  }

  /** When `round` was sent; minus infinity where that is forgotten or it never was. */
  sentMs(round: number): number {
    if (round > this.latest) return -Infinity;
    for (let at = this.moments.length - 1; at >= 0; at -= 1) {
      if (this.moments[at][0] <= round) return this.moments[at][1];
    }
    return -Infinity;
  }

  /** Forgets moments before `nowMs - keepMs`, which decide nothing any more. */
  forget(beforeMs: number): void {
    let count = 0;
    while (count < this.moments.length - 1 && this.moments[count][1] < beforeMs) count += 1;
    if (count > 0) this.moments.splice(0, count);
  }
}
