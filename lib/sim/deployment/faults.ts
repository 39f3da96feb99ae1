/**
 * The faults of a deployment as plain data, drawn before it begins. Machines are numbered from 0:
 * managers, then brokers; links have the clients' machines behind them.
 */

import { Prng } from "../../base/prng.ts";
import { drawFault, type Fault, starvations } from "../faults.ts";
import type { FaultKind } from "../options.ts";
import type { DeploymentFaultKind, DeploymentOptions } from "./options.ts";

export type DeploymentFault = Exclude<Fault, { kind: "membership" | "transfer" }>;

/** The faults of a seed, in the order of their times. */
export function deploymentScheduleOf(seed: number, options: DeploymentOptions): DeploymentFault[] {
  const random = new Prng(seed ^ 0xfa017);
  const { faultEveryMs, faultsMs, managers, brokers } = options;
  const kinds = options.kinds.filter((kind) => kind !== "starve");
  const faults: DeploymentFault[] = starvations(seed, { ...options, nodes: managers + brokers });
  const inOrder = () => faults.sort((left, right) => left.atMs - right.atMs);
  if (faultEveryMs === null || kinds.length === 0) return inOrder();
  let atMs = 0;
  for (;;) {
    atMs += Math.ceil(random.next() * 2 * faultEveryMs);
    if (atMs >= faultsMs) return inOrder();
    faults.push(draw(random, random.pick(kinds), atMs, options));
  }
}

function draw(
  random: Prng,
  kind: Exclude<DeploymentFaultKind, "starve">,
  atMs: number,
  options: DeploymentOptions,
): DeploymentFault {
  const { managers, brokers, producers, consumers, electionTimeoutMs } = options;
  const servers = managers + brokers;
  const onLinks = (LINK_KINDS as readonly string[]).includes(kind);
  const nodes = onLinks ? servers + producers + consumers : servers;
  const victim = random.below(servers);
  const drawn = drawFault(random, kind satisfies FaultKind, atMs, victim, {
    nodes,
    groups: GROUPS,
    electionTimeoutMs,
  });
  return drawn as DeploymentFault;
}

const LINK_KINDS = ["partition", "clog"] as const;
/** A fault that is meant for a group's leader chooses the group by a number below this. */
const GROUPS = 1_000;
