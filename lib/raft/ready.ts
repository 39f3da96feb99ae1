/** Puts a {@link Ready} together from what the parts left in the outbox and the log. */

import type { Core } from "./core.ts";
import type { Entry, HardState, Ready } from "./types.ts";

/** Entries handed out for applying at once: at least one, then while they fit. */
const APPLY_BATCH_BYTES = 1024 * 1024;

const NONE: readonly never[] = [];

export function assembleReady(core: Core, sequence: number): Ready | null {
  const { out, log, durability } = core;
  const committed = takeCommitted(core);
  const { messages, messagesAfterSync, outcomes, fetches, snapshotsToSend, snapshot } = out;
  const entries = log.taken < log.last.index ? log.takeUnstored() : NONE;
  const voted = core.term !== core.stored.term || core.vote !== core.stored.vote;
  const writes = voted || entries.length > 0 || snapshot !== null;
  if (
    !writes && committed.length === 0 && messages.length === 0 &&
    messagesAfterSync.length === 0 && outcomes.length === 0 && fetches.length === 0 &&
    snapshotsToSend.length === 0
  ) return null;
  const hardState = writes ? takeHardState(core) : null;
  // An answer about what an earlier Ready writes must wait for that one as well.
  const mustSync = writes || (messagesAfterSync.length > 0 && durability.waiting);
  if (mustSync) durability.submit(sequence, log.taken, core.term, core.vote, core.nowMs);
  return {
    sequence,
    hardState,
    mustSync,
    snapshot,
    entries,
    messages,
    messagesAfterSync,
    committed,
    fetches,
    snapshotsToSend,
    outcomes,
  };
}

/**
 * The hard state where it differs from what storage has. A new commit index rides along with
 * other writes and never causes one; it names only what is durable already, so that it does not
 * run ahead of the log that a crash leaves.
 */
function takeHardState(core: Core): HardState | null {
  const { term, vote, stored, log, out } = core;
  const durable = Math.min(log.commit, core.durability.index);
  const commit = Math.max(durable, stored.commit, out.snapshot?.last.index ?? 0);
  if (term === stored.term && vote === stored.vote && commit === stored.commit) return null;
  core.stored = { term, vote, commit };
  return core.stored;
}

/**
 * The next entries to apply. What is committed but not durable here waits: otherwise a machine's
 * state could survive a crash that its log does not. One batch at a time bounds the memory.
 */
function takeCommitted(core: Core): readonly Entry[] {
  const { log } = core;
  const limit = Math.min(log.commit, core.durability.index);
  if (log.applying >= limit || log.applied < log.applying) return NONE;
  if (log.isCached(log.applying + 1)) return log.takeCommitted(limit, APPLY_BATCH_BYTES);
  const entries = core.fetchedSelf;
  if (entries.length === 0) {
    fetchSelf(core);
    return NONE;
  }
  core.fetchedSelf = [];
  log.applying = entries[entries.length - 1].index;
  return entries;
}

function fetchSelf(core: Core): void {
  if (core.fetching.has(core.id)) return;
  core.fetching.add(core.id);
  core.out.fetches.push({
    to: core.id,
    from: core.log.applying + 1,
    maxBytes: APPLY_BATCH_BYTES,
  });
}
