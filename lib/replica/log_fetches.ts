/**
 * Reads of old entries for the core. A process that may open no more files reads later: an empty
 * answer would mean that the entries are gone.
 */

import type { Clock } from "../base/clock.ts";
import type { Ready } from "../raft/types.ts";
import { isDiskFull } from "../storage/disk.ts";

const AGAIN_MS = 200;

type Fetch = Ready["fetches"][number];

export class LogFetches {
  private waiting: Fetch[] = [];

  constructor(
    private readonly read: (fetch: Fetch) => void,
    private readonly clock: Clock,
    /** Has {@link retry} called in the next turn. */
    private readonly markDirty: () => void,
  ) {}

  take(fetches: readonly Fetch[]): void {
    for (const fetch of fetches) this.tryToRead(fetch);
  }

  retry(): void {
    if (this.waiting.length === 0) return;
    const again = this.waiting;
    this.waiting = [];
    this.take(again);
  }

  private tryToRead(fetch: Fetch): void {
    try {
      this.read(fetch);
    } catch (thrown) {
      if (!isDiskFull(thrown)) throw thrown;
      this.waiting.push(fetch);
      this.clock.after(AGAIN_MS, this.markDirty);
    }
  }
}
