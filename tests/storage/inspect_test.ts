/** What people are shown of a data directory, and how groups are found in it. */

import { assert, assertEquals } from "@std/assert";
import type { Disk, DiskFile } from "../../lib/storage/disk.ts";
import { listGroups } from "../../lib/storage/groups.ts";
import { groupDirectory } from "../../lib/storage/layout.ts";
import { openDataDirectory } from "../../lib/storage/identity.ts";
import {
  type GroupCheck,
  inspectDirectory,
  recordsOf,
  verifyDirectory,
} from "../../lib/storage/inspect.ts";
import { CorruptFileError, RecordKind } from "../../lib/storage/record.ts";
import { change, commands, identity, membershipOf, openLog, storeSnapshot } from "./fixtures.ts";
import { type Image, JournalDisk } from "./journal_disk.ts";

const hardState = { term: 2, vote: "r2", commit: 12 };

function twoGroups(): JournalDisk {
  const disk = new JournalDisk();
  openDataDirectory(disk, { newReplicaId: () => "r1", name: "a1" }).close();
  const log = openLog(disk, { segmentBytes: 600, directory: groupDirectory(1) });
  for (let index = 1; index <= 11; index += 2) log.append(hardState, commands(index, index + 1, 1));
  log.append(null, [change(13, 2, membershipOf("r1", "r2"))]);
  log.trimPrefix(storeSnapshot(log, 4, 1));
  log.close();
  const other = openLog(disk, { group: "../x", directory: groupDirectory(2) });
  other.append({ term: 1, vote: null, commit: 0 }, []);
  return disk;
}

Deno.test("groups lie in numbered directories and are found by what their files say", () => {
  const groups = listGroups(twoGroups());
  assertEquals(groups.map(({ directory, identity }) => [directory, identity?.group]), [
    ["groups/00000001", "p/1/0"],
    ["groups/00000002", "../x"],
  ]);
});

Deno.test("a group that cannot be read does not hide the others", () => {
  const disk = twoGroups();
  const image = new Map(disk.image());
  for (const path of image.keys()) {
    const ofFirst = path.startsWith("groups/00000001/") && path.endsWith(".segment");
    if (ofFirst) image.set(path, new Uint8Array(50));
  }
  const [first, second] = listGroups(new JournalDisk(image));
  assert(first.identity === null && first.fault instanceof CorruptFileError, "the fault is told");
  assertEquals(second.identity?.group, "../x");
});

Deno.test("an inspection tells everything and changes nothing", () => {
  const disk = twoGroups();
  const before = disk.count;
  const { identity: owner, groups, faults } = inspectDirectory(disk);
  assertEquals([owner?.replicaId, owner?.startCounter, faults], ["r1", 1, []]);
  assertEquals(groups.map((group) => group.identity?.group), [identity.group, "../x"]);
  const [first, second] = groups;
  assertEquals(first.faults, []);
  assertEquals(first.log?.hardState, hardState);
  assertEquals(first.log?.last, { index: 13, term: 2 });
  assertEquals(first.log?.base?.last, { index: 4, term: 1 });
  assertEquals(first.log?.membership, membershipOf("r1", "r2"));
  assertEquals(first.snapshots.map(({ stateBytes }) => stateBytes), [100]);
  assert(first.segments.length > 1, "there are several segments");
  assertEquals(first.segments.map(({ indexed }) => indexed).slice(-2), [true, null]);
  const entries = first.segments.reduce((sum, segment) => sum + segment.entries, 0);
  assertEquals(entries, 13 - first.segments[0].first + 1);
  assertEquals(second.log?.hardState, { term: 1, vote: null, commit: 0 });
  assertEquals(disk.count, before);
});

Deno.test("the records of a segment are listed in file order", () => {
  const disk = twoGroups();
  const [group] = inspectDirectory(disk).groups;
  const newest = group.segments[group.segments.length - 1];
  const kinds = [...recordsOf(disk, group.directory, newest)].map(({ kind }) => kind);
  assertEquals(kinds.slice(-2), [RecordKind.entry, RecordKind.base]);
});

Deno.test("verify names every damaged file with its offset", () => {
  const disk = twoGroups();
  const image = new Map([...disk.image()].map(([path, bytes]) => [path, bytes.slice()]));
  const damaged: string[] = [];
  for (const [path, bytes] of image) {
    // The mark vouches for the end of the log: it is the one that must not rot along with it.
    if (/reserve|lock|synced|00000002\//.test(path)) continue;
    bytes[bytes.length >> 1] ^= 1;
    damaged.push(path);
  }
  const faults = verifyDirectory(new JournalDisk(image as Image));
  assertEquals([...new Set(faults.map(({ file }) => file))].sort(), damaged.sort());
  assert(faults.every(({ offset }) => offset !== null), "every fault has a place");
  const harmless = faults.filter((fault) => fault.harmless).map(({ file }) => file);
  assertEquals(harmless.sort(), damaged.filter((file) => /index|starts/.test(file)).sort());
  assert(harmless.length > 1, "indexes are checked");
});

/** A disk that is written to while it is read: after some reads, `change` happens once. */
class BusyDisk extends JournalDisk {
  constructor(
    image: Image,
    private readsLeft: number,
    private readonly goOn: (disk: Disk) => void,
  ) {
    super(image);
  }

  override open(path: string, mode: "read" | "write" | "create"): DiskFile {
    if (mode === "read") this.readsLeft -= 1;
    if (this.readsLeft === 0) {
      this.readsLeft = Infinity;
      this.goOn(this);
      this.readsLeft = Infinity;
    }
    return super.open(path, mode);
  }
}

Deno.test("a directory in use has no faults, whatever happens between two reads", () => {
  const disk = new JournalDisk();
  openDataDirectory(disk, { newReplicaId: () => "r1", name: "a1" }).close();
  const log = openLog(disk, { segmentBytes: 600 });
  for (let index = 1; index <= 21; index += 2) log.append(hardState, commands(index, index + 1, 1));
  log.syncNow();
  const meta = storeSnapshot(log, 8, 1);
  storeSnapshot(log, 4, 1);
  const image = disk.image();
  /** The server goes on: it trims, rolls, syncs and states how far. */
  const change = (busy: Disk) => {
    const running = openLog(busy, { segmentBytes: 600 });
    running.append(hardState, commands(23, 40, 2));
    running.syncNow();
    running.append(hardState, commands(41, 44, 2));
    running.syncNow();
    running.mark();
    running.trimPrefix(meta);
    running.removeSnapshot(4);
  };
  let reads = 1;
  for (let count = 1; count < 200; count += 1) {
    const busy = new BusyDisk(image, count, change);
    const before = busy.count;
    assertEquals(verifyDirectory(busy), [], `the change came at read ${count}`);
    if (busy.count > before) reads += 1;
  }
  assert(reads > 20, "the change came at many places");
});

Deno.test("a check that is handed in is made in every group", () => {
  const check: GroupCheck = (_, { directory }) => {
    throw new CorruptFileError(`${directory}/hosting`, 16, "it is not what was written");
  };
  const faults = verifyDirectory(twoGroups(), [check]);
  const named = ["groups/00000001/hosting", "groups/00000002/hosting"];
  assertEquals(faults.map(({ file, harmless }) => [file, harmless]), [
    [named[0], false],
    [named[1], false],
  ]);
});
