/**
 * Scrubbing: closed segments are read in the background, so that rot is found while other replicas
 * still hold what it took. Nothing else reads old entries for as long as no follower or consumer
 * asks for them, and opening a log trusts the index files.
 *
 * One stretch of one group is read at a time, at a low rate, and not while the process is late with
 * its timers. What has rotted is repaired from the other members (repair.ts); where there are none
 * it is reported. The operating system may answer from its cache, which hides rot of the medium
 * until the pages are read anew.
 */

import type { Clock } from "../base/clock.ts";
import { toTrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Index } from "../raft/types.ts";
import type { Replica } from "./replica.ts";

export interface ScrubOptions {
  /** Most bytes of entries read in a second. */
  readonly bytesPerSecond: number;
  /** Time from the end of one pass over all groups to the beginning of the next. */
  readonly everyMs: number;
}

/** Half a tebibyte takes three days; a mebibyte of checksums costs less than a millisecond. */
export const SCRUB: ScrubOptions = {
  bytesPerSecond: 2 * 1024 * 1024,
  everyMs: 6 * 60 * 60 * 1_000,
};

const STEP_MS = 125;
/** A timer that fires so much too late shows that the process has enough to do. */
const LATE_MS = 25;

export class Scrub {
  /** Groups that this pass has yet to read. */
  private left: string[] = [];
  private next: Index = 0;
  private current: string | null = null;

  constructor(
    private readonly clock: Clock,
    private readonly logger: Logger,
    private readonly groups: ReadonlyMap<string, Replica>,
    private readonly options: ScrubOptions,
    private readonly stopped: () => boolean,
  ) {}

  start(): void {
    this.stepIn(STEP_MS);
  }

  private stepIn(delayMs: number): void {
    const dueMs = this.clock.monotonicMs() + delayMs;
    this.clock.after(delayMs, () => {
      if (this.stopped()) return;
      const late = this.clock.monotonicMs() - dueMs > LATE_MS;
      const passEnds = !late && !this.step();
      this.stepIn(passEnds ? this.options.everyMs : STEP_MS);
    });
  }

  /** Reads the next stretch; false at the end of a pass. */
  private step(): boolean {
    if (this.current === null) {
      if (this.left.length === 0) this.left = [...this.groups.keys()];
      this.current = this.left.shift() ?? null;
      this.next = 0;
    }
    const replica = this.current === null ? undefined : this.groups.get(this.current);
    if (replica === undefined || !this.read(replica)) this.current = null;
    return this.current !== null || this.left.length > 0;
  }

  /** Reads on in one log; false where this pass is done with it. */
  private read(replica: Replica): boolean {
    const { store, repair } = replica;
    const newest = store.segmentStarts().at(-1)?.first ?? 0;
    const from = Math.max(this.next, store.firstIndex());
    if (from >= newest || repair.underWay) return false;
    const maxBytes = this.options.bytesPerSecond * STEP_MS / 1_000;
    try {
      const entries = repair.read(from, maxBytes);
      if (entries === null || entries.length === 0) return false;
      this.next = from + entries.length;
    } catch (thrown) {
      const error = toTrilogError(thrown);
      if (error.code !== "corrupt") throw thrown;
      this.logger.error("entries have rotted, and no other replica could repair them", {
        group: replica.group,
        from,
        reason: error.message,
      });
      return this.skipSegment(replica, from);
    }
    return true;
  }

  private skipSegment({ store }: Replica, from: Index): boolean {
    const following = store.segmentStarts().find(({ first }) => first > from);
    this.next = following?.first ?? Infinity;
    return following !== undefined;
  }
}
