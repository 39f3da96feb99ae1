/** Checkpoints of a single replica: when they are taken, in slices, and what a crash leaves. */

import { assert, assertEquals } from "@std/assert";
import { concatBytes, utf8 } from "../../lib/base/bytes.ts";
import type { StateMachine } from "../../lib/replica/state_machine.ts";
import { type Node, Register, TestCluster } from "./cluster.ts";

const SEGMENT_BYTES = 4_096;

/** Keeps every command; its state comes in parts of one command each. */
class Journal extends Register implements StateMachine {
  private commands: Uint8Array[] = [];

  override apply(command: Uint8Array): Uint8Array {
    this.commands.push(command.slice());
    return super.apply(command);
  }
  override snapshot(): Uint8Array {
    return concatBytes([...this.freeze()]);
  }
  override restore(snapshot: Uint8Array): void {
    this.restoreParts([snapshot]);
  }
  freeze(): Iterable<Uint8Array> {
    return this.commands.map((command) => concatBytes([command, utf8("\n")]));
  }
  restoreParts(parts: Iterable<Uint8Array>): void {
    const text = new TextDecoder().decode(concatBytes([...parts]));
    this.commands = [];
    this.applied = 0;
    for (const line of text.split("\n").slice(0, -1)) this.apply(utf8(line));
  }
  get lines(): string[] {
    return this.commands.map((command) => new TextDecoder().decode(command));
  }
}

/** One node; as a rule its checkpoints are written part by part. */
async function journaling(
  compaction: "previous" | "manual",
  sliceBytes = 101,
): Promise<TestCluster> {
  const cluster = new TestCluster(1, ["g"], 1, {
    newMachine: () => new Journal(),
    compaction,
    sliceBytes,
  });
  cluster.segmentBytes = SEGMENT_BYTES;
  const [node] = cluster.nodes;
  cluster.kill(node);
  cluster.restart(node);
  await cluster.elected();
  return cluster;
}

/** Command number `at`, of about 100 bytes. */
function line(at: number): string {
  return `${at} `.padEnd(100, "x");
}

async function write(cluster: TestCluster, from: number, to: number): Promise<void> {
  const replica = cluster.replica(cluster.nodes[0]);
  for (let at = from; at < to; at += 1) await cluster.settle(replica.propose(utf8(line(at))));
}

function linesOf(cluster: TestCluster): string[] {
  return (cluster.machine(cluster.nodes[0]) as Journal).lines;
}

function unfinished(node: Node): string[] {
  return node.disk.list("g0").filter((name) => name.includes(".snapshot."));
}

function stored(cluster: TestCluster): { index: number; bytes: number }[] {
  const { checkpoints, store } = cluster.replica(cluster.nodes[0]);
  return checkpoints.list().map(({ last: { index } }) => {
    const reader = store.openSnapshot(index)!;
    reader.close();
    return { index, bytes: reader.size };
  });
}

Deno.test("commands go on while a checkpoint is written, and do not show in it", async () => {
  const cluster = await journaling("previous");
  const [node] = cluster.nodes;
  let at = 0;
  while (unfinished(node).length === 0) await write(cluster, at, at += 1);
  const begunAt = at;
  while (unfinished(node).length > 0) await write(cluster, at, at += 1);
  assert(at > begunAt + 5, `${at - begunAt} commands were applied meanwhile`);
  const [{ index, bytes }] = stored(cluster);
  // Entry 1 is the leader's own; a state of n commands has 101 n bytes.
  assertEquals(bytes, (index - 1) * 101);
  assert(index <= begunAt + 1, "it is the state at which it was begun");
});

Deno.test("a crash at any moment of a checkpoint leaves the state that was there", async () => {
  const moments = { unfinished: 0, stored: 0 };
  for (let forMs = 0; forMs < 60; forMs += 2.7) {
    const cluster = await journaling("previous");
    const [node] = cluster.nodes;
    let at = 0;
    while (unfinished(node).length === 0) await write(cluster, at, at += 1);
    await cluster.run(forMs);
    moments[unfinished(node).length > 0 ? "unfinished" : "stored"] += 1;
    cluster.kill(node, "power");
    cluster.restart(node);
    await cluster.elected();
    await cluster.level();
    assertEquals(linesOf(cluster), [...Array(at).keys()].map(line));
    assertEquals(unfinished(node), [], "what was not finished is removed");
  }
  assert(moments.unfinished > 5 && moments.stored > 5, JSON.stringify(moments));
});

Deno.test("checkpoints are as far apart as the state is large", async () => {
  const cluster = await journaling("previous", 100_000);
  const [node] = cluster.nodes;
  let written = 0;
  const begin = cluster.replica(node).store.beginSnapshot;
  const sizes: number[] = [];
  cluster.replica(node).store.beginSnapshot = function (meta) {
    written += 1;
    sizes.push(meta.last.index * 101);
    return begin.call(this, meta);
  };
  await write(cluster, 0, 600);
  const log = 600 * 140;
  const state = sizes.reduce((sum, bytes) => sum + bytes, 0);
  assert(written >= 4, `${written} checkpoints`);
  // Each is preceded by a log of half the size of the one before it.
  assert(state < 2 * log + 600 * 101, `${state} bytes of state for ${log} bytes of log`);
  assert(written < log / SEGMENT_BYTES / 2, `${written} checkpoints for ${log} bytes of log`);
});

Deno.test("checkpoints that stay as long as their log take a fraction of its space", async () => {
  const cluster = await journaling("manual", 100_000);
  await write(cluster, 0, 1_200);
  await cluster.until("none is under way", () => unfinished(cluster.nodes[0]).length === 0);
  const all = stored(cluster);
  const log = cluster.replica(cluster.nodes[0]).store.bytes();
  const newest = all.at(-1)!.bytes;
  const bytes = all.reduce((sum, checkpoint) => sum + checkpoint.bytes, 0);
  assert(all.length >= 2, `${all.length} checkpoints`);
  assert(bytes - newest <= log / 8, `${bytes} bytes of checkpoints for ${log} bytes of log`);
});

Deno.test("a checkpoint that does not read back as written is dropped, and nothing before it goes", async () => {
  const cluster = await journaling("previous");
  const [node] = cluster.nodes;
  const { store } = cluster.replica(node);
  const open = node.disk.open.bind(node.disk);
  let damaged = 0;
  node.disk.open = (path, mode) => {
    const file = open(path, mode);
    if (!path.includes(".snapshot.") || mode !== "create") return file;
    const readAt = file.readAt.bind(file);
    // What the disk gives back is not what it took.
    file.readAt = (position, into) => {
      const count = readAt(position, into);
      if (position > 150) into[0] ^= 1;
      damaged += 1;
      return count;
    };
    return file;
  };
  await write(cluster, 0, 300);
  assert(damaged > 1, "checkpoints were read back");
  assertEquals([stored(cluster), store.firstIndex()], [[], 1]);
  node.disk.open = open;
  await write(cluster, 300, 600);
  await cluster.until("a sound one is stored", () => stored(cluster).length > 0);
  cluster.kill(node);
  cluster.restart(node);
  await cluster.elected();
  await cluster.level();
  assertEquals(linesOf(cluster), [...Array(600).keys()].map(line));
});
