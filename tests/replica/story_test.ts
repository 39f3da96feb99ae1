import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { createLogger, type LogLevel } from "../../lib/base/logger.ts";
import { openSessionCommand, sessionCommand } from "../../lib/replica/sessions.ts";
import { Story } from "../../lib/replica/story.ts";
import { type Node, TestCluster, TIMING } from "./cluster.ts";

interface Line {
  readonly node: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

/** A cluster whose nodes write their stories into one list. */
function storytellers(
  leaseMs: number,
  level: LogLevel = "debug",
): { cluster: TestCluster; lines: Line[] } {
  const lines: Line[] = [];
  const observer = (node: Node) => {
    const write = (line: string) => lines.push(JSON.parse(line));
    const logger = createLogger({ level, format: "json", clock: node.clock, write })
      .with({ node: node.id });
    const words = { command: () => "a command", question: () => "a question" };
    return new Story({ logger, clock: node.clock, words, heartbeatMs: TIMING.heartbeatMs });
  };
  const lease = { leaseMs, clockErrorRatio: 0 };
  const cluster = new TestCluster(3, ["g"], 1, { lease, observer });
  return { cluster, lines };
}

function told(lines: readonly Line[], node: Node): string[] {
  return lines.filter((line) => line.node === node.id).map(({ message }) => message);
}

Deno.test("a campaign, its votes, the wait for older leases and the no-op are told", async () => {
  const { cluster, lines } = storytellers(700);
  const leader = await cluster.elected();
  await cluster.level();
  const own = told(lines, leader);
  const order = [
    "the election timer ran out, asking for pre-votes",
    "asking for votes",
    "became leader",
    "waiting for the old leader's lease",
    "entry committed as leader",
  ];
  const places = order.map((message) => own.indexOf(message));
  assert(!places.includes(-1), own.join("; "));
  assertEquals(places, [...places].sort((left, right) => left - right));
  const others = cluster.nodes.filter((node) => node !== leader);
  const votes = lines.filter(({ message }) => message === "vote granted");
  assert(votes.every((vote) => vote.for === leader.id && vote.term === 1));
  assert(votes.length >= 1);
  for (const node of others) {
    assert(told(lines, node).includes("AppendEntries accepted"));
    const committed = lines.find((line) =>
      line.node === node.id && line.message === "entry committed as follower"
    );
    assertEquals([committed?.index, committed?.term, committed?.entry], [1, 1, "no-op"]);
  }
});

Deno.test("a heartbeat renews the lease; without a quorum that fails, and the leader steps down", async () => {
  const { cluster, lines } = storytellers(200);
  const leader = await cluster.elected();
  await cluster.run(500);
  assert(told(lines, leader).includes("sending a heartbeat and renewing the lease"));
  lines.length = 0;
  for (const node of cluster.nodes) if (node !== leader) cluster.kill(node);
  await cluster.until("it steps down", () => !cluster.replica(leader).isLeader);
  const own = told(lines, leader);
  assert(own.includes("an RPC failed"), own.join("; "));
  assertEquals(own.at(-1), "could not renew the lease, stepping down");
});

Deno.test("without leases a heartbeat is a heartbeat, and nobody waits", async () => {
  const { cluster, lines } = storytellers(0);
  const leader = await cluster.elected();
  await cluster.run(200);
  const own = told(lines, leader);
  assert(own.includes("sending a heartbeat"));
  assert(!own.some((message) => message.includes("lease")));
});

Deno.test("commands are told in the system's words where they are committed", async () => {
  const { cluster, lines } = storytellers(0);
  const leader = await cluster.elected();
  const replica = cluster.replica(leader);
  await cluster.settle(replica.propose(openSessionCommand()));
  const command = utf8("x");
  const request = { session: 2, sequence: 1, lowestUnacknowledged: 1, command };
  await cluster.settle(replica.propose(sessionCommand(request)));
  await cluster.level();
  for (const node of cluster.nodes) {
    const as = node === leader ? "leader" : "follower";
    const entries = lines.filter((line) =>
      line.node === node.id && line.message === `entry committed as ${as}`
    ).map(({ entry }) => entry);
    assertEquals(entries, ["no-op", "session", "a command"]);
  }
});

Deno.test("a wrong log is rejected, and a vote is denied, by name", async () => {
  const { cluster, lines } = storytellers(0);
  const leader = await cluster.elected();
  await cluster.level();
  const [follower] = cluster.nodes.filter((node) => node !== leader);
  const envelope = { from: leader.id, to: follower.id, term: cluster.replica(leader).raft.term };
  const replica = cluster.replica(follower);
  const prev = { index: 99, term: 1 };
  const append = { kind: "append_request", prev, entries: [], commit: 0, round: 9, leaseMs: 0 };
  replica.step({ kind: "message", message: { ...append, ...envelope } as never });
  const vote = {
    kind: "vote_request",
    preVote: false,
    last: { index: 0, term: 0 },
    transfer: true,
  };
  replica.step({ kind: "message", message: { ...vote, ...envelope, term: 9 } as never });
  await cluster.run(20);
  const own = lines.filter((line) => line.node === follower.id);
  const rejected = own.find(({ message }) => message === "AppendEntries rejected");
  assertEquals(rejected?.from, leader.id);
  const denied = own.find(({ message }) => message === "vote denied");
  assertEquals([denied?.for, denied?.term], [leader.id, 9]);
});

Deno.test("the silence of a group at rest is no failure", async () => {
  const { cluster, lines } = storytellers(0);
  const leader = await cluster.elected();
  await cluster.until("it rests", () => cluster.replica(leader).resting);
  await cluster.run(1_000);
  await cluster.settle(cluster.replica(leader).propose(openSessionCommand()));
  await cluster.run(200);
  assert(!told(lines, leader).includes("an RPC failed"));
});

Deno.test("at info a busy group writes a line a second of each kind, and says how many it stands for", async () => {
  const { cluster, lines } = storytellers(0, "info");
  const leader = await cluster.elected();
  await cluster.level();
  const replica = cluster.replica(leader);
  await cluster.settle(replica.propose(openSessionCommand()));
  await cluster.run(3_000);
  lines.length = 0;
  const count = 500;
  for (let at = 0; at < count; at += 1) {
    await cluster.settle(replica.propose(openSessionCommand()));
  }
  await cluster.run(3_000);
  const committed = lines.filter((line) =>
    line.node === leader.id && line.message === "entry committed as leader"
  );
  assert(committed.length <= 8, `${committed.length} lines`);
  const told = committed.reduce((sum, line) => sum + Number(line.count ?? 1), 0);
  assertEquals(told, count);
  assertEquals(committed.at(-1)?.index, replica.appliedIndex, "the last entry is named");
});
