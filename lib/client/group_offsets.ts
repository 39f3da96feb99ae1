/** Where a consumer group stands in its partitions, and how to make it stand elsewhere. */

import { TrilogError } from "../base/errors.ts";
import type { Client } from "./client.ts";
import {
  claimMethod,
  commitMethod,
  committedOffsetMethod,
  type GroupDescription,
  reserveGenerationMethod,
} from "./protocol.ts";

/** Time for one request, in milliseconds. */
const REQUEST_MS = 5_000;
/** Who claims partitions for a reset; members have names of another form. */
const RESETTER = "reset";

/** A group in one partition. */
export interface GroupPosition {
  readonly topic: string;
  readonly partition: number;
  /** Offset of the next message; null where nothing was committed. */
  readonly committed: number | null;
  readonly start: number;
  readonly end: number;
  /** Messages from there to the end. */
  readonly lag: number;
  /** The member that has the partition, and the one that is to have it. */
  readonly owner: string | null;
  readonly target: string | null;
}

/** The group's position in every partition of its topics, by topic and number. */
export async function groupPositions(
  client: Client,
  { group, partitions: owned }: GroupDescription,
): Promise<GroupPosition[]> {
  await client.refresh();
  const topics = await Promise.all([...group.topics].sort().map((topic) => client.topic(topic)));
  const places = topics.flatMap(({ name, partitions }) =>
    partitions.map(({ partition }) => ({ topic: name, partition }))
  );
  return await Promise.all(places.map(async ({ topic, partition }) => {
    const request = { group: group.name, born: group.born };
    const { offset, startOffset, endOffset, lag } = await client.partitionRequest(
      topic,
      partition,
      committedOffsetMethod,
      request,
      REQUEST_MS,
    );
    const at = owned.find((one) => one.topic === topic && one.partition === partition);
    const { owner, target } = at ?? { owner: null, target: null };
    const bounds = { start: startOffset, end: endOffset };
    return { topic, partition, committed: offset, ...bounds, lag, owner, target };
  }));
}

/** A place in a partition; `time`: its first message at or after `timeMs`, or its end. */
export type LogPosition =
  | { readonly kind: "earliest" | "latest" }
  | { readonly kind: "offset"; readonly offset: number }
  | { readonly kind: "time"; readonly timeMs: number };

/**
 * Moves a group without members to another offset in all partitions of a topic. Rejects with
 * `group_not_empty`; with `offset_out_of_range`, before anything has changed, where a partition
 * does not have the offset; or with `fenced` where a member joined meanwhile and came first.
 */
export async function resetGroup(
  client: Client,
  group: string,
  topic: string,
  to: LogPosition,
): Promise<{ readonly partition: number; readonly offset: number }[]> {
  await client.refresh();
  const { partitions } = await client.topic(topic);
  const targets = await Promise.all(
    partitions.map(async ({ partition }) => ({
      partition,
      offset: await targetOffset(client, topic, partition, to),
    })),
  );
  await setPositions(client, group, topic, targets);
  return targets;
}

/**
 * Has a group without members go on at these offsets of a topic's partitions. Rejects with
 * `group_not_empty`, or with `fenced` where a member joined meanwhile and came first.
 */
export async function setPositions(
  client: Client,
  group: string,
  topic: string,
  targets: readonly { readonly partition: number; readonly offset: number }[],
): Promise<void> {
  const { generation, born } = await client.managers.request(
    reserveGenerationMethod,
    { requestId: client.newRequestId(), group, topic },
    REQUEST_MS,
  );
  const claimant = { group, generation, member: RESETTER };
  await Promise.all(targets.map(async ({ partition, offset }) => {
    const claim = { ...claimant, born };
    await client.partitionRequest(topic, partition, claimMethod, claim, REQUEST_MS);
    const request = { ...claimant, offset };
    await client.partitionRequest(topic, partition, commitMethod, request, REQUEST_MS);
  }));
}

async function targetOffset(
  client: Client,
  topic: string,
  partition: number,
  to: LogPosition,
): Promise<number> {
  if (to.kind === "time") return await client.offset(topic, partition, "time", to.timeMs);
  if (to.kind !== "offset") return await client.offset(topic, partition, to.kind);
  const [start, end] = await Promise.all([
    client.offset(topic, partition, "earliest"),
    client.offset(topic, partition, "latest"),
  ]);
  if (to.offset >= start && to.offset <= end) return to.offset;
  throw new TrilogError(
    "offset_out_of_range",
    `Cannot reset to offset ${to.offset}: ${topic}/${partition} goes from ${start} to ${end}`,
  );
}
