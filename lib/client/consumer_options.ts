/** What a program says about how its consumer works. */

import { limits } from "../base/limits.ts";
import {
  choiceOption,
  durationOption,
  labelOption,
  nameOption,
  numberOption,
  wholeOption,
} from "./options.ts";
import type { AssignmentStrategy } from "./protocol.ts";

/** A partition by its place. */
export interface TopicPartition {
  /** Name of its topic. */
  readonly topic: string;
  /** Its number, from 0. */
  readonly partition: number;
}

/**
 * What is called when partitions come and go; one call at a time. What it throws ends the
 * iteration's next step; the partitions come and go all the same.
 */
export type PartitionListener = (partitions: readonly TopicPartition[]) => Promise<void> | void;

/** Options of a consumer; all have defaults. */
export interface ConsumerOptions {
  /** Where to begin in partitions in which the group has committed nothing. Default `earliest`. */
  readonly from?: "earliest" | "latest";
  /**
   * What to do where the group's next message is not there any more (retention dropped it, or it
   * was lost in a recovery): reject with `offset_out_of_range` (`fail`, the default), or go on at
   * the partition's `earliest` or `latest` message.
   */
  readonly onBehind?: "earliest" | "latest" | "fail";
  /**
   * Commits by itself what was done: about every `autoCommitMs`, when a partition goes to another
   * member, and at the end. A message is done when the next one is asked for. Default true; false
   * leaves it to {@link Consumer.commit}.
   */
  readonly autoCommit?: boolean;
  /** Milliseconds; default 1,000. */
  readonly autoCommitMs?: number;
  /** How partitions are divided; the same for all members. Default `round_robin`. */
  readonly strategy?: AssignmentStrategy;
  /**
   * A member that the managers do not hear for this long loses its partitions, in milliseconds.
   * From 1,000 to 300,000; default 10,000.
   */
  readonly sessionTimeoutMs?: number;
  /**
   * How long a partition that goes to another member waits for the messages that were handed out
   * to be committed, and for `onRevoked`, in milliseconds. Default 5,000.
   */
  readonly revokeMs?: number;
  /** Bytes that are fetched of a partition at once. Default 256 KiB. */
  readonly maxBytes?: number;
  /** Time without any answer after which consuming fails, in milliseconds. Default: never. */
  readonly patienceMs?: number;
  /** Name of this program without spaces, for `group describe`. Default empty. */
  readonly name?: string;
  /**
   * A name of this member that is its own in the group, such as `worker-3`. A consumer that starts
   * under the name again within the session timeout takes the partitions back, and no other
   * member's change; so {@link Consumer.stop} does not leave the group. A second one that starts
   * while the first runs ends it with `fenced`. 1 to 249 letters, digits, dots, underscores and
   * dashes. Default: none.
   */
  readonly instanceId?: string;
  /**
   * Offset at which a partition's messages are enough. When the consumer has handed out all there
   * are below it in all its partitions, the iteration ends. Default: it never does.
   */
  readonly until?: (topic: string, partition: number) => number;
  /** Partitions that are this member's from now on: called before their first message. */
  readonly onAssigned?: PartitionListener;
  /**
   * Partitions that are to be given up: nothing more of them is handed out, and what was handed
   * out may still be committed. They go when that is done and this has resolved.
   */
  readonly onRevoked?: PartitionListener;
  /** Partitions that are another member's already, or gone: nothing can be committed any more. */
  readonly onLost?: PartitionListener;
}

/** How to stop. */
export interface StopOptions {
  /** The message or batch handed out last failed: it is not committed, and delivered again. */
  readonly failed?: boolean;
  /** Whether to leave the group. Default true, false with an `instanceId`. */
  readonly leave?: boolean;
}

/** The options that are numbers, words and the like, with their defaults. */
export type ConsumerSettings =
  & Required<Omit<ConsumerOptions, "instanceId" | "onAssigned" | "onRevoked" | "onLost">>
  & { readonly instanceId: string | null };

const COMMIT_MS = 1_000;
const SESSION_MS = 10_000;
const REVOKE_MS = 5_000;
const MAX_BYTES = 256 * 1024;

/** Throws `invalid_argument` for what cannot be used. */
export function consumerSettings(options: ConsumerOptions): ConsumerSettings {
  const { instanceId } = options;
  const sessionTimeoutMs = options.sessionTimeoutMs ?? SESSION_MS;
  return {
    from: choiceOption("from", options.from ?? "earliest", ["earliest", "latest"]),
    onBehind: choiceOption("onBehind", options.onBehind ?? "fail", ["earliest", "latest", "fail"]),
    autoCommit: options.autoCommit ?? true,
    autoCommitMs: durationOption("autoCommitMs", options.autoCommitMs ?? COMMIT_MS, 1),
    strategy: choiceOption("strategy", options.strategy ?? "round_robin", ["round_robin", "range"]),
    sessionTimeoutMs: wholeOption("sessionTimeoutMs", sessionTimeoutMs, limits.shortestSessionMs),
    revokeMs: durationOption("revokeMs", options.revokeMs ?? REVOKE_MS, 0),
    maxBytes: wholeOption("maxBytes", options.maxBytes ?? MAX_BYTES, 1),
    patienceMs: numberOption("patienceMs", options.patienceMs ?? Infinity, 0),
    name: labelOption("name", options.name ?? ""),
    instanceId: instanceId === undefined ? null : nameOption("instanceId", instanceId),
    until: options.until ?? (() => Infinity),
  };
}
