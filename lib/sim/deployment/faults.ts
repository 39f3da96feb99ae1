/**
 * The faults of a deployment as plain data, drawn before it begins. Machines are numbered from 0:
 * managers, then brokers; links have the clients' machines behind them.
 */

import { limits } from "../../base/limits.ts";
import { Prng } from "../../base/prng.ts";
import { drawFault, type Fault, starvations } from "../faults.ts";
import type { FaultKind } from "../options.ts";
import { DISK_OPERATIONS, type DiskOperation } from "../process_disk.ts";
import type { DeploymentFaultKind, DeploymentOptions } from "./options.ts";

/** What an operator wishes for meanwhile; topics and partitions are taken modulo what there is. */
export type OperatorFault =
  | {
    readonly kind: "move";
    readonly atMs: number;
    readonly topic: number;
    readonly partition: number;
    /** Three different brokers. */
    readonly brokers: readonly number[];
  }
  | {
    readonly kind: "drain";
    readonly atMs: number;
    readonly broker: number;
    readonly forMs: number;
  }
  | { readonly kind: "rebalance"; readonly atMs: number }
  | {
    readonly kind: "alter";
    readonly atMs: number;
    readonly topic: number;
    readonly retentionBytes: number;
  }
  /** One more partition. */
  | { readonly kind: "grow"; readonly atMs: number; readonly topic: number }
  /** A topic that holds nothing is made, and deleted after a while. */
  | { readonly kind: "short_topic"; readonly atMs: number; readonly forMs: number }
  /** A spare broker joins. */
  | { readonly kind: "join"; readonly atMs: number }
  /** A broker is drained, and removed once it is empty. */
  | { readonly kind: "retire"; readonly atMs: number; readonly broker: number }
  /** Two of a partition's three replicas are lost; it is recovered from the third. */
  | {
    readonly kind: "recover";
    readonly atMs: number;
    readonly topic: number;
    readonly partition: number;
    readonly survivor: number;
    readonly forMs: number;
  };

export type DeploymentFault =
  | Exclude<Fault, { kind: "membership" | "transfer" | "delete_group" | "put_back" | "reads" }>
  | OperatorFault
  /** A process ends right after one of its disk operations, before it learns of its success. */
  | {
    readonly kind: "crash_point";
    readonly atMs: number;
    readonly node: number;
    readonly leaderOf: number | null;
    /** Null: any. */
    readonly operation: DiskOperation | null;
    /** So many of them pass before. */
    readonly skip: number;
    readonly how: "kill" | "power";
    readonly forMs: number;
  }
  /** A server is stopped as by SIGTERM and started again. */
  | {
    readonly kind: "restart";
    readonly atMs: number;
    readonly node: number;
    readonly forMs: number;
  }
  /** A group's whole directory is gone when the process starts again. */
  | {
    readonly kind: "lost_group";
    readonly atMs: number;
    readonly node: number;
    readonly group: number;
    readonly forMs: number;
  }
  /** A consumer dies, or stops, and another takes its place. */
  | {
    readonly kind: "consumer";
    readonly atMs: number;
    readonly number: number;
    readonly how: "kill" | "stop";
    readonly forMs: number;
  };

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
  const { managers, brokers, consumers, electionTimeoutMs } = options;
  const node = random.below(managers + brokers);
  const forMs = random.between(10, 4 * electionTimeoutMs);
  switch (kind) {
    case "move": {
      const [topic, partition] = [random.below(MANY), random.below(MANY)];
      const places = random.shuffled([...Array(brokers).keys()]).slice(0, limits.partitionReplicas);
      return { kind, atMs, topic, partition, brokers: places };
    }
    case "drain":
      return { kind, atMs, broker: random.below(brokers), forMs: random.between(1_000, 20_000) };
    case "rebalance":
      return { kind, atMs };
    case "alter": {
      const retentionBytes = random.pick([0, 5_000, 50_000]);
      return { kind, atMs, topic: random.below(MANY), retentionBytes };
    }
    case "grow":
      return { kind, atMs, topic: random.below(MANY) };
    case "short_topic":
      return { kind, atMs, forMs: random.between(100, 10_000) };
    case "join":
      return { kind, atMs };
    case "retire":
      return { kind, atMs, broker: random.below(brokers) };
    case "recover": {
      const [topic, partition] = [random.below(MANY), random.below(MANY)];
      return { kind, atMs, topic, partition, survivor: random.below(MANY), forMs };
    }
    case "restart":
      return { kind, atMs, node, forMs };
    case "lost_group":
      return { kind, atMs, node, group: random.below(MANY), forMs };
    case "consumer": {
      const how = random.pick(["kill", "stop"] as const);
      return { kind, atMs, number: random.below(consumers), how, forMs };
    }
    case "crash_point": {
      const operation = random.pick([null, ...DISK_OPERATIONS]);
      const skip = random.below(random.pick([1, 5, 50]));
      const leaderOf = random.chance(0.3) ? random.below(MANY) : null;
      const how = random.pick(["kill", "power"] as const);
      return { kind, atMs, node, leaderOf, operation, skip, how, forMs };
    }
    default:
      return drawShared(random, kind, atMs, node, options);
  }
}

/** Faults that hosts of groups have as well. */
function drawShared(
  random: Prng,
  kind: SharedKind,
  atMs: number,
  node: number,
  { managers, brokers, producers, consumers, electionTimeoutMs }: DeploymentOptions,
): DeploymentFault {
  // Clients may reach a server that the others do not: it then takes what it cannot commit.
  const onLinks = (LINK_KINDS as readonly string[]).includes(kind) && random.chance(0.5);
  const nodes = managers + brokers + (onLinks ? producers + consumers : 0);
  const shape = { nodes, groups: MANY, electionTimeoutMs, victims: 1 };
  return drawFault(random, kind, atMs, node, shape) as DeploymentFault;
}

type SharedKind = Extract<Exclude<DeploymentFaultKind, "starve">, FaultKind>;

const LINK_KINDS = ["partition", "clog"] as const;
/** Groups, topics and partitions are chosen by a number below this, modulo what there is. */
const MANY = 1_000;
