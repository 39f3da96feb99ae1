import { assert, assertEquals } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import type {
  BrokerMetadata,
  ClusterMetadata,
  PartitionMetadata,
} from "../../lib/client/protocol.ts";
import { Routing } from "../../lib/client/routing.ts";

function broker(id: string, more: Partial<BrokerMetadata> = {}): BrokerMetadata {
  return { id, replicaId: `r-${id}`, address: `${id}:1`, rack: "", alive: true, ...more };
}

function partition(more: Partial<PartitionMetadata> = {}): PartitionMetadata {
  return {
    partition: 0,
    groupId: "p/1/0",
    epoch: 1,
    replicas: ["r-b1", "r-b2", "r-b3"],
    leader: null,
    leaderTerm: 0,
    ...more,
  };
}

function metadata(
  version: number,
  partitions: readonly PartitionMetadata[],
  brokers = [broker("b1"), broker("b2"), broker("b3")],
): ClusterMetadata {
  const settings = { retentionBytes: 0, retentionMs: 0 };
  return {
    clusterId: "c",
    version,
    topics: partitions.length === 0 ? [] : [{ name: "logs", settings, partitions }],
    brokers,
    managers: [
      { id: "m1", replicaId: "r-m1", address: "m1:1", leader: false },
      { id: "m2", replicaId: "r-m2", address: "m2:1", leader: true },
    ],
  };
}

function routing(first: ClusterMetadata): Routing {
  const routes = new Routing(new Prng(1));
  assert(routes.update(first));
  return routes;
}

const closed = new TrilogError("connection_closed", "Cannot produce: test");
const notLeader = (leader: string) =>
  new TrilogError("not_leader", "Cannot produce: test", { leader });

Deno.test("a partition is asked of its known leader, else of the preferred one", () => {
  assertEquals(routing(metadata(1, [partition()])).route("logs", 0), {
    groupId: "p/1/0",
    epoch: 1,
    address: "b1:1",
  });
  const led = partition({ leader: "r-b3", leaderTerm: 4 });
  assertEquals(routing(metadata(1, [led])).route("logs", 0)?.address, "b3:1");
});

Deno.test("brokers that are declared dead are asked last", () => {
  const brokers = [broker("b1", { alive: false }), broker("b2"), broker("b3")];
  const routes = routing(metadata(1, [partition({ leader: "r-b1", leaderTerm: 2 })], brokers));
  const asked: string[] = [];
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const route = routes.route("logs", 0)!;
    asked.push(route.address);
    routes.failed(route, closed);
  }
  assertEquals(asked, ["b2:1", "b3:1", "b1:1"]);
});

Deno.test("an unknown topic or partition has no route", () => {
  const routes = routing(metadata(1, [partition()]));
  assertEquals(routes.route("logs", 1), null);
  assertEquals(routes.route("other", 0), null);
  assertEquals(routes.topic("other"), undefined);
});

Deno.test("older metadata never replaces newer", () => {
  const routes = routing(metadata(5, [partition()]));
  assertEquals(routes.update(metadata(4, [])), false);
  assertEquals(routes.version, 5);
  assert(routes.route("logs", 0) !== null);
});

Deno.test("what a broker said outlives metadata of the same term and yields to a later term", () => {
  const led = (version: number, leader: string, leaderTerm: number) =>
    metadata(version, [partition({ leader, leaderTerm })]);
  const routes = routing(led(1, "r-b1", 3));
  routes.failed(routes.route("logs", 0)!, notLeader("b2:1"));
  routes.update(led(2, "r-b1", 3));
  assertEquals(routes.route("logs", 0)?.address, "b2:1");
  routes.update(led(3, "r-b3", 4));
  assertEquals(routes.route("logs", 0)?.address, "b3:1");
});

Deno.test("a new epoch is in the next route", () => {
  const routes = routing(metadata(1, [partition()]));
  routes.update(metadata(2, [partition({ epoch: 2 })]));
  assertEquals(routes.route("logs", 0)?.epoch, 2);
});

Deno.test("a broker's new address replaces the old one", () => {
  const routes = routing(metadata(1, [partition({ leader: "r-b1", leaderTerm: 1 })]));
  const moved = [broker("b1", { address: "b1:2" }), broker("b2"), broker("b3")];
  routes.update(metadata(2, [partition({ leader: "r-b1", leaderTerm: 1 })], moved));
  assertEquals(routes.route("logs", 0)?.address, "b1:2");
});

Deno.test("a failure for a partition that is gone asks for new metadata", () => {
  const routes = routing(metadata(1, [partition()]));
  const route = routes.route("logs", 0)!;
  routes.update(metadata(2, []));
  assertEquals(routes.route("logs", 0), null);
  assertEquals(routes.failed(route, closed), { kind: "retry", delayMs: 0, refresh: true });
});

Deno.test("managers are listed with the leading one first", () => {
  assertEquals(routing(metadata(1, [])).managers.map(({ address }) => address), ["m2:1", "m1:1"]);
  assertEquals(new Routing(new Prng(1)).managers, []);
});

Deno.test("wherever the leader moves, a client that follows the advice finds it", () => {
  for (let seed = 0; seed < 200; seed += 1) {
    const random = new Prng(seed);
    const routes = routing(metadata(1, [partition()]));
    let version = 1;
    let term = 1;
    for (let move = 0; move < 10; move += 1) {
      const leader = random.pick(["b1", "b2", "b3"]);
      term += 1;
      for (let attempt = 0; attempt < 60; attempt += 1) {
        const route = routes.route("logs", 0)!;
        if (route.address === `${leader}:1`) break;
        const error = random.pick([
          closed,
          notLeader(`${leader}:1`),
          notLeader(random.pick(["b1:1", "b2:1", "b3:1"])),
        ]);
        const advice = routes.failed(route, error);
        assert(advice.kind === "retry");
        if (!advice.refresh || random.chance(0.5)) continue;
        version += 1;
        routes.update(metadata(version, [partition({ leader: `r-${leader}`, leaderTerm: term })]));
      }
      assertEquals(routes.route("logs", 0)!.address, `${leader}:1`);
      routes.succeeded(routes.route("logs", 0)!);
    }
  }
});
