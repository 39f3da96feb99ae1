import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import type { Message, ReplicaId } from "../../lib/raft/types.ts";
import { targetOf } from "./disks.ts";
import { Cluster, type TestNode } from "./harness.ts";

const SEEDS = 200;
const STEPS = 3_000;

/** A cluster under random orders, with the faults and the load that its seed picks. */
class Schedule {
  readonly random: Prng;
  readonly cluster: Cluster;
  readonly ids: readonly ReplicaId[];
  private readonly loss: number;
  private readonly repeat: number;

  constructor(seed: number) {
    this.random = new Prng(seed);
    const size = this.random.between(1, 5);
    this.ids = ["1", "2", "3", "4", "5", "6"].slice(0, size + 1);
    const leased = this.random.chance(0.3);
    this.cluster = new Cluster({
      voters: this.ids.slice(0, size),
      blanks: this.ids.slice(size),
      seed,
      options: {
        leaseMs: leased ? 60 : 0,
        diskStallMs: this.random.pick([40, 1_000_000]),
        maxAppendBytes: this.random.pick([64, 256, 1 << 20]),
        maxInflightMessages: this.random.between(1, 8),
        entryCacheBytes: this.random.pick([0, 200, 1 << 20]),
      },
    });
    for (const id of this.ids) this.cluster.clockRates.set(id, 1 + this.random.next() * 0.009);
    this.loss = this.random.pick([0, 0.05, 0.3]);
    this.repeat = this.random.pick([0, 0.1, 0.5]);
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step += 1) this.once();
  }

  private once(): void {
    const { random, cluster } = this;
    const id = random.pick(this.ids);
    const node = cluster.node(id);
    const dice = random.below(1000);
    if (dice < 380) this.deliverOne();
    else if (dice < 540) cluster.take(id);
    else if (dice < 680) cluster.sync(id, random.between(1, 2));
    else if (dice < 760) cluster.apply(id);
    else if (dice < 860) this.tick(id);
    else if (dice < 930) cluster.propose(cluster.leader()?.id ?? id, `c${dice}`);
    else if (dice < 945) cluster.read(id);
    else if (dice < 955) cluster.fetch(id);
    else if (dice < 965) cluster.sendSnapshots(id, random.chance(0.8));
    else if (dice < 972) this.compact(node);
    else if (dice < 980) this.crashOrRestart(node);
    else if (dice < 985) this.changeMembers();
    else if (dice < 988) cluster.step(id, { kind: "transfer_leadership", to: this.other() });
    else if (dice < 992) cluster.step(id, { kind: "peer_unreachable", peer: this.other() });
    else if (dice < 996) this.cutOrHeal(id);
    else if (dice < 998) cluster.step(id, { kind: "resume" });
    else cluster.settle(this.ids.filter((one) => cluster.node(one).alive));
  }

  private other(): ReplicaId {
    return this.random.pick(this.ids);
  }

  private deliverOne(): void {
    const { network } = this.cluster;
    if (network.length === 0) return;
    const at = this.random.chance(0.7) ? 0 : this.random.below(network.length);
    const message: Message = network[at];
    if (!this.random.chance(this.repeat)) network.splice(at, 1);
    if (!this.random.chance(this.loss)) this.cluster.deliver(message);
    if (network.length > 400) network.splice(0, 200);
  }

  private tick(id: ReplicaId): void {
    this.cluster.nowMs += this.random.pick([0, 1, 5, 20]);
    this.cluster.step(id, { kind: "tick" });
  }

  private compact(node: TestNode): void {
    const { entries } = node.disk;
    const upTo = entries.filter((entry) => node.alive && entry.index <= node.status.applied);
    if (upTo.length > 0) this.cluster.compact(node.id, this.random.pick(upTo).index);
  }

  private crashOrRestart(node: TestNode): void {
    if (!node.alive || this.random.chance(0.5)) this.cluster.restart(node.id);
    else this.cluster.crash(node.id);
  }

  private changeMembers(): void {
    const shuffled = this.random.shuffled(this.ids);
    const voters = shuffled.slice(0, this.random.between(1, shuffled.length));
    const learners = shuffled.filter((id) => !voters.includes(id) && this.random.chance(0.5));
    const leader = this.cluster.leader();
    if (leader !== undefined) this.cluster.change(leader.id, targetOf(voters, learners));
  }

  private cutOrHeal(id: ReplicaId): void {
    if (this.random.chance(0.5)) this.cluster.heal();
    else this.cluster.cut.add(`${id}>${this.other()}`);
  }

  /** All faults end: everything must come to one leader that serves everybody. */
  recover(): void {
    const { cluster } = this;
    cluster.heal();
    for (const node of cluster.nodes.values()) if (!node.alive) cluster.restart(node.id);
    for (let waited = 0; waited < 5_000; waited += 100) {
      cluster.advance(100);
      if (this.isWhole()) return;
    }
    throw new Error("no leader serves everybody after the faults ended");
  }

  private isWhole(): boolean {
    const leader = this.cluster.leader();
    if (leader === undefined || !leader.status.readReady) return false;
    const { progress, last, commit } = leader.status;
    return commit === last.index &&
      progress.every(({ id }) => this.cluster.status(id).applied === commit);
  }

  check(): void {
    const leader = this.cluster.leader();
    assert(leader !== undefined);
    const read = this.cluster.read(leader.id);
    const request = this.cluster.propose(leader.id, "last");
    this.cluster.advance(200);
    assertEquals(leader.outcome(read)?.kind, "readable");
    assertEquals(leader.outcome(request)?.kind, "accepted");
    assertEquals(leader.status.commit, leader.status.last.index);
  }
}

Deno.test("under random orders, loss, repeats, crashes and membership changes every invariant holds, and the group recovers", () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    try {
      const schedule = new Schedule(seed);
      schedule.run(STEPS);
      schedule.recover();
      schedule.check();
    } catch (thrown) {
      throw new Error(`seed ${seed}: ${thrown}`, { cause: thrown });
    }
  }
});
