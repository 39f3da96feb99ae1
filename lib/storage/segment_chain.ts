/** Which segment files of a directory make up the log, and which no longer count. */

import type { Index } from "../raft/types.ts";
import type { Disk } from "./disk.ts";
import { joinPath, parseSegmentName, segmentName } from "./layout.ts";
import { openSegment, type Segment } from "./segment.ts";
import type { GroupIdentity } from "./store.ts";

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
  /** Empty files after `newest`. */
  readonly empty: readonly SegmentPlace[];
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
  const empty: SegmentPlace[] = [];
  // The only file of a log held its first term and vote: empty, it is damage.
  while (left.length > 1 && isEmpty(disk, directory, left[left.length - 1])) {
    empty.unshift(left.pop()!);
  }
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
  return { places, newest, leftovers: left, empty };
}

function isEmpty(disk: Disk, directory: string, place: SegmentPlace): boolean {
  const file = disk.open(joinPath(directory, segmentName(place.number, place.first)), "read");
  try {
    return file.size() === 0;
  } finally {
    file.close();
  }
}
