import { assert, assertEquals } from "@std/assert";
import { GroupNews } from "../../lib/manager/group_news.ts";
import { joinGroup, leaveGroup, releasePartitions } from "../../lib/manager/groups.ts";
import { type Cluster, clusterOf } from "./fixture.ts";

const MEMBERS = 50;

function join(cluster: Cluster, member: string): void {
  cluster.run(joinGroup, {
    group: "g",
    member,
    client: "",
    topics: ["t"],
    strategy: "round_robin",
    instance: null,
    sessionTimeoutMs: 10_000,
  });
}

/** Has every member release what is to move. */
function settle(cluster: Cluster): void {
  const { partitions } = cluster.machine.state.groups.get("g")!;
  for (const { groupId, owner, target, generation } of partitions) {
    if (owner === target) continue;
    const released = { group: "g", member: owner, partitions: [{ groupId, generation }] };
    cluster.run(releasePartitions, released);
  }
}

/** Members that know all that concerns them as of an earlier generation. */
function ignorant(news: GroupNews, cluster: Cluster, generation: number): string[] {
  const group = cluster.machine.state.groups.get("g")!;
  return group.members.map(({ id }) => id).filter((id) => !news.isKnown(group, id, generation));
}

Deno.test("a change is news to the members whose partitions it moves, and to no others", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("t", 100);
  const news = new GroupNews();
  const observe = () => news.observe(cluster.machine.state.groups);
  for (let at = 0; at < MEMBERS; at += 1) join(cluster, `m${10 + at}`);
  settle(cluster);
  observe();
  const group = () => cluster.machine.state.groups.get("g")!;
  let { generation } = group();
  assertEquals(ignorant(news, cluster, generation), []);
  assertEquals(ignorant(news, cluster, generation - 1).length, MEMBERS);

  join(cluster, "new");
  observe();
  const moving = group().partitions.filter(({ owner, target }) => owner !== target);
  const concerned = new Set(moving.flatMap(({ owner, target }) => [owner, target!]));
  assert(concerned.has("new") && concerned.size < 5);
  assertEquals(new Set(ignorant(news, cluster, generation)), concerned);

  generation = group().generation;
  const [{ groupId, owner, generation: granted }] = moving;
  const partitions = [{ groupId, generation: granted }];
  cluster.run(releasePartitions, { group: "g", member: owner, partitions });
  observe();
  assertEquals(new Set(ignorant(news, cluster, generation)), new Set([owner, "new"]));

  generation = group().generation;
  cluster.run(leaveGroup, { group: "g", member: "new" });
  observe();
  assert(ignorant(news, cluster, generation).length < 5);
});

Deno.test("what was not seen counts as news", () => {
  const cluster = clusterOf(3);
  cluster.createTopic("t", 4);
  const news = new GroupNews();
  join(cluster, "a");
  const { generation } = cluster.machine.state.groups.get("g")!;
  join(cluster, "b");
  news.observe(cluster.machine.state.groups);
  assertEquals(ignorant(news, cluster, generation), ["a", "b"]);
});
