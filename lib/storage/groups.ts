/** The groups of a data directory: numbered directories whose segments say which group it is. */

import type { Disk } from "./disk.ts";
import type { Identity, StoredGroup } from "./identity.ts";
import { groupDirectory, groupNumbers } from "./layout.ts";
import { corrupt, CorruptFileError } from "./record.ts";
import { listSegments } from "./segment_chain.ts";
import { openSegment } from "./segment.ts";
import type { GroupIdentity } from "./store.ts";

export interface GroupDirectory {
  readonly number: number;
  /** Path for `OpenOptions.directory`. */
  readonly directory: string;
  /** Null: the directory was made, but no log in it; or `fault` says why it cannot be told. */
  readonly identity: GroupIdentity | null;
  /** The `corrupt` or `unsupported_version` error that hides the identity. */
  readonly fault: unknown;
}

/** All group directories, ascending by number. One that cannot be read does not hide the others. */
export function listGroups(disk: Disk): GroupDirectory[] {
  return groupNumbers(disk).map((number) => {
    const directory = groupDirectory(number);
    try {
      return { number, directory, identity: identityOf(disk, directory), fault: null };
    } catch (fault) {
      return { number, directory, identity: null, fault };
    }
  });
}

/** Any segment tells; the newest first, since an older one may be a leftover. */
function identityOf(disk: Disk, directory: string): GroupIdentity | null {
  const places = listSegments(disk, directory).reverse();
  let fault: unknown = null;
  for (const place of places) {
    try {
      const { file, header } = openSegment(disk, directory, place, null, "read");
      file.close();
      const { cluster, group, replica } = header;
      return { cluster, group, replica: replica ?? undefined };
    } catch (thrown) {
      fault ??= thrown;
    }
  }
  if (fault !== null) throw fault;
  return null;
}

/** A group that the identity file names and that its directory does not hold as it should. */
export interface LostGroup extends StoredGroup {
  /** Path of the directory where it belongs. */
  readonly directory: string;
  /** Whether another replica's or another group's files are there instead. */
  readonly foreign: boolean;
  /** Whether files are there that cannot be read: `fault` names the file and the place. */
  readonly unreadable: boolean;
  /** What is wrong. */
  readonly fault: CorruptFileError;
}

/** What the disk holds, held against what the identity file names. */
export interface Census {
  /** Directories that hold what the identity file says; all of them where it says nothing. */
  readonly sound: readonly GroupDirectory[];
  readonly lost: readonly LostGroup[];
  /** Directories that the identity file does not name. */
  readonly unnamed: readonly GroupDirectory[];
}

/** Compares the group directories with `identity.groups`. */
export function takeCensus(disk: Disk, identity: CensusIdentity): Census {
  const found = listGroups(disk);
  if (identity.groups === null) return { sound: found, lost: [], unnamed: [] };
  const byNumber = new Map(found.map((group) => [group.number, group]));
  const sound: GroupDirectory[] = [];
  const lost: LostGroup[] = [];
  for (const named of identity.groups) {
    const there = byNumber.get(named.number);
    byNumber.delete(named.number);
    const fault = faultOf(identity, named, there);
    if (fault === null) sound.push(there!);
    else lost.push({ ...named, directory: groupDirectory(named.number), ...fault });
  }
  return { sound, lost, unnamed: [...byNumber.values()] };
}

type CensusIdentity = Pick<Identity, "replicaId" | "cluster" | "groups">;

function faultOf(
  { replicaId, cluster }: CensusIdentity,
  { number, group }: StoredGroup,
  there: GroupDirectory | undefined,
): Pick<LostGroup, "foreign" | "unreadable" | "fault"> | null {
  const directory = groupDirectory(number);
  const lost = (state: string, foreign = false) => ({
    foreign,
    unreadable: false,
    fault: corrupt(directory, 0, `${state}, but the identity file names group ${group}`),
  });
  if (there === undefined) return lost("the directory is missing");
  if (there.fault instanceof CorruptFileError) {
    return { foreign: false, unreadable: true, fault: there.fault };
  }
  if (there.fault !== null) throw there.fault;
  if (there.identity === null) return lost("the directory holds no log");
  const { identity } = there;
  if (identity.group !== group || identity.cluster !== cluster) {
    return lost(`the directory holds group ${identity.group} of ${identity.cluster}`, true);
  }
  const foreign = identity.replica !== undefined && identity.replica !== replicaId;
  return foreign ? lost(`the directory belongs to replica ${identity.replica}`, true) : null;
}
