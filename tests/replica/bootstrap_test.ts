import { assert, assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { createLogger } from "../../lib/base/logger.ts";
import type { Packable } from "../../lib/base/msgpack.ts";
import { encodeMembership } from "../../lib/raft/membership.ts";
import { Prng } from "../../lib/base/prng.ts";
import {
  Bootstrap,
  type BootstrapStore,
  type Founding,
  HELLO_METHOD,
  PREPARE_METHOD,
} from "../../lib/replica/bootstrap.ts";
import { JOIN_METHOD, joinAnswerCodec, joinCodec } from "../../lib/replica/join_driver.ts";
import { SimClock } from "../../lib/sim/clock.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";

const NOBODY = { voters: [], outgoing: [], learners: [], learnersNext: [], nodes: {} };
const PEERS = ["a1", "a2", "a3"].map((name) => ({ name, address: `${name}:1` }));

/** What a node keeps over a crash. */
class Store implements BootstrapStore {
  cluster: string | null = null;
  stored: Founding | null = null;

  constructor(readonly replicaId: string) {}

  founding(): Founding | null {
    return this.stored;
  }
  prepare(founding: Founding): void {
    this.stored = founding;
  }
  becomeMember(cluster: string): void {
    assert(this.cluster === null || this.cluster === cluster, "a cluster is never changed");
    this.cluster = cluster;
  }
  isMember(): boolean {
    return this.cluster !== null;
  }
}

interface Member {
  readonly name: string;
  store: Store;
  bootstrap: Bootstrap;
  process: SimProcess;
}

/** Three nodes whose calls may be lost; nodes may crash and come back, blank or not. */
class World {
  readonly scheduler = new Scheduler();
  readonly members = new Map<string, Member>();
  readonly joined: string[] = [];
  /** Ids of the members that the leader named to a node. */
  readonly named = new Map<string, readonly string[]>();
  /** What the nodes logged, each line behind the node's name. */
  readonly log: string[] = [];
  loss = 0;
  /** Where join requests are taken; every other member refuses them and names it. */
  leader: string | null = null;
  private clusters = 0;

  constructor(readonly random = new Prng(1)) {}

  start(
    name: string,
    store = new Store(`${name}-${this.random.below(1e9)}`),
    peers = PEERS,
  ): Member {
    const process = new SimProcess(this.scheduler, name);
    const clock = new SimClock(process);
    const bootstrap = new Bootstrap({
      clock,
      logger: createLogger({
        level: "info",
        format: "text",
        clock,
        write: (line) => this.log.push(`${name} ${line}`),
      }),
      caller: { call: (address, method, params) => this.call(name, address, method, params) },
      store,
      self: () => ({ name, address: `${name}:1` }),
      peers,
      members: () => [],
      newClusterId: () => `cluster${++this.clusters}`,
      stopped: () => !process.alive,
      onMembers: (nodes) => this.named.set(name, Object.keys(nodes)),
      onPeer: () => {},
    });
    const member = { name, store, bootstrap, process };
    this.members.set(name, member);
    void bootstrap.run();
    return member;
  }

  crash(name: string): Store {
    const member = this.members.get(name)!;
    member.process.kill();
    this.members.delete(name);
    return member.store;
  }

  async until(what: string, done: () => boolean): Promise<void> {
    const reached = await this.scheduler.runUntil(this.scheduler.nowMs + 60_000, done);
    assert(reached, `not reached: ${what}`);
  }

  get all(): Member[] {
    return [...this.members.values()];
  }

  private async call(
    caller: string,
    address: string,
    method: string,
    params: Packable,
  ): Promise<Packable> {
    await new Promise<void>((resolve) => this.scheduler.after(1, "call", resolve));
    if (this.random.chance(this.loss)) throw new TrilogError("unavailable", "Cannot call: lost");
    const member = this.members.get(address.split(":")[0]);
    if (member === undefined) throw new TrilogError("unavailable", "Cannot call: nobody there");
    const answer = this.answer(caller, member, method, params);
    if (this.random.chance(this.loss)) {
      throw new TrilogError("deadline_exceeded", "Cannot call: answer lost");
    }
    return answer;
  }

  private answer(caller: string, member: Member, method: string, params: Packable): Packable {
    if (method === HELLO_METHOD) return member.bootstrap.hello({ name: caller, role: "peer" });
    if (method === PREPARE_METHOD) return member.bootstrap.prepare(params);
    assertEquals(method, JOIN_METHOD);
    if (this.leader !== null && this.leader !== member.name) {
      const leader = `${this.leader}:1`;
      throw new TrilogError("not_leader", "Cannot take in: not the leader", { leader });
    }
    this.joined.push(joinCodec.decode(params, "join").replicaId);
    const nodes = { [member.store.replicaId]: { name: member.name, address: `${member.name}:1` } };
    const membership = { ...NOBODY, voters: [member.store.replicaId], nodes };
    return joinAnswerCodec.encode({ membership: encodeMembership(membership) });
  }
}

Deno.test("three blank nodes found one cluster with all of them as voters", async () => {
  const world = new World();
  for (const { name } of PEERS) world.start(name);
  await world.until("all are members", () => world.all.every(({ store }) => store.isMember()));
  const ids = world.all.map(({ store }) => store.replicaId).sort();
  for (const { store } of world.all) {
    assertEquals(store.cluster, "cluster1");
    assertEquals(store.stored?.membership.voters, ids);
  }
});

Deno.test("nobody founds while one of --peers is missing", async () => {
  const world = new World();
  world.start("a1");
  world.start("a2");
  await world.scheduler.runUntil(30_000);
  assert(world.all.every(({ store }) => !store.isMember() && store.founding() === null));
  world.start("a3");
  await world.until("all are members", () => world.all.every(({ store }) => store.isMember()));
});

Deno.test("a member refuses to prepare another founding, and so does a node that is not in it", async () => {
  const world = new World();
  for (const { name } of PEERS) world.start(name);
  await world.until("all are members", () => world.all.every(({ store }) => store.isMember()));
  const { bootstrap, store } = world.members.get("a2")!;
  const before = store.founding();
  const foundingOf = (voter: string) => {
    const nodes = { [voter]: { name: "a2", address: "a2:1" } };
    return ["another", encodeMembership({ ...NOBODY, voters: [voter], nodes })];
  };
  const refusal = (node: Bootstrap, voter: string) =>
    (assertThrows(() => node.prepare(foundingOf(voter)), TrilogError) as TrilogError).code;
  assertEquals(refusal(bootstrap, store.replicaId), "wrong_cluster");
  assertEquals([store.founding(), store.cluster], [before, "cluster1"]);
  const blank = new World().start("a1");
  assertEquals(refusal(blank.bootstrap, "somebody-else"), "invalid_membership");
  assertEquals(blank.store.founding(), null);
});

Deno.test("nodes whose --peers differ found nothing, and each says why", async () => {
  const world = new World();
  const two = PEERS.slice(0, 2);
  world.start("a1", undefined, two);
  world.start("a2");
  world.start("a3");
  await world.scheduler.runUntil(30_000);
  assert(world.all.every(({ store }) => !store.isMember() && store.founding() === null));
  const says = (name: string, text: string) =>
    world.log.filter((line) => line.startsWith(`${name} `) && line.includes(text)).length;
  const differ = "--peers must name the same nodes everywhere: a1,a2,a3 here, a1,a2 at a1";
  assertEquals([says("a2", differ), says("a3", differ)], [1, 1], "once, not ten times a second");
  assertEquals(says("a1", "a1,a2 here, a1,a2,a3 at a2"), 1);
  assertEquals(says("a1", "a3 names this node in its --peers, and --peers here does not"), 1);
});

Deno.test("a node that waits says for which peer, at which address, and why", async () => {
  const world = new World();
  const { bootstrap } = world.start("a1");
  world.start("a2");
  await world.scheduler.runUntil(2_000);
  const reason = "waiting for a3 at a3:1 (nobody there)";
  const line = world.log.find((line) => line.includes(reason));
  assert(line !== undefined, world.log.join("\n"));
  assertEquals(bootstrap.waitingFor, reason);
});

Deno.test("a blank node that meets a member asks to be taken in and never founds", async () => {
  const world = new World();
  for (const { name } of PEERS) world.start(name);
  await world.until("all are members", () => world.all.every(({ store }) => store.isMember()));
  world.crash("a3");
  const wiped = world.start("a3");
  await world.until("it has joined", () => wiped.store.isMember());
  assertEquals(wiped.store.cluster, "cluster1");
  assertEquals(wiped.store.founding(), null);
  assert(world.joined.includes(wiped.store.replicaId));
});

Deno.test("a blank node follows refusals to a leader that its --peers does not name", async () => {
  const world = new World();
  for (const { name } of PEERS) world.start(name);
  await world.until("all are members", () => world.all.every(({ store }) => store.isMember()));
  const store = new Store("a4-1");
  store.becomeMember("cluster1");
  world.start("a4", store);
  world.leader = "a4";
  world.crash("a3");
  const wiped = world.start("a3");
  await world.until("it has joined", () => wiped.store.isMember());
  assert(world.joined.includes(wiped.store.replicaId));
  assertEquals(world.named.get("a3"), ["a4-1"], "it can answer the leader");
});

Deno.test("one blank node after the other is taken in, also by those that were taken in before", async () => {
  const world = new World();
  for (const { name } of PEERS) world.start(name);
  await world.until("all are members", () => world.all.every(({ store }) => store.isMember()));
  for (const { name } of PEERS) {
    world.crash(name);
    const wiped = world.start(name);
    await world.until(`${name} has joined`, () => wiped.store.isMember());
    assertEquals([wiped.store.cluster, wiped.store.founding()], ["cluster1", null]);
  }
});

Deno.test("whatever is lost and whoever crashes or is wiped meanwhile, there is one cluster", async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const world = new World(new Prng(seed));
    world.loss = 0.3;
    for (const { name } of PEERS) world.start(name);
    for (let round = 0; round < 6; round += 1) {
      await world.scheduler.runUntil(world.scheduler.nowMs + world.random.below(400));
      const { name } = world.random.pick(PEERS);
      const store = world.crash(name);
      // A member that is wiped comes back blank; nobody is a member here yet unless all stored it.
      const wiped = world.random.chance(0.3) && !store.isMember();
      world.start(name, wiped ? undefined : store);
    }
    world.loss = 0;
    await world.until("all are members", () => world.all.every(({ store }) => store.isMember()));
    const clusters = new Set(world.all.map(({ store }) => store.cluster));
    assertEquals(clusters.size, 1, `seed ${seed}`);
  }
});
