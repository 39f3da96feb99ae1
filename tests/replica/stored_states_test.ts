/** What a stored state may say: a committed membership, and nothing beyond its log. */

import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { TestCluster } from "./cluster.ts";

const SEGMENT_BYTES = 4_096;

Deno.test("a checkpoint that is taken behind an uncommitted membership stores the one before", async () => {
  const cluster = new TestCluster(3, ["g"], 1, { segmentBytes: SEGMENT_BYTES });
  const leader = await cluster.elected();
  const replica = cluster.replica(leader);
  const { membership } = replica.raft;
  // The next entry begins a segment, and with it a checkpoint of all that is applied.
  while (replica.store.segmentStarts().at(-1)!.bytes < SEGMENT_BYTES) {
    await cluster.settle(replica.propose(utf8("x".repeat(500))));
  }
  await cluster.level();
  const applied = replica.appliedIndex;
  for (const other of cluster.nodes) {
    cluster.network.cut(leader.id, other.id);
    cluster.network.cut(other.id, leader.id);
  }
  const voters = membership.voters.slice(0, 2);
  replica.changeMembers({ ...membership, voters }).catch(() => {});
  const stored = () => replica.checkpoints.list().findLast(({ last }) => last.index === applied);
  await cluster.until("the checkpoint is stored", () => stored() !== undefined);
  assert(replica.status().membershipIndex > applied, "a membership is in the log");
  assert(replica.raft.commitIndex <= applied, "and is not committed");
  assertEquals(stored()!.membership, membership);
});

Deno.test("a stored state beyond the end of its log is not restored, and goes", async () => {
  const cluster = new TestCluster(1);
  const node = await cluster.elected();
  const replica = cluster.replica(node);
  for (const text of ["one", "two"]) await cluster.settle(replica.propose(utf8(text)));
  const { term, membership } = replica.raft;
  const last = { index: replica.raft.lastIndex + 5, term };
  const writer = replica.store.beginSnapshot({ last, timeMs: 1, membership });
  writer.write(utf8("99\nanother log's state"));
  writer.commit();
  cluster.kill(node);
  cluster.restart(node);
  await cluster.elected();
  await cluster.settle(cluster.replica(node).propose(utf8("three")));
  assertEquals(cluster.machine(node).applied, 3);
  assertEquals(cluster.replica(node).store.snapshots(), []);
});

Deno.test("the log before a checkpoint is dropped when the record of its new beginning is durable", async () => {
  const cluster = new TestCluster(1, ["g"], 1, { segmentBytes: SEGMENT_BYTES });
  const replica = cluster.replica(await cluster.elected());
  const { store } = replica;
  const steps: string[] = [];
  const sync = store.sync.bind(store);
  const noteBase = store.noteBase.bind(store);
  const dropSegment = store.dropSegment.bind(store);
  store.noteBase = (base) => {
    steps.push("base");
    return noteBase(base);
  };
  store.sync = async () => {
    await sync();
    steps.push("sync");
  };
  store.dropSegment = () => {
    steps.push("drop");
    return dropSegment();
  };
  while (store.firstIndex() === 1) {
    await cluster.settle(replica.propose(utf8("x".repeat(500))));
  }
  const drop = steps.indexOf("drop");
  const base = steps.lastIndexOf("base", drop);
  assert(base >= 0 && steps.slice(base, drop).includes("sync"), steps.join());
});
