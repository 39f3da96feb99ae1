import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { type ErrorCode, TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { pack, type Packable, unpack } from "../../lib/base/msgpack.ts";
import { declare, initialise } from "../../lib/manager/brokers.ts";
import { encodeCommand } from "../../lib/manager/command.ts";
import { MetadataMachine } from "../../lib/manager/metadata.ts";
import { alterTopic, createTopic, deleteTopic } from "../../lib/manager/topics.ts";
import { type Cluster, clusterOf, unlimited } from "./fixture.ts";

/** Expects a refusal with that code, and that nothing has changed by it. */
function refuses(cluster: Cluster, code: ErrorCode, run: () => void): void {
  const before = cluster.machine.snapshot();
  assertEquals(assertThrows(run, TrilogError).code, code);
  assertEquals(cluster.machine.snapshot(), before);
}

Deno.test("the first cluster id stays", () => {
  const cluster = clusterOf(0);
  cluster.initialise();
  refuses(cluster, "wrong_cluster", () => cluster.run(initialise, { clusterId: "c2" }));
  assertEquals(cluster.machine.state.clusterId, "c1");
});

Deno.test("a topic needs three registered brokers of which two live", () => {
  const two = clusterOf(2);
  refuses(two, "not_enough_brokers", () => two.createTopic("logs"));
  const three = clusterOf(3);
  three.declareDead("r-b1");
  three.createTopic("logs");
  three.declareDead("r-b2");
  refuses(three, "not_enough_brokers", () => three.createTopic("more"));
});

Deno.test("topic names and partition counts are checked", () => {
  const cluster = clusterOf(3);
  for (const name of ["", ".", "..", "a/b", "../x", "a b", "\u0000", "x".repeat(250)]) {
    refuses(cluster, "invalid_topic", () => cluster.createTopic(name));
  }
  for (const partitions of [0, limits.topicPartitions + 1]) {
    refuses(cluster, "invalid_argument", () => cluster.createTopic("logs", partitions));
  }
  cluster.createTopic("x".repeat(249));
  cluster.createTopic("logs", limits.topicPartitions);
  refuses(cluster, "topic_exists", () => cluster.createTopic("logs"));
});

Deno.test("a topic of a deleted one's name has groups of its own", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs", 2);
  assertEquals(cluster.partition("logs", 1).groupId, "p/1/1");
  cluster.run(deleteTopic, { name: "logs" });
  cluster.createTopic("logs", 2);
  assertEquals(cluster.partition("logs", 1).groupId, "p/2/1");
});

Deno.test("deleting a topic leaves a tombstone for each replica", () => {
  const cluster = clusterOf(4);
  cluster.createTopic("logs");
  const { replicas } = cluster.partition("logs");
  cluster.run(deleteTopic, { name: "logs" });
  assertEquals(cluster.tombstones(), replicas.map((id) => `${id} p/1/0`).sort());
  refuses(cluster, "no_such_topic", () => cluster.run(deleteTopic, { name: "logs" }));
});

Deno.test("altering adds partitions and changes only the limits that are named", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs", 2);
  const before = [cluster.partition("logs", 0), cluster.partition("logs", 1)];
  const leave = { name: "logs", partitions: null, retentionBytes: null, retentionMs: null };
  cluster.run(alterTopic, { ...leave, partitions: 3, retentionMs: 60_000 });
  cluster.run(alterTopic, { ...leave, retentionBytes: 1024 });
  const topic = cluster.machine.state.topics.get("logs")!;
  assertEquals(topic.settings, { retentionBytes: 1024, retentionMs: 60_000 });
  assertEquals(topic.partitions.slice(0, 2), before);
  assertEquals(topic.partitions[2].groupId, "p/1/2");
  const fewer = () => cluster.run(alterTopic, { ...leave, partitions: 2 });
  refuses(cluster, "invalid_argument", fewer);
  refuses(cluster, "no_such_topic", () => cluster.run(alterTopic, { ...leave, name: "none" }));
});

Deno.test("a broker that comes back as it was changes nothing", () => {
  const cluster = clusterOf(3);
  const before = cluster.machine.snapshot();
  cluster.register("b1");
  assertEquals(cluster.machine.snapshot(), before);
});

Deno.test("a broker that was declared dead is alive again when it registers", () => {
  const cluster = clusterOf(3);
  cluster.declareDead("r-b1", "r-unknown");
  assertEquals(cluster.machine.state.brokers.get("b1")?.alive, false);
  const { placementVersion } = cluster.machine.state;
  cluster.register("b1");
  assertEquals(cluster.machine.state.brokers.get("b1")?.alive, true);
  assertEquals(cluster.machine.state.placementVersion, placementVersion);
});

Deno.test("a judgement that reaches the log in another leader's term is passed over", () => {
  const cluster = clusterOf(3);
  const before = cluster.machine.snapshot();
  cluster.run(declare, { term: 2, dead: ["r-b1"], alive: [] });
  assertEquals(cluster.machine.snapshot(), before);
});

Deno.test("a wiped broker's new identity takes the old one's places, for good", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  const before = cluster.partition("logs");
  cluster.register("b1", "r-new");
  const after = cluster.partition("logs");
  assertEquals(after.replicas, before.replicas.map((id) => id === "r-b1" ? "r-new" : id));
  assertEquals([...after.placed].sort(), ["r-b2", "r-b3", "r-new"]);
  assertEquals(after.founders, before.founders);
  assertEquals(after.placedVersion, cluster.machine.state.placementVersion);
  assertEquals(cluster.machine.state.brokers.get("b1")?.superseded, ["r-b1"]);
  refuses(cluster, "superseded", () => cluster.register("b1", "r-b1"));
  refuses(cluster, "superseded", () => cluster.register("b9", "r-b1"));
});

Deno.test("a data directory cannot be given to a broker of another name", () => {
  const cluster = clusterOf(3);
  refuses(cluster, "invalid_argument", () => cluster.register("b9", "r-b1"));
});

Deno.test("tombstones of an identity that lost its disk are dropped", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  cluster.run(deleteTopic, { name: "logs" });
  cluster.register("b1", "r-new");
  assertEquals(cluster.tombstones(), ["r-b2 p/1/0", "r-b3 p/1/0"]);
});

Deno.test("a request that is repeated gets its first answer and has no second effect", () => {
  const cluster = clusterOf(3);
  const create = encodeCommand(createTopic, { name: "a", partitions: 1, settings: unlimited }, "q");
  const first = cluster.apply(create);
  const after = cluster.machine.snapshot();
  cluster.run(deleteTopic, { name: "a" });
  const deleted = cluster.machine.snapshot();
  assertEquals(cluster.apply(create), first);
  assertEquals(cluster.machine.snapshot(), deleted);
  assertNotEquals(after, deleted);
  refuses(cluster, "invalid_argument", () => cluster.run(deleteTopic, { name: "a" }, "q"));
});

Deno.test("a refused request is judged anew when it is repeated", () => {
  const cluster = clusterOf(2);
  refuses(cluster, "not_enough_brokers", () => cluster.createTopic("logs", 1, "q"));
  cluster.register("b3");
  cluster.createTopic("logs", 1, "q");
});

Deno.test("remembered requests are bounded, and none is forgotten within a minute", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("logs");
  const alter = { name: "logs", partitions: null, retentionBytes: null, retentionMs: null };
  const ask = (requestId: string) => cluster.run(alterTopic, alter, requestId);
  // The fixture's stamps are a millisecond apart.
  for (let request = 0; request < limits.requestAnswers; request += 1) ask(`q${request}`);
  assertEquals(assertThrows(() => ask("new"), TrilogError).code, "overloaded");
  ask("q0");
  cluster.index += limits.requestLeastMemoryMs;
  ask("new");
  const restored = new MetadataMachine();
  restored.restore(cluster.machine.snapshot());
  for (const { requests } of [cluster.machine.state, restored.state]) {
    assertEquals(requests.size, limits.requestAnswers);
    assertEquals([...requests.keys()].slice(0, 2), ["q1", "q2"]);
  }
  cluster.index += limits.requestMemoryMs;
  ask("newest");
  assertEquals([...cluster.machine.state.requests.keys()], ["newest"]);
});

Deno.test("malformed commands are refused and change nothing", () => {
  const cluster = clusterOf(3);
  const good = unpack(encodeCommand(createTopic, {
    name: "logs",
    partitions: 1,
    settings: unlimited,
  })) as Packable[];
  const before = cluster.machine.snapshot();
  const bad: Uint8Array[] = [
    new Uint8Array(0),
    new Uint8Array([0xc1]),
    pack(null),
    pack(good.slice(0, 2)),
    pack(good.with(0, 1)),
    pack(good.with(0, "x".repeat(250))),
    pack(good.with(1, "topics.nothing")),
    pack(good.with(1, "__proto__")),
    pack(good.with(2, null)),
    pack(good.with(2, ["logs", -1, [0, 0]])),
  ];
  for (const bytes of bad) {
    const [done, error] = unpack(cluster.apply(bytes)) as [boolean, Packable[]];
    assertEquals([done, error[0]], [false, "malformed"]);
  }
  assertEquals(cluster.machine.snapshot(), before);
});

Deno.test("a section can be asked for by name", () => {
  const cluster = clusterOf(1);
  const [done, brokers] = unpack(cluster.machine.query(pack("brokers"))) as [boolean, Packable[]];
  assertEquals([done, brokers.length], [true, 1]);
  const [refused] = unpack(cluster.machine.query(pack("nothing"))) as [boolean, Packable];
  assertEquals(refused, false);
});

Deno.test("a snapshot of a newer format, section or section version is refused", () => {
  const cluster = clusterOf(3);
  const snapshot = cluster.machine.snapshot();
  const sections = unpack(snapshot.subarray(1)) as Packable[][];
  const build = (parts: Packable) => new Uint8Array([1, ...pack(parts)]);
  const unknown: Uint8Array[] = [
    new Uint8Array([2, ...snapshot.subarray(1)]),
    build([...sections, ["of-a-later-version", 1, []]]),
    build(sections.with(2, sections[2].with(1, 2))),
  ];
  for (const bytes of unknown) {
    const error = assertThrows(() => cluster.machine.restore(bytes), TrilogError);
    assertEquals(error.code, "unsupported_version");
  }
  assertEquals(cluster.machine.snapshot(), snapshot, "a refused snapshot leaves the state alone");
});

Deno.test("a snapshot that lacks a section restores without what it would hold", () => {
  const cluster = clusterOf(3);
  const sections = unpack(cluster.machine.snapshot().subarray(1)) as Packable[][];
  const older = sections.filter(([name]) => name !== "requests");
  cluster.machine.restore(new Uint8Array([1, ...pack(older)]));
  assertEquals(cluster.machine.state.requests.size, 0);
  assert(cluster.machine.state.brokers.size === 3);
});
