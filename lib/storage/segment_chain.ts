/** Which segment files of a directory make up the log, and which no longer count. */

import type { Index } from "../raft/types.ts";
import type { Disk } from "./disk.ts";
import { joinPath, parseIndexName, parseSegmentName, SYNC_MARK_FILE } from "./layout.ts";
import { corrupt } from "./record.ts";
import { openSegment, type Segment } from "./segment.ts";
import type { GroupIdentity } from "./store.ts";
import type { SyncMark } from "./sync_mark.ts";

/** A segment file, as its name says. */
export interface SegmentPlace {
  readonly number: number;
  readonly first: Index;
}

export interface ChainedPlace extends SegmentPlace {
  /** Bytes of the segment before that belong to the log. */
  readonly previousBytes: number;
}

export interface Chain {
  /** Segments of the log, ascending, numbered without gaps; the last one is `newest`. */
  readonly places: readonly ChainedPlace[];
  readonly newest: Segment;
  /** Older files: below a fresh start, or below a gap that an interrupted removal left. */
  readonly leftovers: readonly SegmentPlace[];
}

/** Segment files of a directory, ascending by number. */
export function listSegments(disk: Disk, directory: string): SegmentPlace[] {
  return disk.list(directory).flatMap((name) => parseSegmentName(name) ?? [])
    .sort((left, right) => left.number - right.number);
}

/**
 * Reads headers from the newest segment back to the one where the log begins; null where there
 * are no segments. `newest` is opened in `mode`. Throws `corrupt` or `unsupported_version`.
 */
export function findChain(
  disk: Disk,
  directory: string,
  identity: GroupIdentity,
  mode: "read" | "write",
): Chain | null {
  const left = listSegments(disk, directory);
  if (left.length === 0) return null;
  const last = left.pop()!;
  const newest = openSegment(disk, directory, last, identity, mode);
  const places = [{ ...last, previousBytes: newest.header.previousBytes }];
  let reset = newest.header.reset;
  try {
    while (!reset && left.at(-1)?.number === places[0].number - 1) {
      const place = left.pop()!;
      const { file, header } = openSegment(disk, directory, place, identity, "read");
      file.close();
      places.unshift({ ...place, previousBytes: header.previousBytes });
      reset = header.reset;
    }
  } catch (thrown) {
    newest.file.close();
    throw thrown;
  }
  return { places, newest, leftovers: left };
}

/**
 * Throws `corrupt` where something proves that a segment after the newest one existed: a segment
 * gets its index file after its successor has its name, and the mark names no segment before that.
 */
export function checkNewest(
  disk: Disk,
  directory: string,
  newest: number,
  mark: SyncMark | null,
): void {
  if (mark !== null && mark.segment > newest) {
    const state = `it names segment ${mark.segment}, the newest one here is ${newest}`;
    throw corrupt(joinPath(directory, SYNC_MARK_FILE), 0, state);
  }
  for (const name of disk.list(directory)) {
    const number = parseIndexName(name);
    if (number === null || number < newest) continue;
    const state = `segment ${number} was closed, but segment ${number + 1} after it is missing`;
    throw corrupt(joinPath(directory, name), 0, state);
  }
}
