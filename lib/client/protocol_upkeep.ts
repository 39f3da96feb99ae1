/** PURE. Methods for operators: brokers that leave, the balance of the load, lost partitions. */

import { type Codec, flag, nullable, record, text, token, whole } from "../base/codec.ts";
import { type Changed, changed } from "./protocol_metadata.ts";
import { method } from "./protocol_method.ts";

/** Has a broker emptied, or ends that; what has to happen then goes on by itself. */
export interface DrainBrokerRequest {
  readonly requestId: string;
  /** Name of the broker. */
  readonly broker: string;
  readonly draining: boolean;
}

export const drainBrokerMethod = method<DrainBrokerRequest, Changed>(
  "manager.drain_broker",
  record<DrainBrokerRequest>({ requestId: token, broker: text, draining: flag }),
  changed,
);

/** Forgets a broker that holds nothing; its identity is never admitted again. */
export interface RemoveBrokerRequest {
  readonly requestId: string;
  readonly broker: string;
}

export const removeBrokerMethod = method<RemoveBrokerRequest, Changed>(
  "manager.remove_broker",
  record<RemoveBrokerRequest>({ requestId: token, broker: text }),
  changed,
);

/** Evens out the load for a few seconds; whoever wants it done asks until nothing is left. */
export interface RebalanceAnswer {
  /** Partitions that are on their way. */
  readonly moving: number;
  /** Partitions that are still to be moved, or to get another preferred leader. */
  readonly planned: number;
}

export const rebalanceMethod = method<null, RebalanceAnswer>(
  "manager.rebalance",
  nullable(flag) as Codec<null>,
  record<RebalanceAnswer>({ moving: whole, planned: whole }),
);

/** Gives up a partition's epoch: one replica's log goes on in the next, whatever the others had. */
export interface RecoverPartitionRequest {
  readonly requestId: string;
  readonly topic: string;
  readonly partition: number;
  /** The epoch to give up; nothing is done in another one. */
  readonly epoch: number;
  /** Replica id of the broker whose log goes on. */
  readonly survivor: string;
  /** Highest end of the partition that the survivors know of: offsets go on there at the lowest. */
  readonly endOffset: number;
}

export const recoverPartitionMethod = method<RecoverPartitionRequest, Changed>(
  "manager.recover_partition",
  record<RecoverPartitionRequest>({
    requestId: token,
    topic: text,
    partition: whole,
    epoch: whole,
    survivor: token,
    endOffset: whole,
  }),
  changed,
);

/** What a replica has, whether or not its group has a leader. */
export interface SurveyRequest {
  readonly groupId: string;
  readonly epoch: number;
}

export interface SurveyAnswer {
  /** Of the last entry on the disk. */
  readonly lastTerm: number;
  readonly lastIndex: number;
  /** Offset after the last message that this replica knows to be committed. */
  readonly committedOffset: number;
  /** Offset after the last message that it has at all. */
  readonly endOffset: number;
}

export const surveyMethod = method<SurveyRequest, SurveyAnswer>(
  "broker.survey",
  record<SurveyRequest>({ groupId: token, epoch: whole }),
  record<SurveyAnswer>({
    lastTerm: whole,
    lastIndex: whole,
    committedOffset: whole,
    endOffset: whole,
  }),
);

/** The next message gets `offset`, for a partition that is restored from a backup. */
export interface AdvanceRequest {
  readonly groupId: string;
  readonly epoch: number;
  readonly offset: number;
}

export const advanceMethod = method<AdvanceRequest, { readonly endOffset: number }>(
  "broker.advance",
  record<AdvanceRequest>({ groupId: token, epoch: whole, offset: whole }),
  record<{ readonly endOffset: number }>({ endOffset: whole }),
);
