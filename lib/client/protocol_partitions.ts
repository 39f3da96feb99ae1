/** PURE. Methods of brokers: messages and committed offsets of one partition. */

import { binary, flag, list, name, nullable, record, token, whole, word } from "../base/codec.ts";
import { method } from "./protocol_method.ts";

/** `quorum`: durable on a majority (the default); `leader`: written by the leader alone. */
export type Acks = "quorum" | "leader";
const acks = word("quorum", "leader");

export interface ProduceRequest {
  readonly groupId: string;
  readonly epoch: number;
  /** One record batch in the stored format. */
  readonly batch: Uint8Array;
  readonly acks: Acks;
}

export interface ProduceAnswer {
  /**
   * Offset of the batch's first message; the first answer's for a duplicate. Null with `acks`
   * `leader`: it is decided later.
   */
  readonly baseOffset: number | null;
  /** The leader's stamp, milliseconds since 1970; 0 where the offset is not known. */
  readonly timeMs: number;
  readonly duplicate: boolean;
}

export const produceMethod = method<ProduceRequest, ProduceAnswer>(
  "broker.produce",
  record<ProduceRequest>({ groupId: token, epoch: whole, batch: binary, acks }),
  record<ProduceAnswer>({ baseOffset: nullable(whole), timeMs: whole, duplicate: flag }),
);

/**
 * `committed`: what the leader knows to be committed. `linearizable`: the leader first makes sure
 * that it still leads, so that an empty answer means that there is nothing more.
 */
export type Isolation = "committed" | "linearizable";

export interface FetchRequest {
  readonly groupId: string;
  readonly epoch: number;
  readonly offset: number;
  /** At least one batch is returned where there is one, however large; then up to this. */
  readonly maxBytes: number;
  /** The answer waits until there are this many bytes, or for `maxWaitMs`. */
  readonly minBytes: number;
  readonly maxWaitMs: number;
  readonly isolation: Isolation;
}

export interface FetchAnswer {
  /** Whole stored batches; the first may begin before the offset asked for. */
  readonly batches: readonly Uint8Array[];
  readonly startOffset: number;
  /** Offset after the last committed message. */
  readonly endOffset: number;
}

export const fetchMethod = method<FetchRequest, FetchAnswer>(
  "broker.fetch",
  record<FetchRequest>({
    groupId: token,
    epoch: whole,
    offset: whole,
    maxBytes: whole,
    minBytes: whole,
    maxWaitMs: whole,
    isolation: word("committed", "linearizable"),
  }),
  record<FetchAnswer>({ batches: list(binary), startOffset: whole, endOffset: whole }),
);

export interface ListOffsetsRequest {
  readonly groupId: string;
  readonly epoch: number;
  /** `latest` is linearizable; `time` finds the first message at or after `timeMs`. */
  readonly at: "earliest" | "latest" | "time";
  /** Milliseconds since 1970; 0 unless `at` is `time`. */
  readonly timeMs: number;
}

export interface ListOffsetsAnswer {
  /** By time: the end of the partition where no message is that late. */
  readonly offset: number;
}

export const listOffsetsMethod = method<ListOffsetsRequest, ListOffsetsAnswer>(
  "broker.list_offsets",
  record<ListOffsetsRequest>({
    groupId: token,
    epoch: whole,
    at: word("earliest", "latest", "time"),
    timeMs: whole,
  }),
  record<ListOffsetsAnswer>({ offset: whole }),
);

/** Raises the fence of a consumer group in this partition: lower generations are refused. */
export interface ClaimRequest {
  readonly groupId: string;
  readonly epoch: number;
  readonly group: string;
  /** Generation in which the group was made: what a deleted group of its name left is ignored. */
  readonly born: number;
  readonly generation: number;
  readonly member: string;
}

export interface ClaimAnswer {
  /** Offset of the next message to consume; null where the group never committed here. */
  readonly offset: number | null;
}

export const claimMethod = method<ClaimRequest, ClaimAnswer>(
  "broker.claim",
  record<ClaimRequest>({
    groupId: token,
    epoch: whole,
    group: name,
    born: whole,
    generation: whole,
    member: token,
  }),
  record<ClaimAnswer>({ offset: nullable(whole) }),
);

export interface CommitRequest extends Omit<ClaimRequest, "born"> {
  /** Offset of the next message to consume. */
  readonly offset: number;
}

export const commitMethod = method<CommitRequest, ClaimAnswer>(
  "broker.commit",
  record<CommitRequest>({
    groupId: token,
    epoch: whole,
    group: name,
    generation: whole,
    member: token,
    offset: whole,
  }),
  record<ClaimAnswer>({ offset: nullable(whole) }),
);
