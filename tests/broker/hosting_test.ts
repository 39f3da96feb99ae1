/** The life of replicas: placed, lost, moved, removed, and rebuilt. */

import { assert, assertEquals } from "@std/assert";
import { copySync, existsSync } from "@std/fs";
import { join } from "@std/path";
import { sleep } from "../../lib/base/clock.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { systemClock } from "../../lib/base/system_clock.ts";
import { NOTES_FILE, readNotes, writeNotes } from "../../lib/broker/hosting_notes.ts";
import { DenoDisk } from "../../lib/storage/deno_disk.ts";
import { openDataDirectory } from "../../lib/storage/identity.ts";
import { groupDirectory } from "../../lib/storage/layout.ts";
import { openSegmentLog } from "../../lib/storage/segment_log.ts";
import { CLUSTER, codeOf, eventually, TestBrokers } from "./cluster.ts";
import { batchOf, sentBy } from "./partition_support.ts";

/** Waits until the leader's report names exactly these brokers as the settled voters. */
async function settled(cluster: TestBrokers, ...names: string[]): Promise<void> {
  const wanted = cluster.ids(...names).sort().join();
  await eventually(
    `${names} are the voters`,
    () => [...cluster.managers.report("g")?.voters ?? []].sort().join() === wanted || null,
  );
}

async function level(cluster: TestBrokers, endOffset: number, ...names: string[]): Promise<void> {
  await eventually(
    `${names} have everything`,
    () => names.every((name) => cluster.partition(name)?.machine.endOffset === endOffset) || null,
  );
}

/** Changes one byte of the oldest segment file of a replica, where entries are. */
function rot(cluster: TestBrokers, name: string, directory: string): void {
  const root = join(cluster.directory(name), directory);
  const [segment] = [...Deno.readDirSync(root)].map((item) => item.name)
    .filter((item) => item.endsWith(".segment")).sort();
  const path = join(root, segment);
  const bytes = Deno.readFileSync(path);
  const at = bytes.indexOf("m".charCodeAt(0), 2_000);
  bytes[at] ^= 0xff;
  Deno.writeFileSync(path, bytes);
}

Deno.test("a killed leader's partition goes on, and moves back when it has caught up", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    await cluster.deliver(sentBy(7, 0));
    await cluster.kill("b1");
    assertEquals(await cluster.deliver(sentBy(7, 1)), 1);
    assertEquals(await cluster.deliver(sentBy(7, 2)), 2);
    cluster.start("b1");
    await cluster.led("b1");
    assertEquals(await cluster.messages("b1"), ["0:m0", "1:m0", "2:m0"]);
  });
});

Deno.test("all brokers killed and started without managers elect, and have everything", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    for (let batch = 0; batch < 10; batch += 1) await cluster.deliver(sentBy(7, batch));
    const names = ["b1", "b2", "b3"];
    const listen = names.map((name) => cluster.get(name).broker.address);
    await Promise.all(names.map((name) => cluster.kill(name)));
    cluster.managers.silent = true;
    names.forEach((name, at) => cluster.start(name, listen[at]));
    assertEquals(await cluster.deliver(sentBy(7, 9)), 9);
    assertEquals((await cluster.messages(cluster.leaders()[0])).length, 10);
  });
});

Deno.test("a moved partition is removed from its old broker only with a tombstone", async () => {
  await TestBrokers.with(4, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    await cluster.deliver(batchOf(5));
    const { managers } = cluster;
    const founders = cluster.ids("b1", "b2", "b3");
    managers.want("g", { founders, replicas: cluster.ids("b4", "b2", "b3") });
    await settled(cluster, "b2", "b3", "b4");
    await cluster.led("b4");
    await level(cluster, 5, "b4");
    assertEquals(cluster.hosted("b1")?.notes.state, "open");
    const directory = join(cluster.directory("b1"), cluster.hosted("b1")!.directory);
    managers.bury("g", cluster.id("b1"));
    await eventually("b1 removes it", () => cluster.hosted("b1") === undefined || null);
    assertEquals(existsSync(directory), false);
  });
});

Deno.test("a tombstone of an earlier epoch, or older than the replica, removes nothing", async () => {
  await TestBrokers.with(1, async (cluster) => {
    const { managers } = cluster;
    const replicas = cluster.ids("b1");
    managers.want("g", { replicas, founders: replicas, epoch: 2 });
    await cluster.led("b1");
    const kept = async () => {
      await eventually(
        "the tombstone is known",
        () =>
          managers.heartbeats.get(cluster.id("b1"))!.assignmentVersion === managers.version || null,
      );
      await sleep(systemClock, 50);
      assertEquals(cluster.hosted("b1")?.notes.state, "open");
      await cluster.led("b1");
      assertEquals(await codeOf(cluster.fetch("b1", 0, { epoch: 2 })), "no refusal");
    };
    managers.wanted.clear();
    managers.bury("g", cluster.id("b1"), 1);
    await kept();
    // A manager that is behind: it knows the removal before the replica was wanted again.
    const { address } = cluster.get("b1").broker;
    await cluster.kill("b1");
    managers.tombstones = [{
      groupId: "g",
      epoch: 2,
      replicaId: [...managers.registered.keys()][0],
    }];
    managers.version = 1;
    cluster.start("b1", address);
    await kept();
  });
});

Deno.test("a wiped broker comes back as another one and takes its own place as a learner", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    await cluster.deliver(batchOf(5));
    const founders = cluster.ids("b1", "b2", "b3");
    const old = cluster.id("b3");
    await cluster.kill("b3");
    cluster.wipe("b3");
    cluster.start("b3");
    await eventually("it registers anew", () => cluster.managers.superseded.includes(old) || null);
    assert(cluster.id("b3") !== old);
    cluster.managers.want("g", { founders, replicas: cluster.ids("b1", "b2", "b3") });
    await settled(cluster, "b1", "b2", "b3");
    await level(cluster, 5, "b3");
    const { directory } = cluster.get("b1").broker.process;
    assertEquals(directory.peerRecord(old).superseded, true);
  });
});

Deno.test("a broker that is told that another has its name ends", async () => {
  await TestBrokers.with(1, async (cluster) => {
    cluster.managers.superseded.push(cluster.id("b1"));
    const running = cluster.get("b1");
    const fatal = await eventually("it ends", () => running.fatal);
    assertEquals((fatal as TrilogError).code, "superseded");
    running.fatal = null;
  });
});

Deno.test("retention drops whole segments everywhere, and a new replica gets all that is kept", async () => {
  const cluster = new TestBrokers();
  cluster.segmentBytes = 4_096;
  await cluster.run(4, async () => {
    const founders = cluster.ids("b1", "b2", "b3");
    cluster.managers.want("g", {
      founders,
      replicas: founders,
      settings: { retentionBytes: 16_384, retentionMs: 0 },
    });
    await cluster.led("b1");
    for (let batch = 0; batch < 100; batch += 1) await cluster.deliver(sentBy(7, batch * 50, 50));
    const bounds = () => cluster.partition("b1")!.machine;
    await eventually("old messages go", () => bounds().startOffset > 2_000 || null);
    assertEquals(await codeOf(cluster.fetch("b1", 0)), "offset_out_of_range");
    // Retention may go on between the look at the bounds and the fetch.
    await eventually("the first message that is kept is read", async () => {
      const { startOffset } = bounds();
      const [first] = await cluster.messages("b1", startOffset).catch(() => [""]);
      return first.startsWith(`${startOffset}:`) || null;
    });
    for (const name of ["b1", "b2", "b3"]) {
      await eventually(
        `${name} drops them`,
        () => cluster.partition(name)!.replica.store.bytes() < 16_384 + 4 * 4_096 || null,
      );
    }
    const replicas = cluster.ids("b4", "b2", "b3");
    cluster.managers.want("g", { founders, replicas });
    await settled(cluster, "b2", "b3", "b4");
    await cluster.led("b4");
    const kept = bounds().startOffset;
    assertEquals(cluster.partition("b4")!.machine.startOffset, kept);
    assertEquals((await cluster.messages("b4", kept)).length, 5_000 - kept);
  });
});

Deno.test("a full disk refuses messages, goes on serving them, and resumes by itself", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    await cluster.produce("b1", batchOf(50));
    const { disk } = cluster.get("b1");
    disk.full = true;
    // The first one may have been taken before the disk was found full: then it waits for room.
    void cluster.produce("b1", sentBy(7, 0, 50)).catch(() => {});
    await eventually(
      "it refuses",
      async () => await codeOf(cluster.produce("b1", sentBy(8, 0, 50))) === "disk_full" || null,
    );
    assertEquals((await cluster.messages("b1")).length, 50);
    disk.full = false;
    for (const producer of [7, 8]) {
      await eventually("it takes messages", () => cluster.produce("b1", sentBy(producer, 0, 50)));
    }
    assertEquals((await cluster.messages("b1")).length, 150);
  });
});

Deno.test("where every disk is full the leader stays and serves; where one is, another leads", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    await cluster.deliver(sentBy(7, 0, 50));
    const disks = ["b1", "b2", "b3"].map((name) => cluster.get(name).disk);
    for (const disk of disks) disk.full = true;
    void cluster.produce("b1", sentBy(7, 50, 50)).catch(() => {});
    await eventually(
      "it refuses",
      async () =>
        await codeOf(cluster.produce("b1", sentBy(8, 0, 50), "g", 300)) === "disk_full" || null,
    );
    // Three times as long as a stalled disk is borne with elsewhere.
    await sleep(systemClock, 1_800);
    assertEquals(cluster.leaders(), ["b1"]);
    assertEquals((await cluster.messages("b1")).length, 50);
    disks[1].full = false;
    disks[2].full = false;
    const leader = await eventually("another leads", () => {
      const [name] = cluster.leaders();
      return name !== undefined && name !== "b1" ? name : null;
    });
    assertEquals(await cluster.deliver(sentBy(7, 50, 50)), 50);
    assertEquals((await cluster.messages(leader)).length >= 100, true);
    disks[0].full = false;
    await cluster.led("b1");
    assertEquals(await cluster.deliver(sentBy(7, 50, 50)), 50);
  });
});

Deno.test("a replica that has rotted is fenced, and is rebuilt without its old life", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    const others = cluster.ids("b1", "b2", "b3");
    cluster.managers.want("sound", { founders: others, replicas: others });
    await cluster.led("b1", "sound");
    for (let batch = 0; batch < 20; batch += 1) await cluster.deliver(sentBy(7, batch * 50, 50));
    await level(cluster, 1_000, "b2");
    const { directory } = cluster.hosted("b2")!;
    await cluster.kill("b2");
    const identity = others[1];
    rot(cluster, "b2", directory);
    cluster.start("b2");
    assertEquals(cluster.hosted("b2")?.notes.state, "fenced");
    assertEquals(cluster.partition("b2"), null);
    assert(cluster.partition("b2", "sound") !== null);
    await level(cluster, 1_000, "b2");
    await settled(cluster, "b1", "b2", "b3");
    assertEquals(cluster.id("b2"), identity);
    assert(cluster.hosted("b2")!.notes.floor.index > 0);
    assertEquals(
      [...Deno.readDirSync(cluster.directory("b2"))].some(({ name }) =>
        name.startsWith("set-aside")
      ),
      true,
    );
    await cluster.kill("b1");
    assertEquals(await cluster.deliver(sentBy(7, 1_000)), 1_000);
  });
});

Deno.test("a leader that meets rot while it serves repairs it and goes on leading", async () => {
  const cluster = new TestBrokers();
  cluster.segmentBytes = 4_096;
  await cluster.run(3, async () => {
    await cluster.host("b1", "b2", "b3");
    for (let batch = 0; batch < 20; batch += 1) await cluster.deliver(sentBy(7, batch * 50, 50));
    rot(cluster, "b1", cluster.hosted("b1")!.directory);
    const { term } = cluster.partition("b1")!.replica.status();
    assertEquals(await codeOf(cluster.fetch("b1", 0)), "unavailable");
    assertEquals(cluster.hosted("b1")!.notes.state, "open");
    const messages = await eventually("it is repaired", () => cluster.messages("b1"));
    assertEquals(messages.length, 1_000);
    assertEquals(cluster.partition("b1")!.replica.status().term, term);
    assertEquals(cluster.leaders(), ["b1"]);
  });
});

Deno.test("a creation or a removal that a crash cut short is finished by the next start", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    await cluster.produce("b1", batchOf(1));
    const { directory, notes } = cluster.hosted("b1")!;
    await cluster.kill("b1");
    const disk = new DenoDisk(cluster.directory("b1"));
    writeNotes(disk, directory, { ...notes, state: "deleting" });
    const empty = groupDirectory(7);
    disk.makeDirectory(empty);
    const unused = groupDirectory(8);
    disk.makeDirectory(unused);
    openSegmentLog(disk, {
      identity: { cluster: CLUSTER, group: "other@1" },
      directory: unused,
      bootstrap: null,
      segmentBytes: 4_096,
    }).close();
    cluster.managers.silent = true;
    cluster.start("b1");
    assertEquals([...cluster.get("b1").broker.hosting.all()], []);
    assertEquals(disk.list("groups"), []);
  });
});

Deno.test("a replica without its log or its notes is fenced, never begun again by itself", async () => {
  await TestBrokers.with(1, async (cluster) => {
    await cluster.host("b1");
    await cluster.produce("b1", batchOf(1));
    const { directory, notes } = cluster.hosted("b1")!;
    await cluster.kill("b1");
    const path = join(cluster.directory("b1"), directory);
    Deno.writeFileSync(join(path, NOTES_FILE), new Uint8Array(10));
    cluster.start("b1");
    assertEquals(cluster.hosted("b1")?.notes.state, "fenced");
    await cluster.kill("b1");
    Deno.removeSync(join(path, NOTES_FILE));
    cluster.start("b1");
    assertEquals(cluster.hosted("b1")?.notes.state, "fenced");
    await cluster.kill("b1");
    const disk = new DenoDisk(cluster.directory("b1"));
    assertEquals(readNotes(disk, directory)?.state, "fenced");
    writeNotes(disk, directory, notes);
    for (const { name } of [...Deno.readDirSync(path)]) {
      if (name !== NOTES_FILE) Deno.removeSync(join(path, name));
    }
    cluster.start("b1");
    assertEquals(cluster.hosted("b1")?.notes.state, "fenced");
    await eventually("it registers", () => cluster.managers.heartbeats.size > 0 || null);
    await sleep(systemClock, 300);
    assertEquals(cluster.partition("b1"), null);
    assertEquals(readNotes(disk, directory)?.state, "fenced");
  });
});

Deno.test("a founder without its group's directory does not found again, and is rebuilt", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    // b3 lags, and b2 has acknowledged everything.
    await cluster.kill("b3");
    for (let batch = 0; batch < 20; batch += 1) await cluster.deliver(sentBy(7, batch * 50, 50));
    const { directory } = cluster.hosted("b2")!;
    await cluster.kill("b2");
    await cluster.kill("b1");
    Deno.removeSync(join(cluster.directory("b2"), directory), { recursive: true });
    cluster.start("b2");
    cluster.start("b3");
    assertEquals(cluster.hosted("b2")?.notes.state, "fenced");
    await eventually("both register", () => cluster.managers.heartbeats.size >= 2 || null);
    await sleep(systemClock, 1_000);
    assertEquals(cluster.leaders(), [], "b2 must not vote for b3, whose log is short");
    const refusal = await cluster.fetch("b2", 0).then(() => "", (error) => error.message);
    assert(refusal.endsWith("its replica on b2 is quarantined"), refusal);
    cluster.start("b1");
    await level(cluster, 1_000, "b1", "b2", "b3");
    await cluster.led("b1");
    assertEquals((await cluster.messages("b1")).length, 1_000);
  });
});

Deno.test("a replica that the managers have seen begin is never begun again by itself", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    await cluster.deliver(batchOf(5));
    const replicas = cluster.ids("b1", "b2", "b3");
    const { address } = cluster.get("b2").broker;
    const { commitIndex } = cluster.hosted("b1")!.partition!.replica.raft;
    await cluster.kill("b2");
    // As if the directory were of an older format, whose identity names no group.
    Deno.removeSync(join(cluster.directory("b2"), "groups"), { recursive: true });
    const disk = new DenoDisk(cluster.directory("b2"));
    const held = openDataDirectory(disk, { name: "b2", newReplicaId: () => "unused" });
    held.setGroups([]);
    held.close();
    cluster.managers.want("g", { replicas, founders: replicas, bootstrap: false, begun: true });
    cluster.start("b2", address);
    await eventually("it is held as lost", () => cluster.hosted("b2") !== undefined || null);
    await level(cluster, 5, "b2");
    await settled(cluster, "b1", "b2", "b3");
    const { floor } = cluster.hosted("b2")!.notes;
    assert(floor.index > commitIndex, "its group let the former replica go, and then took it in");
  });
});

Deno.test("a replica that began before is held as lost, and a fresh one votes above its fence only", async () => {
  await TestBrokers.with(1, async (cluster) => {
    const replicas = cluster.ids("b1");
    const { managers } = cluster;
    managers.want("g", { replicas, founders: replicas, bootstrap: false, begun: true });
    const lost = await eventually("it is held", () => cluster.hosted("b1") ?? null);
    assertEquals([lost.notes.state, lost.partition], ["fenced", null]);
    const fresh = { founders: ["another"], bootstrap: false, membershipIndex: 7, leaderTerm: 3 };
    managers.want("g2", { replicas, ...fresh });
    const made = await eventually("it is made", () => cluster.hosted("b1", "g2") ?? null);
    assertEquals([made.notes.state, made.notes.floor], ["open", { index: 7, term: 3 }]);
  });
});

Deno.test("a group's directory that was copied while it was used and put back is rebuilt", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    await cluster.deliver(sentBy(7, 0, 50));
    await level(cluster, 50, "b2");
    const { directory } = cluster.hosted("b2")!;
    const path = join(cluster.directory("b2"), directory);
    copySync(path, `${path}-copy`);
    for (let batch = 1; batch < 10; batch += 1) await cluster.deliver(sentBy(7, batch * 50, 50));
    await level(cluster, 500, "b2");
    await cluster.kill("b2");
    Deno.removeSync(path, { recursive: true });
    Deno.renameSync(`${path}-copy`, path);
    cluster.start("b2");
    await eventually("its peers tell", () => cluster.hosted("b2")?.notes.state !== "open" || null);
    await level(cluster, 500, "b2");
    await settled(cluster, "b1", "b2", "b3");
    assert(cluster.hosted("b2")!.notes.floor.index > 0);
  });
});

Deno.test("a quarantined leader of a quiet group is rebuilt", async () => {
  await TestBrokers.with(3, async (cluster) => {
    await cluster.host("b1", "b2", "b3");
    await cluster.deliver(batchOf(5));
    await level(cluster, 5, "b1", "b2", "b3");
    await eventually("it rests", () => cluster.partition("b2")?.replica.resting || null);
    const { hosting } = cluster.get("b1").broker;
    hosting.fence(cluster.hosted("b1")!, new TrilogError("corrupt", "Cannot trust it: a test"));
    await level(cluster, 5, "b1");
    await settled(cluster, "b1", "b2", "b3");
  });
});
