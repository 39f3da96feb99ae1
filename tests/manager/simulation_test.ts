import { assert, assertEquals } from "@std/assert";
import { sleep } from "../../lib/base/clock.ts";
import { toTrilogError } from "../../lib/base/errors.ts";
import {
  createTopicMethod,
  deleteTopicMethod,
  drainBrokerMethod,
  movePartitionMethod,
} from "../../lib/client/protocol.ts";
import type { Managers } from "../../lib/client/managers.ts";
import { SimClock } from "../../lib/sim/clock.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { unlimited } from "./fixture.ts";
import { LIVENESS, World } from "./simulation.ts";

function aliveBrokers(world: World): string[] {
  return world.newest().sortedBrokers().filter(({ alive }) => alive).map(({ id }) => id);
}

function topic(name: string, partitions = 2) {
  return { requestId: `create-${name}`, name, partitions, settings: unlimited };
}

function newClient(world: World): Managers {
  return world.client(new SimProcess(world.scheduler, "client"));
}

Deno.test("assignments reach brokers within milliseconds, not heartbeat intervals", async () => {
  const world = new World(1, 3);
  await world.ready();
  await world.run(2_000);
  const client = newClient(world);
  const beforeMs = world.scheduler.nowMs;
  await world.settle(client.request(createTopicMethod, topic("logs"), 10_000));
  await world.until("all host it", () => world.brokers.every(({ hosted }) => hosted.size === 2));
  assert(world.scheduler.nowMs - beforeMs < LIVENESS.intervalMs / 4);
});

Deno.test("the leading manager dies while topics are created: each exists once, none is lost", async () => {
  const world = new World(2, 3);
  await world.ready();
  const client = newClient(world);
  const creating = Array.from(
    { length: 12 },
    (_, at) => client.request(createTopicMethod, topic(`t${at}`), 10_000),
  );
  await world.run(3);
  const leader = world.leader()!;
  leader.kill();
  await world.settle(Promise.all(creating));
  await world.until("a follower shows them", () => world.newest().topics.size === 12);
  assertEquals(world.newest().counters.get("topic"), 13, "no number was used twice or in vain");
  leader.restart();
  await world.until(
    "the restarted one is level",
    () =>
      leader.machine.state.version === world.newest().version && leader.machine.state.version > 12,
  );
});

Deno.test("after a failover nobody is declared dead who beats, and who does not is in time", async () => {
  const world = new World(3, 3);
  await world.ready();
  await world.run(4_000);
  world.brokers[0].process.kill();
  await world.run(1_000);
  world.leader()!.kill();
  const killedMs = world.scheduler.nowMs;
  await world.until("the dead one is declared", () => aliveBrokers(world).length === 2);
  const tookMs = world.scheduler.nowMs - killedMs;
  assertEquals(aliveBrokers(world), ["b2", "b3"]);
  assert(tookMs >= LIVENESS.timeToDeadMs - 2_000, `took ${tookMs} ms`);
  assert(tookMs < LIVENESS.timeToDeadMs + 3_000, `took ${tookMs} ms`);
  world.brokers[0].restart();
  await world.until("it is alive again", () => aliveBrokers(world).length === 3, 2_000);
});

Deno.test("everything at once loses power: all is there again", async () => {
  const world = new World(4, 3);
  await world.ready();
  const client = newClient(world);
  await world.settle(client.request(createTopicMethod, topic("logs"), 10_000));
  const before = world.newest().topics.get("logs")!.partitions.map(({ groupId }) => groupId);
  for (const machine of [...world.managers, ...world.brokers]) machine.process.kill();
  for (const manager of world.managers) manager.kill();
  await world.run(60_000);
  for (const machine of [...world.managers, ...world.brokers]) machine.restart();
  await world.until("a leader", () => world.leader() !== undefined);
  await world.run(2_000);
  const after = world.newest().topics.get("logs")!.partitions.map(({ groupId }) => groupId);
  assertEquals(after, before);
  assertEquals(aliveBrokers(world), ["b1", "b2", "b3"]);
});

/** A client that changes things at random and remembers what must be true in the end. */
class Operator {
  /** Topics that certainly exist or certainly do not; the others may. */
  readonly certain = new Map<string, boolean>();
  acknowledged = 0;
  private number = 0;

  constructor(private readonly world: World, private readonly client: Managers) {}

  async act(): Promise<void> {
    const { random } = this.world;
    this.number += 1;
    const name = `t${random.below(6)}`;
    const requestId = `q${this.number}`;
    const draw = random.next();
    if (draw < 0.45) {
      await this.change(
        name,
        true,
        () => this.client.request(createTopicMethod, { ...topic(name), requestId }, 4_000),
      );
    } else if (draw < 0.65) {
      await this.change(
        name,
        false,
        () => this.client.request(deleteTopicMethod, { requestId, name }, 4_000),
      );
    } else if (draw < 0.75) {
      const broker = random.pick(this.world.brokers).id;
      const drain = { requestId, broker, draining: random.chance(0.4) };
      await this.client.request(drainBrokerMethod, drain, 4_000).then(
        () => this.acknowledged += 1,
        () => {},
      );
    } else {
      const brokers = random.shuffled(this.world.brokers.map(({ id }) => id)).slice(0, 3);
      const move = { requestId, topic: name, partition: random.below(2), brokers };
      await this.client.request(movePartitionMethod, move, 4_000).then(
        () => this.acknowledged += 1,
        () => {},
      );
    }
  }

  private async change(
    name: string,
    exists: boolean,
    run: () => Promise<unknown>,
  ): Promise<void> {
    try {
      await run();
      this.acknowledged += 1;
      this.certain.set(name, exists);
    } catch (thrown) {
      const { code } = toTrilogError(thrown);
      if (code === "outcome_unknown") this.certain.delete(name);
      else if (code === "topic_exists") this.certain.set(name, true);
      else if (code === "no_such_topic") this.certain.set(name, false);
    }
  }
}

/** Something befalls a manager or a broker, or ends. */
function misfortune(world: World): void {
  const { random, network, managers } = world;
  const broker = random.pick(world.brokers);
  if (random.chance(0.3)) {
    if (!broker.process.alive) broker.restart();
    else if (world.brokers.every(({ process }) => process.alive)) broker.process.kill();
    return;
  }
  const manager = random.pick(managers);
  const other = random.pick(managers);
  const draw = random.below(6);
  if (draw < 2 && manager.process.alive) manager.kill();
  else if (draw < 4 && !manager.process.alive) manager.restart();
  else if (draw === 4 && manager !== other) network.cut(manager.name, other.name);
  else network.heal();
}

for (let seed = 1; seed <= 6; seed += 1) {
  Deno.test(`managers under random faults keep what they acknowledged, seed ${seed}`, async () => {
    const world = new World(seed, 5);
    await world.ready();
    const process = new SimProcess(world.scheduler, "operator");
    const clock = new SimClock(process);
    const operator = new Operator(world, world.client(process));
    let working = true;
    const work = (async () => {
      while (working) {
        await operator.act();
        await sleep(clock, 40);
      }
    })();
    for (let fault = 0; fault < 40; fault += 1) {
      await world.run(world.random.between(50, 1_500));
      misfortune(world);
    }
    world.network.heal();
    for (const machine of [...world.managers, ...world.brokers]) {
      if (!machine.process.alive) machine.restart();
    }
    await world.until("the cluster works again", () => world.leader() !== undefined);
    working = false;
    await world.settle(work);
    await settled(world);
    for (const [name, exists] of operator.certain) {
      assertEquals(world.newest().topics.has(name), exists, name);
    }
    assert(operator.acknowledged > 20, `only ${operator.acknowledged} were acknowledged`);
    assert(world.deletions > 10, `only ${world.deletions} replicas were deleted`);
  });
}

/** Waits until all managers have one state and all brokers are as it wants them. */
async function settled(world: World): Promise<void> {
  await world.until("brokers host what is wanted and nothing else", () => {
    const state = world.newest();
    if (state.tombstones.size > 0) return false;
    return world.brokers.every(({ replicaId, hosted }) => {
      const wanted = state.sortedTopics().flatMap(({ partitions }) => partitions)
        .filter(({ replicas }) => replicas.includes(replicaId)).map(({ groupId }) => groupId);
      return hosted.size === wanted.length && wanted.every((groupId) => hosted.has(groupId));
    });
  });
  await world.run(1_000);
  // Upkeep may still have something to even out.
  await world.until("all managers have one state", () => {
    const states = world.managers.map(({ machine }) => String(machine.snapshot()));
    return new Set(states).size === 1;
  });
  assertEquals(aliveBrokers(world).length, world.brokers.length, "brokers never fell silent");
}
