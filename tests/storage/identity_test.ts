/** Who a data directory is, over restarts, crashes, rot and rollbacks. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import { SimDisk } from "../../lib/sim/disk.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";
import { preamble } from "../../lib/storage/file_format.ts";
import { openDataDirectory, readIdentity, setAside } from "../../lib/storage/identity.ts";
import { takeCensus } from "../../lib/storage/groups.ts";
import { groupDirectory } from "../../lib/storage/layout.ts";
import { CorruptFileError } from "../../lib/storage/record.ts";
import { openSegmentLog } from "../../lib/storage/segment_log.ts";
import { commands, founders, openLog } from "./fixtures.ts";
import { JournalDisk } from "./journal_disk.ts";

function open(disk: JournalDisk, newId = "r1") {
  return openDataDirectory(disk, { newReplicaId: () => newId, name: "a1" });
}

Deno.test("a new directory gets an identity that every later start finds", () => {
  const disk = new JournalDisk();
  const first = open(disk);
  assertEquals([first.replicaId, first.name, first.cluster], ["r1", "a1", null]);
  assertEquals([first.startCounter, first.isMember(), first.founding()], [1, false, null]);
  first.close();
  const second = open(disk, "r2");
  assertEquals([second.replicaId, second.startCounter], ["r1", 2]);
});

Deno.test("a start is counted durably before anything else can happen", () => {
  const disk = new JournalDisk();
  open(disk).close();
  open(disk);
  const after = new JournalDisk(disk.imageAfter(disk.count, { kind: "lost" }));
  assertEquals(readIdentity(after)?.startCounter, 2);
});

Deno.test("a directory in use is refused", () => {
  const disk = new JournalDisk();
  open(disk);
  const refused = assertThrows(() => open(disk), TrilogError);
  assertEquals(refused.code, "data_directory_locked");
});

Deno.test("another node's directory is refused and not counted as started", () => {
  const disk = new JournalDisk();
  open(disk).close();
  const options = { newReplicaId: () => "r9", name: "a2" };
  assertThrows(() => openDataDirectory(disk, options), TrilogError, "belongs to node a1");
  assertEquals(open(disk).startCounter, 2);
});

Deno.test("a disk that failed once is told of once, and never asked again", () => {
  const scheduler = new Scheduler();
  const disk = new SimDisk(new SimProcess(scheduler, "a1"), new Prng(1));
  const directory = openDataDirectory(disk, { newReplicaId: () => "r1", name: "a1" });
  const told: string[] = [];
  directory.onFailed = ({ message }) => told.push(message);
  disk.failSyncs(1);
  for (const counter of [1, 2]) {
    const refused = assertThrows(() => directory.rememberPeerStart("r2", counter), TrilogError);
    assertEquals([refused.code, refused.message], ["disk_failed", told[0]]);
  }
  assertEquals(told.length, 1);
  assertEquals(directory.peerRecord("r2").highestStartCounter, 0);
});

Deno.test("founding, cluster and what is known of peers outlive a power loss", () => {
  const disk = new JournalDisk();
  const opened = open(disk);
  const founding = { cluster: "c1", membership: founders };
  opened.prepare(founding);
  opened.rememberPeerStart("r2", 4);
  opened.rememberPeerStart("r2", 3);
  opened.rememberPeerStart("r3", 1);
  opened.supersede("r3");
  opened.becomeMember("c1");
  const again = open(new JournalDisk(disk.imageAfter(disk.count, { kind: "lost" })));
  assertEquals([again.cluster, again.isMember(), again.founding()], ["c1", true, founding]);
  assertEquals(again.peerRecord("r2"), { superseded: false, highestStartCounter: 4 });
  assertEquals(again.peerRecord("r3"), { superseded: true, highestStartCounter: 0 });
  assertEquals(again.peerRecord("r4"), { superseded: false, highestStartCounter: 0 });
});

Deno.test("a crash at any point of a start leaves the old or the new identity", () => {
  const disk = new JournalDisk();
  open(disk).close();
  const created = disk.count;
  open(disk);
  for (let count = 0; count <= disk.count; count += 1) {
    for (let bytes = 0; bytes <= disk.bytesOfWrite(count); bytes += 1) {
      for (const fate of [{ kind: "lost" }, { kind: "kept" }, { kind: "torn", bytes }] as const) {
        const found = readIdentity(new JournalDisk(disk.imageAfter(count, fate)));
        if (count >= created) assert(found !== null, `${fate.kind} after ${count}`);
        assert(found === null || found.replicaId === "r1", `${fate.kind} after ${count}`);
      }
    }
  }
});

Deno.test("a damaged identity is an error and never a new identity", () => {
  const disk = new JournalDisk();
  open(disk).close();
  const sound = disk.image().get("identity")!;
  for (let position = 0; position < sound.length; position += 1) {
    const bytes = sound.slice();
    bytes[position] ^= 0x10;
    const damaged = new JournalDisk(new Map([["identity", bytes]]));
    assertThrows(() => open(damaged, "r2"), CorruptFileError, "identity", `at ${position}`);
    const cut = new JournalDisk(new Map([["identity", sound.slice(0, position)]]));
    assertThrows(() => open(cut, "r2"), CorruptFileError, "identity", `cut at ${position}`);
  }
});

Deno.test("groups without an identity are an error", () => {
  const disk = new JournalDisk();
  openLog(disk);
  assertThrows(() => open(disk), CorruptFileError, "there are groups");
});

Deno.test("an identity of a newer format version is refused", () => {
  const disk = new JournalDisk();
  open(disk).close();
  const bytes = disk.image().get("identity")!.slice();
  bytes.set(preamble("trilogID", 7));
  const refused = assertThrows(
    () => open(new JournalDisk(new Map([["identity", bytes]]))),
    TrilogError,
  );
  assertEquals(refused.code, "unsupported_version");
});

Deno.test("a fenced directory keeps the old content aside and starts blank under a new id", () => {
  const disk = new JournalDisk();
  open(disk).becomeMember("c1");
  openLog(disk).append({ term: 3, vote: "r1", commit: 0 }, commands(1, 5, 1));
  const old = disk.image();
  const at = disk.count;
  const closed = new JournalDisk(old);
  const fresh = setAside(closed, { newReplicaId: () => "r2", name: "a1" });
  assertEquals([fresh.replicaId, fresh.cluster, fresh.startCounter], ["r2", null, 1]);
  assertEquals(closed.list("groups"), []);
  for (const [path, bytes] of old) {
    if (path === "starts") continue;
    assertEquals(closed.image().get(`set-aside-00000001/${path}`), bytes, path);
  }
  assert(at > 0, "there was something to set aside");
});

Deno.test("a fencing that a crash interrupts is finished, and never leaves the old id without its votes", () => {
  const disk = new JournalDisk();
  open(disk).close();
  openLog(disk).append({ term: 3, vote: "r1", commit: 0 }, []);
  const fencing = new JournalDisk(disk.image());
  setAside(fencing, { newReplicaId: () => "r2", name: "a1" });
  for (let count = 0; count <= fencing.count; count += 1) {
    for (const fate of [{ kind: "lost" }, { kind: "kept" }] as const) {
      const after = new JournalDisk(fencing.imageAfter(count, fate));
      const { replicaId } = open(after, "r3");
      const groups = after.list("groups/00000001");
      const keepsGroups = groups.some((name) => name.endsWith(".segment"));
      assertEquals(keepsGroups, replicaId === "r1", `${fate.kind} after ${count}: ${replicaId}`);
      if (keepsGroups) continue;
      const kept = after.list("set-aside-00000001/groups/00000001");
      assert(kept.some((name) => name.endsWith(".segment")), `${fate.kind} after ${count}: kept`);
    }
  }
});

Deno.test("a disk without a free byte starts the node, every time with a higher number", () => {
  const disk = new JournalDisk();
  open(disk).becomeMember("c1");
  let image = disk.image();
  for (const starts of [2, 3, 4]) {
    const full = new JournalDisk(image);
    full.capacityBytes = 0;
    const started = open(full);
    assertEquals([started.startCounter, started.cluster], [starts, "c1"]);
    assert(started.hasUnstored, "the identity file still has the old number");
    image = full.imageAfter(full.count, { kind: "lost" });
  }
  const roomy = new JournalDisk(image);
  const last = open(roomy);
  assertEquals([last.startCounter, last.hasUnstored], [5, false]);
  assertEquals(readIdentity(roomy)!.startCounter, 5);
});

Deno.test("a crash anywhere in a start on a full disk never lets a number be used again", () => {
  const first = new JournalDisk();
  open(first).close();
  const full = new JournalDisk(first.image());
  full.capacityBytes = 0;
  const used = open(full).startCounter;
  for (const fate of [{ kind: "lost" }, { kind: "kept" }] as const) {
    for (let count = 0; count <= full.count; count += 1) {
      const after = new JournalDisk(full.imageAfter(count, fate));
      after.capacityBytes = 0;
      const next = open(after).startCounter;
      const known = next > used || (next === used && count < full.count);
      assert(known, `${fate.kind} after ${count} of ${full.count}: start ${next} after ${used}`);
    }
  }
});

Deno.test("what is learnt of peers on a full disk counts at once, and is stored when it has room", () => {
  const disk = new JournalDisk();
  const directory = open(disk);
  disk.capacityBytes = 0;
  directory.rememberPeerStart("r2", 7);
  directory.supersede("r3");
  assertEquals(directory.peerRecord("r2").highestStartCounter, 7);
  assertEquals(directory.peerRecord("r3").superseded, true);
  directory.storeWaiting();
  assert(directory.hasUnstored, "there is no room yet");
  assertEquals(readIdentity(disk)!.peerStarts, []);
  disk.capacityBytes = Infinity;
  directory.storeWaiting();
  assertEquals(directory.hasUnstored, false);
  const again = readIdentity(new JournalDisk(disk.imageAfter(disk.count, { kind: "lost" })))!;
  assertEquals(again.peerStarts, [{ peer: "r2", counter: 7 }]);
  assertEquals(again.superseded, ["r3"]);
});

Deno.test("a founding needs room: nothing that others count on waits in memory", () => {
  const disk = new JournalDisk();
  const directory = open(disk);
  disk.capacityBytes = 0;
  const founding = { cluster: "c1", membership: founders };
  for (const act of [() => directory.prepare(founding), () => directory.becomeMember("c1")]) {
    assertEquals(assertThrows(act, TrilogError).code, "disk_full");
  }
  assertEquals([directory.founding(), directory.cluster], [null, null]);
});

Deno.test("a damaged count of starts, or another replica's, costs nothing", () => {
  const disk = new JournalDisk();
  open(disk).close();
  const sound = disk.image().get("starts")!;
  for (let position = 0; position < sound.length; position += 1) {
    const bytes = sound.slice();
    bytes[position] ^= 1;
    const damaged = new JournalDisk(new Map(disk.image()).set("starts", bytes));
    assertEquals(open(damaged).startCounter, 2);
    assertEquals(damaged.image().get("starts")!.length, sound.length, "it is made anew");
  }
  const foreign = new JournalDisk();
  for (let count = 0; count < 9; count += 1) open(foreign, "r9").close();
  const image = new Map(disk.image()).set("starts", foreign.image().get("starts")!);
  assertEquals(open(new JournalDisk(image)).startCounter, 2);
});

Deno.test("a group's directory of another replica is foreign, not sound", () => {
  const disk = new JournalDisk();
  const group = "p/1/0";
  openSegmentLog(disk, {
    identity: { cluster: "c1", group, replica: "r2" },
    directory: groupDirectory(1),
    bootstrap: founders,
    segmentBytes: 1_000,
  }).close();
  const censusOf = (replicaId: string) =>
    takeCensus(disk, { replicaId, cluster: "c1", groups: [{ number: 1, group }] });
  assertEquals(censusOf("r2").sound.map(({ number }) => number), [1]);
  assertEquals(censusOf("r1").lost.map(({ foreign }) => foreign), [true]);
});
