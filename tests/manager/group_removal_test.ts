import { assert, assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import {
  deletedGroupsMethod,
  deleteGroupMethod,
  joinGroupMethod,
  leaveGroupMethod,
  listGroupsMethod,
  reserveGenerationMethod,
} from "../../lib/client/protocol.ts";
import { deletedOffsets, deleteGroup, expireGroups } from "../../lib/manager/group_removal.ts";
import { joinGroup, leaveGroup, reserveGeneration } from "../../lib/manager/groups.ts";
import { MetadataMachine } from "../../lib/manager/metadata.ts";
import { Cluster } from "./fixture.ts";
import { Managers } from "./manager_fixture.ts";

const minute = 60_000;

function clusterWithTopic(): Cluster {
  const cluster = new Cluster();
  cluster.initialise();
  for (const id of ["b1", "b2", "b3"]) cluster.register(id);
  cluster.createTopic("t");
  return cluster;
}

const joining = {
  group: "g",
  member: "a",
  client: "",
  topics: ["t"],
  strategy: "range",
  sessionTimeoutMs: 10_000,
  instance: null,
} as const;

Deno.test("a group with members cannot be deleted, one without is gone at once", () => {
  const cluster = clusterWithTopic();
  const { state } = cluster.machine;
  const refusal = () => cluster.run(deleteGroup, { group: "g" });
  assertEquals(assertThrows(refusal, TrilogError).code, "no_such_group");
  cluster.run(joinGroup, joining);
  assertEquals(assertThrows(refusal, TrilogError).code, "group_not_empty");
  cluster.run(leaveGroup, joining);
  cluster.run(deleteGroup, { group: "g" }, "request");
  assert(!state.groups.has("g"));
  cluster.run(joinGroup, joining);
  cluster.run(deleteGroup, { group: "g" }, "request");
  assert(state.groups.has("g"), "a repeated request deletes no later group of the name");
});

Deno.test("offsets of a deleted group are deleted, those of a later group of its name are not", () => {
  const cluster = clusterWithTopic();
  const { state } = cluster.machine;
  const { generation } = cluster.run(reserveGeneration, { group: "g", topic: "t" });
  const stored = [{ group: "g", generation }];
  assertEquals(deletedOffsets(state, stored), []);
  cluster.run(deleteGroup, { group: "g" });
  assertEquals(deletedOffsets(state, stored), [{ group: "g", below: generation + 1 }]);
  const later = cluster.run(reserveGeneration, { group: "g", topic: "t" });
  assertEquals(later, { generation: generation + 1, born: generation + 1 });
  assertEquals(deletedOffsets(state, stored), [{ group: "g", below: later.born }]);
  assertEquals(deletedOffsets(state, [{ group: "g", generation: later.generation }]), []);
});

Deno.test("a group expires by the stamps of the log, unless it has changed or has members", () => {
  const cluster = clusterWithTopic();
  const { state } = cluster.machine;
  const { generation } = cluster.run(reserveGeneration, { group: "g", topic: "t" });
  const expire = (groups: { group: string; generation: number }[], retentionMs: number) =>
    cluster.run(expireGroups, { groups, retentionMs });
  expire([{ group: "g", generation }], 2);
  assert(state.groups.has("g"), "one millisecond is not two");
  expire([{ group: "g", generation: generation - 1 }], 1);
  assert(state.groups.has("g"), "it has changed since it was judged");
  const joined = cluster.run(joinGroup, joining);
  expire([{ group: "g", generation: joined.generation }], 1);
  assert(state.groups.has("g"), "it has a member");
  const left = cluster.run(leaveGroup, joining);
  expire([{ group: "g", generation: left.generation }, { group: "none", generation: 1 }], 1);
  assert(!state.groups.has("g"));
});

Deno.test("a group stored before groups had a birth keeps its offsets", () => {
  const cluster = clusterWithTopic();
  cluster.run(reserveGeneration, { group: "g", topic: "t" });
  const group = cluster.machine.state.groups.get("g")!;
  const old = new MetadataMachine();
  old.restore(cluster.machine.snapshot());
  assertEquals(old.state.groups.get("g"), group);
  assertEquals(deletedOffsets(old.state, [{ group: "g", generation: group.generation }]), []);
});

Deno.test("the leading manager deletes a group when its last member left long enough ago", async () => {
  const managers = new Managers(undefined, undefined, minute);
  await managers.pass(1_000);
  await managers.register("b1", "b2", "b3");
  await managers.createTopic("t");
  const { strategy, ...rest } = joining;
  await managers.ask(joinGroupMethod, { ...rest, strategy, returning: false });
  await managers.ask(leaveGroupMethod, { group: "g", member: "a" });
  const left = { requestId: "r", group: "kept", topic: "t" };
  await managers.pass(50_000);
  await managers.ask(reserveGenerationMethod, left);
  const names = async () => {
    const { groups } = await managers.ask(listGroupsMethod, { consistency: "linearizable" });
    return groups.map(({ name }) => name);
  };
  assertEquals(await names(), ["g", "kept"]);
  await managers.pass(20_000);
  assertEquals(await names(), ["kept"]);
  await managers.ask(deleteGroupMethod, { requestId: "d", group: "kept" });
  const stored = [{ group: "kept", generation: 3 }, { group: "later", generation: 99 }];
  const { groups } = await managers.ask(deletedGroupsMethod, { groups: stored });
  assertEquals(groups, [{ group: "kept", below: 4 }]);
  managers.stop();
});
