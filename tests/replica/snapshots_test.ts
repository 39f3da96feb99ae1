/** Snapshots and checkpoints of replicas: what counts after a crash, rot, and full disks. */

import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { type Node, TestCluster } from "./cluster.ts";

const SEGMENT_BYTES = 4_096;
const BIG = "x".repeat(500);

async function smallSegments(size: number, seed = 1): Promise<TestCluster> {
  const cluster = new TestCluster(size, ["g"], seed);
  cluster.segmentBytes = SEGMENT_BYTES;
  for (const node of cluster.nodes) {
    cluster.kill(node);
    cluster.restart(node);
  }
  await cluster.elected();
  return cluster;
}

async function put(cluster: TestCluster, node: Node, text: string): Promise<void> {
  await cluster.settle(cluster.replica(node).propose(utf8(text)));
}

function isolate(cluster: TestCluster, node: Node): void {
  for (const other of cluster.nodes) {
    cluster.network.cut(node.id, other.id);
    cluster.network.cut(other.id, node.id);
  }
}

/** Runs `act` right after a file whose name ends so got its name durably. */
function afterStored(node: Node, ending: string, act: () => void): void {
  const { disk } = node;
  const rename = disk.rename.bind(disk);
  const syncDirectory = disk.syncDirectory.bind(disk);
  let stored = false;
  disk.rename = (from, to) => {
    rename(from, to);
    stored ||= to.endsWith(ending);
  };
  disk.syncDirectory = (path) => {
    syncDirectory(path);
    if (!stored) return;
    disk.rename = rename;
    disk.syncDirectory = syncDirectory;
    act();
  };
}

/** A cluster whose node `late` lacks more than the others' logs hold. */
async function withLateFollower(seed = 1): Promise<{ cluster: TestCluster; late: Node }> {
  const cluster = await smallSegments(3, seed);
  const leader = await cluster.elected();
  const late = cluster.nodes.find((node) => node !== leader)!;
  cluster.kill(late);
  for (let at = 0; at < 60; at += 1) {
    // The last ones make a snapshot of several chunks.
    await put(cluster, leader, at < 52 ? BIG + at : "y".repeat(600_000));
  }
  assert(cluster.replica(leader).store.firstIndex() > 20, "the log was trimmed");
  return { cluster, late };
}

function snapshotsOf(node: Node): string[] {
  return node.disk.list("g0").filter((name) => name.includes(".snapshot"));
}

Deno.test("a snapshot stored but not adopted at a crash makes no entry of the old log committed", async () => {
  const cluster = await smallSegments(3);
  const deposed = await cluster.elected();
  await put(cluster, deposed, "before");
  await cluster.level();
  const { term, commitIndex: committed } = cluster.replica(deposed).raft;
  isolate(cluster, deposed);
  // An uncommitted tail, longer than what the others will commit.
  for (let at = 0; at < 200; at += 1) {
    cluster.replica(deposed).propose(utf8(`lost ${at}`)).catch(() => {});
  }
  await cluster.until("another leads", () => {
    const leader = cluster.leader();
    return leader !== undefined && leader !== deposed;
  });
  const leader = cluster.leader()!;
  for (let at = 0; at < 60; at += 1) await put(cluster, leader, BIG + at);
  const { store } = cluster.replica(deposed);
  const [uncommitted, first] = [store.lastIndex(), cluster.replica(leader).store.firstIndex()];
  assert(uncommitted > first + 20, "the snapshot ends inside the old tail");
  let crashed = false;
  afterStored(deposed, ".snapshot", () => {
    crashed = true;
    cluster.kill(deposed);
  });
  cluster.network.heal();
  await cluster.scheduler.runUntil(cluster.scheduler.nowMs + 10_000, () => crashed);
  assert(crashed, "the node was sent a snapshot");
  await cluster.scheduler.runUntil(cluster.scheduler.nowMs + 100);
  deposed.fatal = null;
  isolate(cluster, deposed);
  cluster.restart(deposed);
  const replica = cluster.replica(deposed);
  assert(replica.store.lastIndex() >= uncommitted, "the old tail is still there");
  assert(replica.raft.commitIndex <= committed, `committed up to ${replica.raft.commitIndex}`);
  assert(replica.store.snapshots().every(({ last }) => last.term === term), "it is removed");
  cluster.network.heal();
  await cluster.level();
  assertEquals(cluster.machine(deposed).applied, 61);
});

Deno.test("a replica falls back on an older checkpoint or the log when a newer one has rotted", async () => {
  const cluster = await smallSegments(1);
  const [node] = cluster.nodes;
  for (let at = 0; at < 60; at += 1) await put(cluster, node, BIG + at);
  assertEquals(cluster.replica(node).checkpoints.list().length, 2);
  cluster.kill(node, "power");
  const newest = `g0/${snapshotsOf(node).at(-1)}`;
  node.disk.rot(newest, 200, 0xff);
  cluster.restart(node);
  await cluster.elected();
  await cluster.level();
  assertEquals(cluster.machine(node).applied, 60);
  assert(!node.disk.exists(newest), "the rotted checkpoint is removed");
  for (let at = 0; at < 20; at += 1) await put(cluster, node, BIG + at);
  assertEquals(cluster.replica(node).checkpoints.list().length, 2);
});

/** The file of a snapshot that a node is being sent. */
function arriving(node: Node): boolean {
  return node.disk.list("g0").some((name) => name.includes(".snapshot."));
}

/** What is done on `late`'s disk when a snapshot reaches a certain point there. */
const windows: Record<string, (late: Node, full: () => void) => void> = {
  "begins": (late, full) => {
    const open = late.disk.open.bind(late.disk);
    late.disk.open = (path, mode) => {
      if (path.includes(".snapshot.") && mode === "create") full();
      return open(path, mode);
    };
  },
  "is written": (late, full) => onSnapshotFile(late, "writeAt", full),
  "was read back": (late, full) => onSnapshotFile(late, "readAt", full),
  "is adopted": (late, full) => afterStored(late, ".snapshot", full),
};

/** A write of the second chunk. */
const LATE_WRITE = 6;

/** Calls `act` before a snapshot file's method; of the writes only before a later one. */
function onSnapshotFile(node: Node, method: "writeAt" | "readAt", act: () => void): void {
  const open = node.disk.open.bind(node.disk);
  node.disk.open = (path, mode) => {
    const file = open(path, mode);
    if (!path.includes(".snapshot.") || mode !== "create") return file;
    const original = file[method].bind(file) as (...args: unknown[]) => unknown;
    let calls = 0;
    Object.assign(file, {
      [method]: (...args: unknown[]) => {
        calls += 1;
        if (method === "readAt" || calls > LATE_WRITE) act();
        return original(...args);
      },
    });
    return file;
  };
}

for (const [window, prepare] of Object.entries(windows)) {
  Deno.test(`a disk that is full when a snapshot ${window} delays it and ends nothing`, async () => {
    const { cluster, late } = await withLateFollower();
    cluster.restart(late);
    let filled = false;
    prepare(late, () => {
      if (filled) return;
      filled = true;
      for (const name of ["reserve", "g0/reserve"]) late.disk.remove(name);
      late.disk.fill(0);
    });
    await cluster.until("the disk is full", () => filled);
    // Virtual time passes with votes, commands and transfers; `run` throws what is fatal.
    await cluster.run(5_000);
    const leader = await cluster.elected();
    await put(cluster, leader, "meanwhile");
    assert(cluster.machine(late).applied < 60, "there is no room for the snapshot");
    late.disk.setCapacity(null);
    await cluster.level();
    assertEquals(cluster.machine(late).applied, 61);
    await cluster.until("nothing of an aborted transfer is left", () => !arriving(late));
    cluster.kill(late, "power");
    cluster.restart(late);
    await cluster.level();
    assertEquals(cluster.machine(late).applied, 61);
  });
}

Deno.test("checkpoints before an adopted snapshot go with the log that they were of", async () => {
  const cluster = await smallSegments(3);
  const leader = await cluster.elected();
  const late = cluster.nodes.find((node) => node !== leader)!;
  for (let at = 0; at < 30; at += 1) await put(cluster, leader, BIG + at);
  await cluster.level();
  const stored = () =>
    late.disk.list("g0").filter((name) => name.endsWith(".snapshot")).map((name) =>
      Number(name.slice(0, 16))
    );
  await cluster.until("it has checkpoints", () => stored().length > 0);
  cluster.kill(late);
  const before = stored();
  for (let at = 0; at < 40; at += 1) await put(cluster, leader, BIG + at);
  cluster.restart(late);
  await cluster.level();
  const base = cluster.replica(late).store.firstIndex() - 1;
  assert(base > Math.max(...before), "a snapshot was adopted");
  assertEquals(stored().filter((index) => index < base), []);
});

Deno.test("a snapshot that found no room is not begun again for three seconds", async () => {
  const { cluster, late } = await withLateFollower();
  cluster.restart(late);
  let begun = 0;
  windows["begins"](late, () => {
    begun += 1;
    for (const name of ["reserve", "g0/reserve"]) late.disk.remove(name);
    if (begun === 1) late.disk.fill(0);
  });
  await cluster.until("the snapshot begins", () => begun === 1);
  await cluster.run(2_500);
  assertEquals(begun, 1);
  await cluster.until("it begins again", () => begun > 1);
  late.disk.setCapacity(null);
  await cluster.level();
  assertEquals(cluster.machine(late).applied, 60);
});

Deno.test("the log behind a snapshot stays while a follower is sent it, and goes afterwards", async () => {
  const { cluster, late } = await withLateFollower();
  const leader = await cluster.elected();
  const { store } = cluster.replica(leader);
  await cluster.until("no trim is under way", () => !arriving(leader));
  const { disk } = late;
  const open = disk.open.bind(disk);
  let slow = true;
  disk.open = (path, mode) => {
    const file = open(path, mode);
    if (!path.includes(".snapshot.") || mode !== "create") return file;
    const sync = file.sync.bind(file);
    // The follower's disk takes its time: the transfer cannot end.
    file.sync = async () => {
      while (slow) await new Promise<void>((resolve) => late.clock.after(10, resolve));
      await sync();
    };
    return file;
  };
  cluster.restart(late);
  await cluster.until("the snapshot arrives", () => arriving(late));
  const first = store.firstIndex();
  for (let at = 0; at < 6; at += 1) await put(cluster, leader, "z".repeat(600_000));
  await cluster.run(1_000);
  assertEquals(store.firstIndex(), first);
  slow = false;
  await cluster.level();
  assertEquals(cluster.machine(late).applied, 66);
  for (let at = 0; at < 6; at += 1) await put(cluster, leader, "z".repeat(600_000));
  await cluster.until("the log is trimmed", () => store.firstIndex() > first);
});
