/**
 * What a broker keeps beside the log of each group it hosts: a small checksummed file in the
 * group's directory, replaced as a whole. It says which group and epoch the directory belongs to
 * even where the log can no longer be read, and in which state the replica is, so that a crash at
 * any moment leaves something that the next start can finish:
 *
 * - no notes, and the identity file does not name the group: nothing was promised yet; the directory
 *   is removed, and made again. Where the identity file names it, the notes were lost: fenced.
 * - `open`: the replica takes part as soon as the process starts.
 * - `fenced`: its log has rotted. It may have forgotten a vote or entries that it acknowledged, so
 *   it never takes part again; only the group itself can let it begin anew (rebuilding.ts).
 * - `deleting`: a tombstone allowed it; the rest is removed.
 */

import { type Codec, grown, name, nullable, record, token, whole, word } from "../base/codec.ts";
import { pack, unpack } from "../base/msgpack.ts";
import type { LogId } from "../raft/types.ts";
import type { Disk } from "../storage/disk.ts";
import { encodeChecked, Magic, readChecked, replaceFile } from "../storage/file_format.ts";
import { joinPath } from "../storage/layout.ts";

export const NOTES_FILE = "hosting";

export type HostingState = "open" | "fenced" | "deleting";

export interface HostingNotes {
  readonly groupId: string;
  readonly epoch: number;
  readonly topic: string;
  readonly partition: number;
  readonly state: HostingState;
  /** Version of the assignments that asked for this replica: older tombstones are not its own. */
  readonly assignedVersion: number;
  /** See `lib/replica/floor.ts`; zero for none. */
  readonly floor: LogId;
  /** Replica whose directory this is; null in format version 1. */
  readonly replica: string | null;
}

const fullNotes: Codec<HostingNotes> = record<HostingNotes>({
  groupId: token,
  epoch: whole,
  topic: name,
  partition: whole,
  state: word("open", "fenced", "deleting"),
  assignedVersion: whole,
  floor: record<LogId>({ index: whole, term: whole }),
  replica: nullable(token),
});
const codec = grown(fullNotes, { fields: 7, added: [null] });

/** The notes in a group's directory; null where there are none; throws `corrupt`. */
export function readNotes(disk: Disk, directory: string): HostingNotes | null {
  const path = joinPath(directory, NOTES_FILE);
  if (!disk.exists(path)) return null;
  return codec.decode(unpack(readChecked(disk, path, Magic.hosting, 0)), "hosting notes");
}

/** Replaces the notes durably. */
export function writeNotes(disk: Disk, directory: string, notes: HostingNotes): void {
  const bytes = encodeChecked(Magic.hosting, 0, pack(codec.encode(notes)));
  replaceFile(disk, directory, NOTES_FILE, bytes);
}

/** The name under which a group's log is stored and its messages travel: other epochs are others. */
export function raftGroup({ groupId, epoch }: { groupId: string; epoch: number }): string {
  return `${groupId}@${epoch}`;
}

/** Notes in place of lost ones, from the name under which the log is or was stored. */
export function notesOfLost(group: string, replica: string): HostingNotes {
  const at = group.lastIndexOf("@");
  return {
    groupId: group.slice(0, at),
    epoch: Number(group.slice(at + 1)),
    topic: "unknown",
    partition: 0,
    state: "fenced",
    assignedVersion: 0,
    floor: { index: 0, term: 0 },
    replica,
  };
}
