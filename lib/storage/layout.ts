/**
 * Where things lie in a data directory. Names given by people never become paths: groups are
 * numbered directories, and who they are stands inside their files.
 *
 *   lock                                     held by the process that uses the directory
 *   identity                                 see identity.ts
 *   starts                                   its start counter once more (start_count.ts)
 *   groups/00000001/                         one per group
 *     00000002-0000000000000042.segment      running number, first index
 *     00000002.index                         of a closed segment; can be rebuilt
 *     0000000000000041-0000000000000003.snapshot   last index, its term
 *     hosting                                a broker's notes on the replica (lib/broker)
 *     synced                                 how far the newest segment is synced (sync_mark.ts)
 *     reserve                                space for term and vote on a full disk
 *     set-aside/                             bytes that recovery took out, for people to look at
 *   set-aside-00000001/                      an identity's whole content after rot (identity.ts)
 *
 * A name that ends in `.tmp` is a file that was never finished.
 */

import type { Index, LogId } from "../raft/types.ts";
import type { Disk } from "./disk.ts";

export const LOCK_FILE = "lock";
export const IDENTITY_FILE = "identity";
export const STARTS_FILE = "starts";
export const GROUPS_DIRECTORY = "groups";
export const RESERVE_FILE = "reserve";
export const SYNC_MARK_FILE = "synced";
export const SET_ASIDE_DIRECTORY = "set-aside";
export const TEMPORARY_SUFFIX = ".tmp";

const NUMBER_DIGITS = 8;
const INDEX_DIGITS = 16;

export function joinPath(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}

function digits(value: number, count: number): string {
  return String(value).padStart(count, "0");
}

export function segmentName(number: number, first: Index): string {
  return `${digits(number, NUMBER_DIGITS)}-${digits(first, INDEX_DIGITS)}.segment`;
}

export function indexName(number: number): string {
  return `${digits(number, NUMBER_DIGITS)}.index`;
}

export function snapshotName(last: LogId): string {
  return `${digits(last.index, INDEX_DIGITS)}-${digits(last.term, INDEX_DIGITS)}.snapshot`;
}

/** Number and first index of a segment file's name; null for any other name. */
export function parseSegmentName(name: string): { number: number; first: Index } | null {
  const match = /^(\d{8,})-(\d{16})\.segment$/.exec(name);
  return match === null ? null : { number: Number(match[1]), first: Number(match[2]) };
}

export function parseIndexName(name: string): number | null {
  const match = /^(\d{8,})\.index$/.exec(name);
  return match === null ? null : Number(match[1]);
}

export function parseSnapshotName(name: string): LogId | null {
  const match = /^(\d{16})-(\d{16})\.snapshot$/.exec(name);
  return match === null ? null : { index: Number(match[1]), term: Number(match[2]) };
}

/** Numbers of the group directories, ascending. */
export function groupNumbers(disk: Disk): number[] {
  return disk.list(GROUPS_DIRECTORY).filter((name) => /^\d{8,}$/.test(name)).map(Number);
}

export function groupDirectory(number: number): string {
  return joinPath(GROUPS_DIRECTORY, digits(number, NUMBER_DIGITS));
}

/** Makes a directory and its parents, and makes them durable. */
export function makeDurableDirectory(disk: Disk, path: string): void {
  disk.makeDirectory(path);
  syncNames(disk, path);
}

/** Makes the names in a directory durable, and those that lead to it. */
export function syncNames(disk: Disk, path: string): void {
  const parts = path.split("/");
  for (let depth = parts.length; depth > 0; depth -= 1) {
    disk.syncDirectory(parts.slice(0, depth).join("/"));
  }
  disk.syncDirectory("");
}

/** A set-aside directory that does not exist yet, in the data directory's root. */
export function nextSetAsideDirectory(disk: Disk): string {
  let number = 1;
  while (disk.exists(`set-aside-${digits(number, NUMBER_DIGITS)}`)) number += 1;
  return `set-aside-${digits(number, NUMBER_DIGITS)}`;
}
