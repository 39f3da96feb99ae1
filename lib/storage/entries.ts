/** What every log demands of the entries that are appended to it. */

import { assert } from "../base/assert.ts";
import type { Entry, Index } from "../raft/types.ts";

/** Entries follow each other, leave no gap after `last`, and replace nothing at or below `base`. */
export function checkEntries(entries: readonly Entry[], base: Index, last: Index): void {
  if (entries.length === 0) return;
  const { index } = entries[0];
  assert(index <= last + 1, `entry ${index} leaves a gap after ${last}`);
  assert(index > base, `entry ${index} lies below the snapshot at ${base}`);
  for (let at = 1; at < entries.length; at += 1) {
    assert(entries[at].index === index + at, "entries follow each other");
  }
}

/** No-ops are what a new leader must commit before it serves: they come with its election. */
export function maySpendReserve(entries: readonly Entry[]): boolean {
  return entries.every(({ data }) => data.length === 0);
}
