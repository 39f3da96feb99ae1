/** Who a data directory is, over restarts, crashes, rot and rollbacks. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import { SimDisk } from "../../lib/sim/disk.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";
import { preamble } from "../../lib/storage/file_format.ts";
import { openDataDirectory, readIdentity, setAside } from "../../lib/storage/identity.ts";
import { CorruptFileError } from "../../lib/storage/record.ts";
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
    assertEquals(closed.image().get(`set-aside-00000001/${path}`), bytes, path);
  }
  assert(at > 0, "there was something to set aside");
});

Deno.test("a crash while a directory is fenced never leaves the old id without its votes", () => {
  const disk = new JournalDisk();
  open(disk).close();
  openLog(disk).append({ term: 3, vote: "r1", commit: 0 }, []);
  const fencing = new JournalDisk(disk.image());
  setAside(fencing, { newReplicaId: () => "r2", name: "a1" });
  for (let count = 0; count <= fencing.count; count += 1) {
    for (const fate of [{ kind: "lost" }, { kind: "kept" }] as const) {
      const after = new JournalDisk(fencing.imageAfter(count, fate));
      const keepsGroups = after.list("groups/00000001").some((name) => name.endsWith(".segment"));
      let replicaId: string | null = null;
      try {
        replicaId = open(after, "r3").replicaId;
      } catch (thrown) {
        assert(thrown instanceof CorruptFileError, String(thrown));
      }
      if (replicaId === "r1") assert(keepsGroups, `${fate.kind} after ${count}: votes are gone`);
      else if (replicaId !== null) assert(!keepsGroups, `${fate.kind} after ${count}: a new id`);
    }
  }
});
