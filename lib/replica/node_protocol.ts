/** What a node of a single group answers to clients: commands, questions and its status. */

import { binary, type Codec, type Decoded, flag, list, nullable, record } from "../base/codec.ts";
import { text, token, whole, word } from "../base/codec.ts";

export const COMMAND_METHOD = "group.command";
export const QUERY_METHOD = "group.query";
export const STATUS_METHOD = "group.status";

/** `deadlineMs`: how long the node may try before it says `unavailable` or `outcome_unknown`. */
export const commandCodec = record({ command: binary, deadlineMs: whole });

export const queryCodec = record({ question: binary, stale: flag, deadlineMs: whole });

const memberCodec = record({
  name: text,
  replicaId: token,
  address: text,
  role: word("voter", "learner"),
  /** Entries that it lacks, as the leader knows; null elsewhere. */
  lag: nullable(whole),
  /** Milliseconds since it answered the leader; null elsewhere and for the leader. */
  heardMs: nullable(whole),
});

export const nodeStatusCodec = record({
  name: text,
  replicaId: token,
  address: text,
  /** Null until the node belongs to a cluster. */
  cluster: nullable(token),
  role: word("blank", "follower", "pre_candidate", "candidate", "leader", "learner"),
  term: whole,
  /** Name of the leader that this node knows, or null. */
  leader: nullable(text),
  leaderAddress: nullable(text),
  commit: whole,
  applied: whole,
  lastIndex: whole,
  members: list(memberCodec),
});
export type NodeStatus = Decoded<typeof nodeStatusCodec>;
export type NodeStatusCodec = Codec<NodeStatus>;
