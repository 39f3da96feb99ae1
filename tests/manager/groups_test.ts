import { assert, assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import type { Packable } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";
import { type AnyCommand, decodeAnswer, encodeCommand } from "../../lib/manager/command.ts";
import { joinMembers, leaveMembers, releaseMany } from "../../lib/manager/group_batches.ts";
import { type ConsumerGroup, groupCodec } from "../../lib/manager/group_records.ts";
import {
  expelMembers,
  isSettled,
  joinGroup,
  leaveGroup,
  releasePartitions,
  reserveGeneration,
  settleGroups,
} from "../../lib/manager/groups.ts";
import { MetadataMachine } from "../../lib/manager/metadata.ts";
import { deleteGroup } from "../../lib/manager/group_removal.ts";
import { alterTopic, deleteTopic } from "../../lib/manager/topics.ts";
import { type Cluster, clusterOf } from "./fixture.ts";

function clusterWith(partitions: number): Cluster {
  const cluster = clusterOf(3);
  cluster.createTopic("t", partitions);
  return cluster;
}

function joining(member: string, more: Partial<Parameters<typeof joinGroup.apply>[1]> = {}) {
  return {
    group: "g",
    member,
    client: "",
    topics: ["t"],
    strategy: "range" as const,
    sessionTimeoutMs: 10_000,
    instance: null,
    ...more,
  };
}

function group(cluster: Cluster, name = "g"): ConsumerGroup {
  const found = cluster.machine.state.groups.get(name);
  if (found === undefined) throw new Error(`no group ${name}`);
  return found;
}

/** `0:a@1 1:a@1>b`: owner, generation, and who it goes to. */
function told(cluster: Cluster): string {
  return group(cluster).partitions.map(({ groupId, owner, generation, target }) => {
    const moving = target === owner ? "" : `>${target ?? "nobody"}`;
    return `${groupId.split("/")[2]}:${owner}@${generation}${moving}`;
  }).join(" ");
}

function release(cluster: Cluster, member: string, partition: number, generation: number): void {
  const partitions = [{ groupId: `p/1/${partition}`, generation }];
  cluster.run(releasePartitions, { group: "g", member, partitions });
}

Deno.test("a partition moves only after its owner gave it up, and gets a generation of its own", () => {
  const cluster = clusterWith(4);
  cluster.run(joinGroup, joining("a"));
  assertEquals(told(cluster), "0:a@1 1:a@1 2:a@1 3:a@1");
  cluster.run(joinGroup, joining("b"));
  assertEquals(told(cluster), "0:a@1 1:a@1 2:a@1>b 3:a@1>b");
  release(cluster, "a", 2, 1);
  assertEquals(told(cluster), "0:a@1 1:a@1 2:b@3 3:a@1>b");
  release(cluster, "a", 3, 1);
  assertEquals(told(cluster), "0:a@1 1:a@1 2:b@3 3:b@4");
});

Deno.test("a release counts for its member and generation only, and once", () => {
  const cluster = clusterWith(2);
  cluster.run(joinGroup, joining("a"));
  cluster.run(joinGroup, joining("b"));
  const before = told(cluster);
  release(cluster, "b", 1, 1);
  release(cluster, "a", 1, 7);
  assertEquals(told(cluster), before);
  release(cluster, "a", 1, 1);
  const after = told(cluster);
  assertEquals(after, "0:a@1 1:b@3");
  release(cluster, "a", 1, 1);
  assertEquals([told(cluster), group(cluster).generation], [after, 3]);
});

Deno.test("a partition given up without need is granted again, under a higher generation", () => {
  const cluster = clusterWith(1);
  cluster.run(joinGroup, joining("a"));
  release(cluster, "a", 0, 1);
  assertEquals(told(cluster), "0:a@2");
});

Deno.test("who leaves or is expelled leaves everything at once to the others", () => {
  const cluster = clusterWith(3);
  for (const member of ["a", "b", "c"]) cluster.run(joinGroup, joining(member));
  release(cluster, "a", 1, 1);
  release(cluster, "a", 2, 1);
  assertEquals(told(cluster), "0:a@1 1:b@4 2:c@5");
  cluster.run(leaveGroup, { group: "g", member: "b" });
  assertEquals(told(cluster), "0:a@1 1:a@6 2:c@5");
  cluster.run(expelMembers, { term: 1, members: [{ group: "g", member: "a" }] });
  assertEquals(told(cluster), "0:c@7 1:c@7 2:c@5");
  cluster.run(leaveGroup, { group: "g", member: "a" });
  assertEquals(group(cluster).generation, 7, "to leave twice does no harm");
});

Deno.test("a judgement of an earlier term expels nobody", () => {
  const cluster = clusterWith(1);
  cluster.run(joinGroup, joining("a"));
  cluster.run(expelMembers, { term: 9, members: [{ group: "g", member: "a" }] });
  assertEquals(group(cluster).members.length, 1);
});

Deno.test("a move that is not wanted any more is taken back", () => {
  const cluster = clusterWith(2);
  cluster.run(joinGroup, joining("a"));
  cluster.run(joinGroup, joining("b"));
  assertEquals(told(cluster), "0:a@1 1:a@1>b");
  cluster.run(leaveGroup, { group: "g", member: "b" });
  assertEquals(told(cluster), "0:a@1 1:a@1");
});

Deno.test("to join again changes nothing, with other topics it divides anew", () => {
  const cluster = clusterWith(1);
  cluster.createTopic("u", 1);
  cluster.run(joinGroup, joining("a"));
  cluster.run(joinGroup, joining("a"));
  assertEquals(group(cluster).generation, 1);
  cluster.run(joinGroup, joining("a", { topics: ["u"] }));
  assertEquals(
    group(cluster).partitions.map(({ groupId, target }) => [groupId, target]),
    [["p/1/0", null], ["p/2/0", "a"]],
  );
  release(cluster, "a", 0, 1);
  assertEquals(group(cluster).partitions.map(({ groupId }) => groupId), ["p/2/0"]);
});

Deno.test("topics that change are settled by a command of the leader", () => {
  const cluster = clusterWith(1);
  cluster.run(joinGroup, joining("a"));
  const settled = () => isSettled(cluster.machine.state, group(cluster));
  assert(settled());
  cluster.run(alterTopic, { name: "t", partitions: 2, retentionBytes: null, retentionMs: null });
  assert(!settled());
  cluster.run(settleGroups, { groups: ["g", "none"] });
  assertEquals([settled(), told(cluster)], [true, "0:a@1 1:a@2"]);
  cluster.run(settleGroups, { groups: ["g"] });
  assertEquals(group(cluster).generation, 2, "what is settled stays");
  cluster.run(deleteTopic, { name: "t" });
  assert(!settled());
  cluster.run(settleGroups, { groups: ["g"] });
  assertEquals([settled(), told(cluster)], [true, ""]);
});

Deno.test("a reset's generation is given while there are no members, above all earlier ones", () => {
  const cluster = clusterWith(1);
  assertEquals(cluster.run(reserveGeneration, { group: "g", topic: "t" }), {
    generation: 1,
    born: 1,
  });
  assertEquals(group(cluster).topics, ["t"]);
  cluster.run(joinGroup, joining("a"));
  assertEquals(told(cluster), "0:a@2");
  const refused = () => cluster.run(reserveGeneration, { group: "g", topic: "t" });
  assertEquals(assertThrows(refused, TrilogError).code, "group_not_empty");
  cluster.run(leaveGroup, { group: "g", member: "a" });
  assertEquals(cluster.run(reserveGeneration, { group: "g", topic: "t" }), {
    generation: 4,
    born: 1,
  });
});

Deno.test("what cannot be is refused by name", () => {
  const cluster = clusterWith(1);
  const code = (more: Partial<ReturnType<typeof joining>>) =>
    assertThrows(() => cluster.run(joinGroup, joining("x", more)), TrilogError).code;
  assertEquals(code({ topics: ["none"] }), "no_such_topic");
  assertEquals(code({ topics: [] }), "invalid_argument");
  assertEquals(code({ sessionTimeoutMs: 999 }), "invalid_argument");
  assertEquals(code({ sessionTimeoutMs: limits.longestSessionMs + 1 }), "invalid_argument");
  assertEquals(code({ topics: Array(limits.memberTopics + 1).fill("t") }), "invalid_argument");
  cluster.run(joinGroup, joining("a"));
  assertEquals(code({ strategy: "round_robin" }), "invalid_argument");
  cluster.run(leaveGroup, { group: "g", member: "a" });
  cluster.run(joinGroup, joining("b", { strategy: "round_robin" }));
  const none = () => cluster.run(leaveGroup, { group: "none", member: "a" });
  assertEquals(assertThrows(none, TrilogError).code, "no_such_group");
});

Deno.test("groups and members are bounded, and those beyond the bounds are refused", () => {
  const cluster = clusterWith(1);
  const reserve = (name: string) =>
    cluster.run(reserveGeneration, { group: name, topic: "t" }).generation;
  for (let at = 0; at < limits.groups; at += 1) reserve(`g${at}`);
  const oneMore = () => cluster.run(joinGroup, joining("a", { group: "one-more" }));
  assertEquals(assertThrows(oneMore, TrilogError).code, "too_many_groups");
  cluster.run(joinGroup, joining("a", { group: "g0" }));
  cluster.run(deleteGroup, { group: "g1" });
  oneMore();
  cluster.run(deleteGroup, { group: "g2" });
  for (let at = 0; at < limits.groupMembers; at += 1) cluster.run(joinGroup, joining(`m${at}`));
  const crowded = () => cluster.run(joinGroup, joining("too-many"));
  assertEquals(assertThrows(crowded, TrilogError).code, "invalid_argument");
});

Deno.test("a member that comes for a named place has what the last one had, and fences it", () => {
  const cluster = clusterWith(4);
  cluster.run(joinGroup, joining("a", { instance: "one" }));
  cluster.run(joinGroup, joining("b"));
  for (const partition of [2, 3]) release(cluster, "a", partition, 1);
  assertEquals(told(cluster), "0:a@1 1:a@1 2:b@3 3:b@4");
  cluster.run(joinGroup, joining("c", { instance: "one" }));
  assertEquals(told(cluster), "0:c@5 1:c@5 2:b@3 3:b@4");
  assertEquals(group(cluster).members.map(({ id }) => id), ["b", "c"]);
  cluster.run(joinGroup, joining("c", { instance: "one" }));
  assertEquals(told(cluster), "0:c@5 1:c@5 2:b@3 3:b@4", "to join again changes nothing");
  cluster.run(joinGroup, joining("d", { instance: "two" }));
  assertEquals(group(cluster).members.length, 3, "another name is another place");
});

Deno.test("what is on its way when a named place changes hands goes on its way", () => {
  const cluster = clusterWith(4);
  cluster.run(joinGroup, joining("a", { instance: "one" }));
  cluster.run(joinGroup, joining("b", { instance: "two" }));
  assertEquals(told(cluster), "0:a@1 1:a@1 2:a@1>b 3:a@1>b");
  cluster.run(joinGroup, joining("c", { instance: "one" }));
  cluster.run(joinGroup, joining("d", { instance: "two" }));
  assertEquals(told(cluster), "0:c@3 1:c@3 2:c@3>d 3:c@3>d");
});

Deno.test("a named place that comes back with other topics is a change for all", () => {
  const cluster = clusterWith(2);
  cluster.createTopic("u", 2);
  cluster.run(joinGroup, joining("a", { instance: "one" }));
  cluster.run(joinGroup, joining("b", { instance: "one", topics: ["u"] }));
  assertEquals(group(cluster).partitions.filter(({ target }) => target === "b").length, 2);
});

Deno.test("groups and commands from before there were named places are read as without", () => {
  const join = joinGroup.fields.encode(joining("a")) as Packable[];
  assertEquals(joinGroup.fields.decode(join.slice(0, -1), "join"), joining("a"));
  const cluster = clusterWith(1);
  cluster.run(joinGroup, joining("a"));
  const packed = groupCodec.encode(group(cluster)) as Packable[];
  const at = packed.findIndex((field) => Array.isArray(field) && Array.isArray(field[0]));
  const members = packed[at] as Packable[][];
  packed[at] = members.map((member) => member.slice(0, -1));
  assertEquals(groupCodec.decode(packed, "group"), group(cluster));
});

Deno.test("a crowd that joins together is divided once, and each is admitted or refused by itself", () => {
  const cluster = clusterWith(8);
  cluster.run(joinGroup, joining("a"));
  const before = group(cluster).generation;
  const joins = [
    { fields: joining("b"), returning: false },
    { fields: joining("c", { topics: ["gone"] }), returning: false },
    { fields: joining("d", { topics: ["gone", "t"] }), returning: true },
    { fields: joining("e", { strategy: "round_robin" }), returning: false },
  ];
  const { refusals } = cluster.run(joinMembers, { joins });
  const codes = refusals.map((refusal) => refusal?.code ?? null);
  assertEquals(codes, [null, "no_such_topic", null, "invalid_argument"]);
  assertEquals(group(cluster).members.map(({ id }) => id), ["a", "b", "d"]);
  assertEquals(group(cluster).generation, before + 1);
});

Deno.test("a crowd that leaves together is divided once, and to leave twice does no harm", () => {
  const cluster = clusterWith(4);
  for (const member of ["a", "b", "c", "d"]) cluster.run(joinGroup, joining(member));
  const before = group(cluster).generation;
  const members = ["b", "c", "nobody"].map((member) => ({ group: "g", member }));
  cluster.run(leaveMembers, { members: [...members, { group: "gone", member: "x" }] });
  assertEquals(group(cluster).members.map(({ id }) => id), ["a", "d"]);
  assertEquals(group(cluster).generation, before + 1);
  cluster.run(leaveMembers, { members });
  assertEquals(group(cluster).generation, before + 1);
});

Deno.test("a member that returns after one of its topics was deleted consumes the others, and the topic when it is made again", () => {
  const cluster = clusterWith(2);
  const returns = { fields: joining("a", { topics: ["t", "u"] }), returning: true };
  assertEquals(cluster.run(joinMembers, { joins: [returns] }).refusals, [null]);
  assertEquals(told(cluster), "0:a@1 1:a@1");
  cluster.createTopic("u", 1);
  cluster.run(settleGroups, { groups: ["g"] });
  assertEquals(group(cluster).partitions.length, 3);
});

const memberNames = ["a", "b", "c", "d"];

function draw(random: Prng, cluster: Cluster): [AnyCommand, unknown] {
  const name = random.pick(["g", "h"]);
  const member = random.pick(memberNames);
  const present = cluster.machine.state.groups.get(name)?.partitions ?? [];
  switch (random.below(10)) {
    case 0:
    case 1: {
      const topics = ["t", "u", "v"].filter(() => random.chance(0.6));
      const instance = random.pick([null, "one", "two"]);
      return [joinGroup, joining(member, { group: name, topics, instance })];
    }
    case 2:
      return [leaveGroup, { group: name, member }];
    case 3:
      return [expelMembers, { term: 1, members: [{ group: name, member }] }];
    case 4:
      return [alterTopic, {
        name: random.pick(["t", "u"]),
        partitions: random.below(7),
        retentionBytes: null,
        retentionMs: null,
      }];
    case 5:
      return [settleGroups, { groups: ["g", "h"] }];
    case 8: {
      const joins = memberNames.filter(() => random.chance(0.5)).map((member) => ({
        fields: joining(member, {
          group: name,
          topics: random.pick([["t"], ["u"], ["t", "gone"]]),
        }),
        returning: random.chance(0.5),
      }));
      return [joinMembers, { joins }];
    }
    case 9: {
      const releases = present.filter(({ owner, target }) => owner !== target)
        .map(({ groupId, owner, generation }) => ({
          group: name,
          member: owner,
          partitions: [{ groupId, generation }],
        }));
      return [releaseMany, { releases }];
    }
    case 6:
      return random.chance(0.5)
        ? [reserveGeneration, { group: name, topic: "t" }]
        : [deleteGroup, { group: name }];
    default: {
      const revoked = present.filter(({ owner, target }) => owner !== target || random.chance(0.1));
      const owner = revoked.length === 0 ? member : random.pick(revoked).owner;
      const partitions = revoked.filter((partition) => partition.owner === owner)
        .map(({ groupId, generation }) => ({ groupId, generation }));
      return [releasePartitions, { group: name, member: owner, partitions }];
    }
  }
}

/** What holds in every state; `grants` remembers whom each generation of a partition went to. */
function check(cluster: Cluster, grants: Map<string, string>): void {
  const { state } = cluster.machine;
  for (const { name, members, partitions, generation } of state.groups.values()) {
    const ids = new Set(members.map(({ id }) => id));
    assertEquals(ids.size, members.length);
    assertEquals(new Set(partitions.map(({ groupId }) => groupId)).size, partitions.length);
    assert(generation < (state.counters.get("generation") ?? 1));
    for (const { groupId, owner, target, generation: granted } of partitions) {
      assert(ids.has(owner), "an owner is a member");
      assert(target === null || ids.has(target), "a partition goes to a member or nobody");
      assert(granted <= generation);
      const key = `${groupId} ${granted}`;
      const value = `${name}/${owner}`;
      assertEquals(grants.get(key) ?? value, value, "a generation of a partition has one owner");
      grants.set(key, value);
    }
  }
}

/** Everybody releases what he is asked for until there is nothing to be asked for. */
function settle(cluster: Cluster): void {
  cluster.run(settleGroups, { groups: ["g", "h"] });
  for (const { name, members } of [...cluster.machine.state.groups.values()]) {
    for (const { id: member } of members) {
      const partitions = group(cluster, name).partitions
        .filter(({ owner, target }) => owner === member && target !== member)
        .map(({ groupId, generation }) => ({ groupId, generation }));
      cluster.run(releasePartitions, { group: name, member, partitions });
    }
  }
}

Deno.test("random groups: once settled every partition has exactly one owner, and twins stay equal", () => {
  let moved = 0;
  for (let seed = 0; seed < 60; seed += 1) {
    const random = new Prng(seed);
    const cluster = clusterWith(3);
    cluster.createTopic("u", 2);
    cluster.createTopic("v", 4);
    let twin = new MetadataMachine();
    twin.restore(cluster.machine.snapshot());
    const grants = new Map<string, string>();
    for (let step = 0; step < 80; step += 1) {
      const [command, fields] = draw(random, cluster);
      const bytes = encodeCommand(command, fields);
      const snapshot = cluster.machine.snapshot();
      const answer = cluster.apply(bytes);
      const context = { index: cluster.index, term: 1, timeMs: 1_700_000_000_000 + cluster.index };
      assertEquals(twin.apply(bytes, context), answer, `seed ${seed} step ${step}`);
      try {
        decodeAnswer(command, answer);
      } catch (thrown) {
        assert(thrown instanceof TrilogError);
        assertEquals(cluster.machine.snapshot(), snapshot, "a refusal changes nothing");
      }
      check(cluster, grants);
      assertEquals(twin.snapshot(), cluster.machine.snapshot(), `seed ${seed} step ${step}`);
      if (random.chance(0.1)) {
        twin = new MetadataMachine();
        twin.restore(cluster.machine.snapshot());
      }
    }
    const { state } = cluster.machine;
    moved += [...state.groups.values()].flatMap(({ partitions }) => partitions)
      .filter(({ owner, target }) => owner !== target).length;
    settle(cluster);
    for (const { name, members, partitions } of state.groups.values()) {
      const topics = new Set(members.flatMap(({ topics }) => topics));
      const wanted = [...topics].flatMap((topic) => state.topics.get(topic)?.partitions ?? [])
        .map(({ groupId }) => groupId).sort();
      assertEquals(partitions.map(({ groupId }) => groupId), wanted, `seed ${seed} group ${name}`);
      for (const { groupId, owner, target } of partitions) {
        assertEquals(owner, target);
        const { topic } = state.partitionOf(groupId)!;
        assert(members.find(({ id }) => id === owner)!.topics.includes(topic.name));
      }
    }
  }
  assert(moved > 20, `${moved} partitions were on their way in the end`);
});
