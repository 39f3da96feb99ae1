/** Canonical text of what goes in and out of a core: for golden tests, traces and logs. */

import { displayText } from "../base/bytes.ts";
import { type Entry, EntryKind, type LogId, type Membership, type Message } from "./types.ts";
import type { HardState, Outcome, RaftStatus, Ready, SnapshotMeta } from "./types.ts";

/** Longest command data that is shown whole. */
const SHOWN_BYTES = 24;

/** `index/term`. */
export function describeLogId(id: LogId): string {
  return `${id.index}/${id.term}`;
}

export function describeEntry(entry: Entry): string {
  const id = describeLogId(entry);
  if (entry.kind === EntryKind.noop) return `${id} noop`;
  if (entry.kind === EntryKind.membership) return `${id} membership`;
  return entry.data.length > SHOWN_BYTES
    ? `${id} ${entry.data.length} bytes`
    : `${id} ${JSON.stringify(displayText(entry.data))}`;
}

function describeEntries(entries: readonly Entry[]): string {
  if (entries.length > 6) {
    return `[${describeEntry(entries[0])} .. ${describeEntry(entries[entries.length - 1])}]`;
  }
  return `[${entries.map(describeEntry).join(", ")}]`;
}

/** `voters=(1 2)&&(1) learners=(3)`; the second list is the outgoing one. */
export function describeMembership(membership: Membership): string {
  const { voters, outgoing, learners, learnersNext } = membership;
  let text = `voters=(${voters.join(" ")})`;
  if (outgoing.length > 0) text += `&&(${outgoing.join(" ")})`;
  if (learners.length > 0) text += ` learners=(${learners.join(" ")})`;
  if (learnersNext.length > 0) text += ` learners_next=(${learnersNext.join(" ")})`;
  return text;
}

function describeHardState({ term, vote, commit }: HardState): string {
  return `term=${term} vote=${vote ?? "-"} commit=${commit}`;
}

function describeSnapshot(meta: SnapshotMeta): string {
  return `${describeLogId(meta.last)} ${describeMembership(meta.membership)}`;
}

/** `1->2 kind term=1 field=value ...`; fields that say nothing are left out. */
export function describeMessage(message: Message): string {
  const { from, to, kind, term } = message;
  return `${from}->${to} ${kind} term=${term}${describeBody(message)}`;
}

function describeBody(message: Message): string {
  switch (message.kind) {
    case "vote_request":
      return ` last=${describeLogId(message.last)}${flag("pre_vote", message.preVote)}` +
        flag("transfer", message.transfer);
    case "vote_response":
      return ` request_term=${message.requestTerm}${flag("pre_vote", message.preVote)} ` +
        `${message.granted ? "granted" : "denied"}${some("owed_lease_ms", message.owedLeaseMs)}`;
    case "append_request":
      return ` prev=${describeLogId(message.prev)} entries=${describeEntries(message.entries)}` +
        ` commit=${message.commit} round=${message.round}${some("lease_ms", message.leaseMs)}`;
    case "append_response":
      return ` round=${message.round} prev=${message.prevIndex} ` +
        (message.match === null
          ? `rejected hint=${message.hint === null ? "-" : describeLogId(message.hint)}`
          : `match=${message.match}`);
    case "heartbeat_request":
      return ` commit=${message.commit} round=${message.round}` +
        some("lease_ms", message.leaseMs);
    case "heartbeat_response":
      return ` round=${message.round} synced=${message.lastSynced}`;
    case "snapshot_installed":
      return ` snapshot=${describeSnapshot(message.meta)}`;
    case "read_index_request":
      return ` context=${message.context}`;
    case "read_index_response":
      return ` context=${message.context} index=${message.index ?? "-"}`;
    case "timeout_now":
      return "";
    case "removal_notice":
      return ` membership=${describeLogId(message.membership)}`;
  }
}

function flag(name: string, set: boolean): string {
  return set ? ` ${name}` : "";
}

function some(name: string, value: number): string {
  return value > 0 ? ` ${name}=${Math.round(value)}` : "";
}

export function describeOutcome(outcome: Outcome): string {
  const { kind, requestId } = outcome;
  switch (outcome.kind) {
    case "accepted":
      return `request ${requestId} ${kind} at ${describeLogId(outcome.id)}`;
    case "readable":
      return `request ${requestId} ${kind} at ${outcome.index}`;
    case "rejected":
      return `request ${requestId} ${kind}: ${outcome.reason} leader=${outcome.leader ?? "-"}`;
  }
}

/** Some lines, without a newline at the end; parts that are empty are left out. */
export function describeReady(ready: Ready): string {
  const lines = [`ready ${ready.sequence}${flag("must_sync", ready.mustSync)}`];
  if (ready.hardState !== null) lines.push(`  hard_state ${describeHardState(ready.hardState)}`);
  if (ready.snapshot !== null) lines.push(`  snapshot ${describeSnapshot(ready.snapshot)}`);
  if (ready.entries.length > 0) lines.push(`  entries ${describeEntries(ready.entries)}`);
  for (const message of ready.messages) lines.push(`  send ${describeMessage(message)}`);
  for (const message of ready.messagesAfterSync) {
    lines.push(`  after sync ${describeMessage(message)}`);
  }
  if (ready.committed.length > 0) lines.push(`  committed ${describeEntries(ready.committed)}`);
  for (const { to, from, maxBytes } of ready.fetches) {
    lines.push(`  fetch for ${to} from ${from} max_bytes=${maxBytes}`);
  }
  for (const to of ready.snapshotsToSend) lines.push(`  snapshot to ${to}`);
  for (const outcome of ready.outcomes) lines.push(`  ${describeOutcome(outcome)}`);
  return lines.join("\n");
}

/** One line for the node and one for each replica that a leader tracks. */
export function describeStatus(status: RaftStatus): string {
  const { id, role, term, vote, leader, commit, applied, last, synced, firstIndex } = status;
  const lines = [
    `${id} ${role} term=${term} vote=${vote ?? "-"} leader=${leader ?? "-"} first=${firstIndex}` +
    ` applied=${applied} commit=${commit} synced=${synced} last=${describeLogId(last)}` +
    ` ${describeMembership(status.membership)}${flag("idle", status.idle)}` +
    flag("read_ready", status.readReady) +
    (status.leaseUntilMs === null ? "" : ` lease_until=${Math.round(status.leaseUntilMs)}`) +
    (status.transferTo === null ? "" : ` transfer_to=${status.transferTo}`),
  ];
  for (const { id, state, match, next, inflightMessages } of status.progress) {
    lines.push(`  ${id} ${state} match=${match} next=${next} inflight=${inflightMessages}`);
  }
  return lines.join("\n");
}
