import { assert, assertEquals, assertMatch } from "@std/assert";
import { TestCluster } from "./cluster.ts";

Deno.test("a group without a majority names the members that are missing, and none once they are back", async () => {
  const cluster = new TestCluster(3);
  const leader = await cluster.elected();
  const others = cluster.nodes.filter((node) => node !== leader);
  assertEquals(cluster.replica(leader).missingQuorum(), null);
  for (const node of others) cluster.kill(node);
  await cluster.run(14_000);
  const missing = cluster.replica(leader).missingQuorum();
  assert(missing !== null);
  const [first, second] = others.map(({ id }) => `${id} \\(${id}:1\\)`).sort();
  assertMatch(missing, new RegExp(`^${first} and ${second} not heard for 1[345] s$`));
  for (const node of others) cluster.restart(node);
  await cluster.elected();
  assertEquals(cluster.replica(leader).missingQuorum(), null);
});
