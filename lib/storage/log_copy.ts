/**
 * Copies a log into another group, in which it goes on with another membership: what recovery with
 * loss is made of. Indexes and terms stay, so that whatever refers to them stays right; memberships
 * of the old group become empty entries, since they mean nothing in the new one.
 */

import { EMPTY_BYTES } from "../base/bytes.ts";
import { type Entry, EntryKind, type Membership, type Term } from "../raft/types.ts";
import type { LogStore } from "./store.ts";

export interface LogSuccession {
  /** Members of the group that the log goes on in; the copy must have been opened with it. */
  readonly membership: Membership;
  /** The next leader's term is above this one, and above all terms of the log. */
  readonly term: Term;
  /** Commands that follow the last entry. */
  readonly commands: readonly Uint8Array[];
  /** Called between parts, so that a large log does not keep the process from other work. */
  readonly pause: () => Promise<void>;
}

const PART_BYTES = 1024 * 1024;

/** Fills the empty log `to` with all that `from` holds, durably. Throws what the stores throw. */
export async function copyLog(
  from: LogStore,
  to: LogStore,
  succession: LogSuccession,
): Promise<void> {
  const { membership, commands, pause } = succession;
  const { hardState, snapshot, last, lastTimeMs } = from.recovered;
  const term = Math.max(hardState.term, succession.term, last.term);
  const present = { term, vote: null, commit: snapshot?.last.index ?? 0 };
  if (snapshot !== null) {
    await copySnapshot(from, to, snapshot.last.index, membership, pause);
    to.adoptSnapshot({ ...snapshot, membership }, present);
  } else to.append(present, []);
  for (let next = from.firstIndex(); next <= last.index;) {
    const entries = from.read(next, PART_BYTES);
    to.append(null, entries.map(succeeding));
    next += entries.length;
    await to.sync();
    await pause();
  }
  const index = last.index + 1;
  const added = commands.map((data, at): Entry => {
    return { index: index + at, term, kind: EntryKind.command, timeMs: lastTimeMs, data };
  });
  if (added.length > 0) to.append(null, added);
  await to.sync();
}

function succeeding(entry: Entry): Entry {
  if (entry.kind !== EntryKind.membership) return entry;
  return { ...entry, kind: EntryKind.noop, data: EMPTY_BYTES };
}

async function copySnapshot(
  from: LogStore,
  to: LogStore,
  index: number,
  membership: Membership,
  pause: () => Promise<void>,
): Promise<void> {
  const reader = from.openSnapshot(index)!;
  try {
    const writer = to.beginSnapshot({ ...reader.meta, membership });
    try {
      for (let at = 0; at < reader.size; at += PART_BYTES) {
        writer.write(reader.read(at, Math.min(PART_BYTES, reader.size - at)));
        await pause();
      }
      writer.commit();
    } catch (thrown) {
      writer.abort();
      throw thrown;
    }
  } finally {
    reader.close();
  }
}
