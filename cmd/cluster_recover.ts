/** `trilog cluster recover`: the last resort for a partition whose majority is gone for good. */

import { TrilogError } from "../lib/base/errors.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { groupedNumber } from "../lib/cli/units.ts";
import {
  type ClusterStatus,
  clusterStatusMethod,
  type PartitionStatus,
  recoverPartitionMethod,
  type SurveyAnswer,
  surveyMethod,
} from "../lib/client/protocol.ts";
import type { Caller } from "../lib/net/rpc_client.ts";
import { parsePartition } from "./cluster_view.ts";
import { type Ask, newRequestId, withManagers } from "./managers_client.ts";
import { waitUntilDone } from "./progress_line.ts";

const SURVEY_MS = 3_000;

/** A living broker that has a replica, and what it has. */
export interface Survivor extends SurveyAnswer {
  readonly broker: string;
  readonly replicaId: string;
}

export const recover = defineCommand({
  name: "recover",
  summary: "continue a partition that lost its majority for good",
  details: "Only when the lost brokers will never come back: what was acknowledged after the\n" +
    "highest offset that --dry-run names is lost. The most complete survivor's log goes on\n" +
    "in a new epoch; old replicas that return are refused and kept aside.",
  examples: [
    "trilog cluster recover logs/0 --dry-run",
    "trilog cluster recover logs/0 --accept-loss",
  ],
  interruption: "graceful",
  positionals: { partition: { help: "TOPIC/PARTITION", completion: "partition" } },
  flags: {
    dryRun: { type: "boolean", help: "say what is known and what may be lost; change nothing" },
    acceptLoss: { type: "boolean", help: "do it" },
    ...bootstrapFlags,
    ...securityFlags,
  },
  run: ({ flags, args, json, terminal, signal }) => {
    if (flags.dryRun === flags.acceptLoss) {
      throw new TrilogError("usage", "Cannot recover: give either --dry-run or --accept-loss");
    }
    return withManagers(flags, async (ask, caller) => {
      const { topic, partition } = parsePartition(args.partition);
      const finding = await survey(ask, caller, topic, partition);
      if (flags.acceptLoss) {
        const { survivor: { replicaId }, endOffset, status: { epoch } } = finding;
        const requestId = newRequestId();
        const wish = { requestId, topic, partition, epoch, survivor: replicaId, endOffset };
        await ask(recoverPartitionMethod, wish);
      }
      const shown = json
        ? [JSON.stringify(findingObject(finding, flags.acceptLoss))]
        : findingLines(args.partition, finding, flags.acceptLoss);
      for (const line of shown) await terminal.print(line);
      if (flags.dryRun) return exitStatus.done;
      await waitUntilDone(terminal, signal, async () => {
        const { leader } = await readPartition(ask, topic, partition);
        return { text: `${args.partition} waits for its leader`, done: leader !== null };
      });
      return exitStatus.done;
    });
  },
});

interface Finding {
  readonly status: PartitionStatus;
  /** Names of its members, and of those that are alive. */
  readonly members: readonly string[];
  readonly living: readonly string[];
  readonly survivors: readonly Survivor[];
  /** The one whose log is the most complete, as Raft compares logs. */
  readonly survivor: Survivor;
  /** Highest end that anybody knows of. */
  readonly endOffset: number;
}

async function survey(
  ask: Ask,
  caller: Caller,
  topic: string,
  partition: number,
): Promise<Finding> {
  const cluster = await ask(clusterStatusMethod, { consistency: "linearizable" });
  const status = partitionOf(cluster, topic, partition);
  const { groupId, epoch } = status;
  const asked = cluster.brokers.filter(({ alive }) => alive).map(async (broker) => {
    const params = surveyMethod.request.encode({ groupId, epoch });
    const options = { deadlineMs: SURVEY_MS };
    const answer = await caller.call(broker.address, surveyMethod.name, params, options);
    const { id, replicaId } = broker;
    return { broker: id, replicaId, ...surveyMethod.answer.decode(answer, surveyMethod.name) };
  });
  const survivors = (await Promise.allSettled(asked))
    .filter((result) => result.status === "fulfilled").map(({ value }) => value)
    .sort((left, right) => right.lastTerm - left.lastTerm || right.lastIndex - left.lastIndex);
  const { members, living } = membersOf(cluster, status);
  const act = `Cannot recover ${topic}/${partition}`;
  if (living.length * 2 > members.length) {
    throw new TrilogError("invalid_argument", `${act}: ${needless(status, members, living)}`);
  }
  if (survivors.length === 0) {
    throw new TrilogError("invalid_argument", `${act}: no living broker has a replica of it`);
  }
  const ends = [status.endOffset, ...survivors.map((survivor) => survivor.endOffset)];
  const endOffset = Math.max(...ends);
  return { status, members, living, survivors, survivor: survivors[0], endOffset };
}

/** Why there is nothing to recover. */
export function needless(
  { epoch }: PartitionStatus,
  members: readonly string[],
  living: readonly string[],
): string {
  const recovered = epoch > 1 ? `it was recovered before and goes on in epoch ${epoch}: ` : "";
  if (members.length === 1) return `${recovered}its only voter ${members[0]} is alive and sound`;
  const majority = `a majority of its voters ${members.join(", ")}`;
  return `${recovered}${living.join(", ")} are alive and sound, ${majority}`;
}

/** Names of the members, and of those whose broker is alive and whose replica is sound. */
export function membersOf(
  { brokers }: Pick<ClusterStatus, "brokers">,
  { voters, replicas, epoch, quarantined }: PartitionStatus,
): { readonly members: readonly string[]; readonly living: readonly string[] } {
  // Until a recovered partition has reported its voters, the survivor is the only one.
  const first = epoch > 1 ? replicas.slice(0, 1) : replicas;
  const named = (voters.length > 0 ? voters : first).map((replicaId) => {
    const broker = brokers.find((broker) => broker.replicaId === replicaId);
    const alive = broker?.alive === true && !quarantined.includes(replicaId);
    return { name: broker?.id ?? `(${replicaId})`, alive };
  });
  const living = named.filter(({ alive }) => alive).map(({ name }) => name);
  return { members: named.map(({ name }) => name), living };
}

async function readPartition(ask: Ask, topic: string, partition: number): Promise<PartitionStatus> {
  const cluster = await ask(clusterStatusMethod, { consistency: "linearizable" });
  return partitionOf(cluster, topic, partition);
}

function partitionOf(
  { partitions }: ClusterStatus,
  topic: string,
  partition: number,
): PartitionStatus {
  const own = partitions.filter((one) => one.topic === topic);
  const found = own.find((one) => one.partition === partition);
  if (found !== undefined) return found;
  const act = `Cannot recover ${topic}/${partition}`;
  throw own.length === 0
    ? new TrilogError("no_such_topic", `${act}: there is no topic of that name`)
    : new TrilogError("no_such_partition", `${act}: the topic has ${own.length} partitions`);
}

function findingObject(finding: Finding, recovered: boolean) {
  const { status, members, living, survivors, survivor, endOffset } = finding;
  return {
    topic: status.topic,
    partition: status.partition,
    epoch: status.epoch,
    members,
    living,
    managersEndOffset: status.endOffset,
    survivors,
    survivor: survivor.broker,
    highestOffset: endOffset - 1,
    nextOffset: endOffset,
    recovered,
  };
}

function findingLines(name: string, finding: Finding, recovered: boolean): string[] {
  const { status, members, living, survivors, survivor, endOffset } = finding;
  const alive = living.length === 0 ? "none is" : `only ${living.join(", ")} is`;
  const have = survivors.map(({ broker, committedOffset, endOffset }) =>
    `${broker} has messages ${upTo(endOffset)}, and knows those ${upTo(committedOffset)} to be ` +
    "committed"
  );
  const goesOn = `from the log of ${survivor.broker} at offset ${groupedNumber(endOffset)}`;
  return [
    `${name} has lost its majority: of ${members.join(", ")} ${alive} alive`,
    ...have,
    `the managers know of messages ${upTo(status.endOffset)}`,
    `the highest known offset is ${groupedNumber(endOffset - 1)}`,
    recovered
      ? `${name} goes on in epoch ${status.epoch + 1}, ${goesOn}`
      : `with --accept-loss it goes on ${goesOn}`,
    recovered
      ? "messages that were acknowledged after those are lost"
      : "messages that were acknowledged after those would be lost",
  ];
}

function upTo(endOffset: number): string {
  return endOffset === 0 ? "of no offset" : `up to offset ${groupedNumber(endOffset - 1)}`;
}
