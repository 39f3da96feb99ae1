/** What a node of a single group answers to clients: commands, questions and its status. */

import { binary, type Decoded, flag, list, nullable, record } from "../base/codec.ts";
import { name, text, token, whole, word } from "../base/codec.ts";

export const COMMAND_METHOD = "group.command";
export const QUERY_METHOD = "group.query";
export const STATUS_METHOD = "group.status";
export const MEMBER_METHOD = "node.member";

/** `deadlineMs`: how long the node may try before it says `unavailable` or `outcome_unknown`. */
export const commandCodec = record({ command: binary, deadlineMs: whole });

export const queryCodec = record({ question: binary, stale: flag, deadlineMs: whole });

/**
 * A change of members. `add` and `replace` invite the node `name` at `address`; with `replace` it
 * is in the place of the member `replaces`, which may have the same name and must then be dead.
 */
export const memberChangeCodec = record({
  action: word("add", "replace", "remove"),
  name,
  address: nullable(token),
  replaces: nullable(name),
  deadlineMs: whole,
});
export type MemberChange = Omit<Decoded<typeof memberChangeCodec>, "deadlineMs">;

/**
 * What became of a change. `invited`: the node is taken in as soon as it asks. `learner`: it
 * catches up and votes then. `voter`, `removed`: done; a replaced member of another name is then
 * to be removed.
 */
export const memberStateCodec = word("invited", "learner", "voter", "removed");
export type MemberState = Decoded<typeof memberStateCodec>;

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
  /** When the node last caught up with entries that it had missed; null: it never had to. */
  caughtUp: nullable(record({ entries: whole, from: text, agoMs: whole })),
});
export type NodeStatus = Decoded<typeof nodeStatusCodec>;
