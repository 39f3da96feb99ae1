import { assert } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import type { ReplicaId } from "../../lib/raft/types.ts";
import { Cluster } from "./harness.ts";

const SEEDS = 80;
const STEPS = 400;
const IDS: readonly ReplicaId[] = ["1", "2", "3"];

/** One act of a world in which leaders are cut off, restarted, paused and replaced in a hurry. */
function act(cluster: Cluster, random: Prng): void {
  const leader = cluster.leader()?.id;
  const dice = random.below(100);
  if (dice < 60) {
    const awake = IDS.filter(() => random.chance(0.85));
    cluster.advance(random.pick([1, 3, 7, 20]), awake, random.pick([1, 5]));
  } else if (dice < 70 && leader !== undefined) cluster.propose(leader, "x");
  else if (dice < 85) IDS.forEach((id) => cluster.read(id));
  else if (dice < 90 && leader !== undefined) {
    cluster.isolate(leader);
    for (const id of IDS) cluster.step(id, { kind: "peer_unreachable", peer: leader });
  } else if (dice < 95) cluster.heal();
  else if (dice < 97 && leader !== undefined) {
    cluster.step(leader, { kind: "transfer_leadership", to: random.pick(IDS) });
  } else cluster.restart(random.pick(IDS));
}

/** Ids of those who would answer reads alone at this moment, each by its own clock. */
function holders(cluster: Cluster): ReplicaId[] {
  return IDS.filter((id) =>
    cluster.node(id).raft.leaseValid(cluster.nowMs * cluster.clockRates.get(id)!)
  );
}

Deno.test("whoever holds a lease knows all that is committed, with clocks of different rates and hasty candidates", () => {
  let held = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const random = new Prng(seed);
    const leaseMs = random.pick([40, 90, 150]);
    // In half of the worlds leases are being switched off, node by node.
    const changed = seed % 2 === 0 ? IDS.filter(() => random.chance(0.5)) : [];
    const without = { leaseMs: 0, formerLeaseMs: leaseMs };
    const cluster = new Cluster({
      seed,
      options: { leaseMs },
      optionsById: Object.fromEntries(changed.map((id) => [id, without])),
    });
    for (const id of IDS) cluster.clockRates.set(id, 1 + random.next() * 0.0099);
    cluster.elect("1");
    for (let step = 0; step < STEPS; step += 1) {
      act(cluster, random);
      for (const id of holders(cluster)) {
        held += 1;
        const commits = IDS.map((other) => cluster.status(other).commit);
        const known = cluster.status(id).commit;
        assert(known === Math.max(...commits), `seed ${seed}: ${id} knows ${known} of ${commits}`);
      }
    }
  }
  assert(held > SEEDS * STEPS / 10, `a lease was held at ${held} moments only`);
});
