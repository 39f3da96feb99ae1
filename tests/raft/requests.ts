/** Messages that tests make up, and what nodes have to say. */

import type { AppendRequest, Message, ReplicaId, VoteRequest } from "../../lib/raft/types.ts";
import type { Cluster } from "./harness.ts";

/** AppendEntries of term 1, empty unless told otherwise. */
export function append(
  from: ReplicaId,
  to: ReplicaId,
  changes: Partial<AppendRequest>,
): AppendRequest {
  return {
    kind: "append_request",
    from,
    to,
    term: 1,
    prev: { index: 0, term: 0 },
    entries: [],
    commit: 0,
    round: 1,
    leaseMs: 0,
    ...changes,
  };
}

/** RequestVote of term 1 with a log as good as any. */
export function ask(from: ReplicaId, to: ReplicaId, changes: Partial<VoteRequest>): VoteRequest {
  return {
    kind: "vote_request",
    from,
    to,
    term: 1,
    preVote: false,
    last: { index: 9, term: 9 },
    transfer: false,
    ...changes,
  };
}

/** Messages of a kind that wait in the network, from a node. */
export function sent<K extends Message["kind"]>(cluster: Cluster, kind: K, from: ReplicaId) {
  return cluster.network.filter((message): message is Extract<Message, { kind: K }> =>
    message.kind === kind && message.from === from
  );
}

/** Everything a node has to say now, durable at once. */
export function speak(cluster: Cluster, id: ReplicaId): void {
  while (cluster.take(id) !== null) cluster.sync(id);
}

/** RequestVote of term 9 with an empty log. */
export function askEmpty(
  from: ReplicaId,
  to: ReplicaId,
  changes: Partial<VoteRequest> = {},
): VoteRequest {
  return ask(from, to, { term: 9, last: { index: 0, term: 0 }, ...changes });
}

/** What a node answers, durable at once; its messages do not stay in the network. */
export function answers<K extends Message["kind"]>(cluster: Cluster, kind: K, from: ReplicaId) {
  speak(cluster, from);
  const found = sent(cluster, kind, from);
  cluster.drop((message) => message.from === from);
  return found;
}

/** Whether a node grants its vote to a candidate that asks so. */
export function votes(cluster: Cluster, request: VoteRequest): boolean {
  cluster.receive(request);
  return answers(cluster, "vote_response", request.to)[0].granted;
}
