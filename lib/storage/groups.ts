/** The groups of a data directory: numbered directories whose segments say which group it is. */

import type { Disk } from "./disk.ts";
import { groupDirectory, groupNumbers } from "./layout.ts";
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
      return { cluster: header.cluster, group: header.group };
    } catch (thrown) {
      fault ??= thrown;
    }
  }
  if (fault !== null) throw fault;
  return null;
}
