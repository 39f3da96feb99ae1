import { assertEquals, assertNotEquals } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { MetadataMachine } from "../../lib/manager/metadata.ts";
import {
  forget,
  register,
  type RegistrationKind,
  registrationView,
  retireConsumer,
} from "../../lib/manager/registrations.ts";
import { alterTopic, deleteTopic } from "../../lib/manager/topics.ts";
import { type Cluster, clusterOf } from "./fixture.ts";

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (thrown) {
    if (thrown instanceof TrilogError) return thrown.code;
    throw thrown;
  }
  return "no error";
}

function add(cluster: Cluster, kind: RegistrationKind, topic: string, requestId = ""): number {
  return cluster.run(register, { kind, topic, partition: null }, requestId).id;
}

function withTopic(): Cluster {
  const cluster = clusterOf(3);
  cluster.createTopic("t", 2);
  return cluster;
}

Deno.test("numbers are never reused, whatever is forgotten", () => {
  const cluster = withTopic();
  assertEquals([1, 2, 3].map(() => add(cluster, "producer", "t")), [1, 2, 3]);
  assertEquals(add(cluster, "consumer", "t"), 1);
  cluster.run(forget, { kind: "producer", id: 3 });
  assertEquals(add(cluster, "producer", "t"), 4);
  cluster.run(deleteTopic, { name: "t" });
  cluster.createTopic("t");
  assertEquals(add(cluster, "producer", "t"), 5);
  assertEquals(add(cluster, "consumer", "t"), 2);
});

Deno.test("a registration says how many partitions its topic had and has", () => {
  const cluster = withTopic();
  const id = add(cluster, "consumer", "t");
  cluster.run(alterTopic, { name: "t", partitions: 5, retentionBytes: null, retentionMs: null });
  assertEquals(registrationView(cluster.machine.state, "consumer", id, "t"), {
    partition: null,
    registeredPartitions: 2,
    partitions: 5,
    firstGroupId: "p/1/0",
  });
});

Deno.test("a producer makes its topic, unless there are too few brokers; a consumer does not", () => {
  const cluster = clusterOf(3);
  assertEquals(codeOf(() => add(cluster, "consumer", "t")), "no_such_topic");
  add(cluster, "producer", "t");
  assertEquals(cluster.partition("t").groupId, "p/1/0");
  const small = clusterOf(2);
  assertEquals(codeOf(() => add(small, "producer", "t")), "not_enough_brokers");
  assertEquals(small.machine.state.producers.size, 0);
  assertEquals(add(cluster, "producer", "t"), 2, "a refusal costs no number");
});

Deno.test("a topic takes its registrations along, and those of others stay", () => {
  const cluster = withTopic();
  cluster.createTopic("u");
  for (const topic of ["t", "u", "t"]) {
    add(cluster, "producer", topic);
    add(cluster, "consumer", topic);
  }
  cluster.run(deleteTopic, { name: "t" });
  const { producers, consumers } = cluster.machine.state;
  assertEquals([[...producers.keys()], [...consumers.keys()]], [[2], [2]]);
});

Deno.test("a retired consumer is refused, may be retired again, and then forgotten", () => {
  const cluster = withTopic();
  const id = add(cluster, "consumer", "t");
  for (let repeat = 0; repeat < 2; repeat += 1) {
    assertEquals(cluster.run(retireConsumer, { id }), { topic: "t" });
  }
  const { state } = cluster.machine;
  assertEquals(codeOf(() => registrationView(state, "consumer", id, "t")), "no_such_consumer");
  assertEquals(cluster.run(forget, { kind: "consumer", id }), { topic: "t" });
  assertEquals(codeOf(() => cluster.run(retireConsumer, { id })), "no_such_consumer");
  assertEquals(codeOf(() => cluster.run(forget, { kind: "consumer", id })), "no_such_consumer");
});

Deno.test("a repeated request is not registered twice", () => {
  const cluster = withTopic();
  const id = add(cluster, "producer", "t", "r");
  assertEquals(add(cluster, "producer", "t", "r"), id);
  assertNotEquals(add(cluster, "producer", "t", "s"), id);
  assertEquals(cluster.machine.state.producers.size, 2);
});

Deno.test("there are only so many; forgetting one makes room", () => {
  const cluster = withTopic();
  for (let at = 0; at < limits.registeredConsumers; at += 1) add(cluster, "consumer", "t");
  assertEquals(codeOf(() => add(cluster, "consumer", "t")), "overloaded");
  cluster.run(forget, { kind: "consumer", id: 7 });
  assertEquals(add(cluster, "consumer", "t"), limits.registeredConsumers + 1);
});

Deno.test("a snapshot brings registrations back, and one from before there were any has none", () => {
  const cluster = withTopic();
  add(cluster, "producer", "t");
  const id = add(cluster, "consumer", "t");
  add(cluster, "consumer", "t");
  cluster.run(retireConsumer, { id });
  const restored = new MetadataMachine();
  restored.restore(cluster.machine.snapshot());
  assertEquals(restored.state.producers, cluster.machine.state.producers);
  assertEquals([...restored.state.consumers.values()], [
    ...cluster.machine.state.consumers.values(),
  ]);
  assertEquals(restored.snapshot(), cluster.machine.snapshot());
});
