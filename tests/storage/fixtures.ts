/** Entries, memberships and logs that the storage tests share. */

import { encodeMembership } from "../../lib/raft/membership.ts";
import { type Entry, EntryKind, type Membership } from "../../lib/raft/types.ts";
import type { Disk } from "../../lib/storage/disk.ts";
import { openSegmentLog } from "../../lib/storage/segment_log.ts";
import type { LogStore } from "../../lib/storage/store.ts";

export const identity = { cluster: "c0ffee00c0ffee00", group: "p/1/0" };
export const directory = "groups/00000001";

export function membershipOf(...voters: string[]): Membership {
  const nodes = Object.fromEntries(
    voters.map((id, at) => [id, { name: `a${at + 1}`, address: `127.0.0.1:${7001 + at}` }]),
  );
  return { voters, outgoing: [], learners: [], learnersNext: [], nodes };
}

export const founders = membershipOf("r1", "r2", "r3");

export function command(index: number, term: number, bytes = 24): Entry {
  const data = new Uint8Array(bytes).fill(index * 7 + term);
  return { index, term, kind: EntryKind.command, timeMs: 1_000 + index + term / 4, data };
}

export function commands(from: number, to: number, term: number, bytes = 24): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, at) => command(from + at, term, bytes));
}

export function change(index: number, term: number, membership: Membership): Entry {
  const data = encodeMembership(membership);
  return { index, term, kind: EntryKind.membership, timeMs: 1_000 + index, data };
}

export interface LogSettings {
  readonly segmentBytes?: number;
  readonly group?: string;
  readonly directory?: string;
}

export function openLog(disk: Disk, settings: LogSettings = {}): LogStore {
  return openSegmentLog(disk, {
    identity: { ...identity, group: settings.group ?? identity.group },
    directory: settings.directory ?? directory,
    bootstrap: founders,
    segmentBytes: settings.segmentBytes ?? 64 * 1024,
  });
}

/** Stores a snapshot of `state` that ends at an entry. */
export function storeSnapshot(
  log: LogStore,
  index: number,
  term: number,
  state = new Uint8Array(100).fill(index),
  membership = founders,
) {
  const meta = { last: { index, term }, timeMs: command(index, term).timeMs, membership };
  const writer = log.beginSnapshot(meta);
  writer.write(state);
  writer.commit();
  return meta;
}

/** Everything above the base that a log holds. */
export function allEntries(log: LogStore, from = log.firstIndex()): Entry[] {
  const entries: Entry[] = [];
  // A read ends before bytes that have rotted; the next one throws.
  for (let next = from; next <= log.lastIndex(); next = from + entries.length) {
    entries.push(...log.read(next, Number.MAX_SAFE_INTEGER));
  }
  return entries;
}
