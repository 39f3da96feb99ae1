/** A data directory that is only looked at: for `trilog inspect` and `trilog verify`. */

import { TrilogError } from "../lib/base/errors.ts";
import { NOTES_FILE, raftGroup, readNotes } from "../lib/broker/hosting_notes.ts";
import type { Disk } from "../lib/storage/disk.ts";
import { DenoDisk } from "../lib/storage/deno_disk.ts";
import type { Fault, GroupCheck } from "../lib/storage/inspect.ts";
import { GROUPS_DIRECTORY, IDENTITY_FILE, joinPath } from "../lib/storage/layout.ts";
import { corrupt } from "../lib/storage/record.ts";

/** Throws `invalid_argument` where there is no data directory: none is ever made. */
export function existingDataDirectory(directory: string): Disk {
  const refuse = (state: string) =>
    new TrilogError("invalid_argument", `Cannot look into ${directory}: ${state}`);
  try {
    if (!Deno.statSync(directory).isDirectory) throw refuse("it is not a directory");
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) throw refuse("there is no such directory");
    throw thrown;
  }
  const disk = new DenoDisk(directory);
  if (!disk.exists(IDENTITY_FILE) && !disk.exists(GROUPS_DIRECTORY)) {
    throw refuse("it is no data directory of a node (give it what --data was given)");
  }
  return disk;
}

/** A broker's notes on a replica must be readable and belong to the log beside them. */
const checkNotes: GroupCheck = (disk, { directory, identity }) => {
  const notes = readNotes(disk, directory);
  if (notes === null || identity === null || raftGroup(notes) === identity.group) return;
  const state = `it is of group ${raftGroup(notes)}, the log beside it is of ${identity.group}`;
  throw corrupt(joinPath(directory, NOTES_FILE), 0, state);
};

/** What is checked of groups beyond what the storage layer knows. */
export const groupChecks: readonly GroupCheck[] = [checkNotes];

/** A fault for people; most problems name file and offset themselves. */
export function faultLine({ file, offset, problem }: Fault): string {
  if (problem.includes(file)) return problem;
  return `${offset === null ? file : `${file} at offset ${offset}`}: ${problem}`;
}
