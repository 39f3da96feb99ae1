/**
 * Messages on the wire: one array each, `[kind, term, ...]`. `from` and `to` travel in the frame.
 * What arrives is checked field by field: a body that is off in any way is refused whole, before
 * the core sees any of it.
 *
 *     0 vote_request          [0, term, preVote, last, transfer]
 *     1 vote_response         [1, term, preVote, requestTerm, granted, owedLeaseMs]
 *     2 append_request        [2, term, prev, entries, commit, round, leaseMs]
 *     3 append_response       [3, term, round, prevIndex, match | null, hint | null]
 *     4 heartbeat_request     [4, term, commit, round, leaseMs, synced]
 *     5 heartbeat_response    [5, term, round, lastSynced]
 *     6 read_index_request    [6, term, context]
 *     7 read_index_response   [7, term, context, index | null]
 *     8 timeout_now           [8, term]
 *     9 removal_notice        [9, term, membership]
 *
 * A log id is two fields, `index, term`. Entries are one flat list of five fields each: `index,
 * term, kind, timeMs, data`. `snapshot_installed` is never sent.
 */

import { assert, unreachable } from "../base/assert.ts";
import { TrilogError } from "../base/errors.ts";
import type { Packable } from "../base/msgpack.ts";
import { decodeMembership } from "./membership.ts";
import { type Entry, EntryKind, type LogId, type Message, type ReplicaId } from "./types.ts";

/** Numbers of the kinds on the wire: never reuse one. */
const Kind = {
  voteRequest: 0,
  voteResponse: 1,
  appendRequest: 2,
  appendResponse: 3,
  heartbeatRequest: 4,
  heartbeatResponse: 5,
  readIndexRequest: 6,
  readIndexResponse: 7,
  timeoutNow: 8,
  removalNotice: 9,
} as const;

/** Fields of an entry in the flat list. */
const ENTRY_FIELDS = 5;

/** The body of a message's frame. */
export function messageToWire(message: Message): Packable {
  const { term } = message;
  switch (message.kind) {
    case "vote_request": {
      const { preVote, last, transfer } = message;
      return [Kind.voteRequest, term, preVote, last.index, last.term, transfer];
    }
    case "vote_response": {
      const { preVote, requestTerm, granted, owedLeaseMs } = message;
      return [Kind.voteResponse, term, preVote, requestTerm, granted, Math.ceil(owedLeaseMs)];
    }
    case "append_request": {
      const { prev, entries, commit, round, leaseMs } = message;
      const flat = entriesToWire(entries);
      return [Kind.appendRequest, term, prev.index, prev.term, flat, commit, round, leaseMs];
    }
    case "append_response": {
      const { round, prevIndex, match, hint } = message;
      const body = [Kind.appendResponse, term, round, prevIndex, match];
      return hint === null ? [...body, null, null] : [...body, hint.index, hint.term];
    }
    case "heartbeat_request": {
      const { commit, round, leaseMs, synced } = message;
      return [Kind.heartbeatRequest, term, commit, round, leaseMs, synced];
    }
    case "heartbeat_response":
      return [Kind.heartbeatResponse, term, message.round, message.lastSynced];
    case "read_index_request":
      return [Kind.readIndexRequest, term, message.context];
    case "read_index_response":
      return [Kind.readIndexResponse, term, message.context, message.index];
    case "timeout_now":
      return [Kind.timeoutNow, term];
    case "removal_notice":
      return [Kind.removalNotice, term, message.membership.index, message.membership.term];
    case "snapshot_installed":
      return assert(false, "an installed snapshot is told to a core, not sent") as never;
    default:
      return unreachable(message);
  }
}

/** The message in a frame's body; throws `malformed`. Entries' data are views, not copies. */
export function messageFromWire(from: ReplicaId, to: ReplicaId, wire: Packable): Message {
  const fields = new Fields(wire);
  const kind = fields.whole();
  const envelope = { from, to, term: fields.whole() };
  const message = readBody(kind, envelope, fields);
  fields.end();
  return message;
}

function readBody(
  kind: number,
  envelope: { from: ReplicaId; to: ReplicaId; term: number },
  fields: Fields,
): Message {
  switch (kind) {
    case Kind.voteRequest: {
      const preVote = fields.flag();
      const last = fields.logId();
      return { kind: "vote_request", ...envelope, preVote, last, transfer: fields.flag() };
    }
    case Kind.voteResponse: {
      const preVote = fields.flag();
      const requestTerm = fields.whole();
      const granted = fields.flag();
      const owedLeaseMs = fields.whole();
      return { kind: "vote_response", ...envelope, preVote, requestTerm, granted, owedLeaseMs };
    }
    case Kind.appendRequest: {
      const prev = fields.logId();
      const entries = entriesFromWire(fields.next(), prev, envelope.term);
      const commit = fields.whole();
      const round = fields.whole();
      const leaseMs = fields.whole();
      return { kind: "append_request", ...envelope, prev, entries, commit, round, leaseMs };
    }
    case Kind.appendResponse:
      return readAppendResponse(envelope, fields);
    case Kind.heartbeatRequest: {
      const commit = fields.whole();
      const round = fields.whole();
      const leaseMs = fields.whole();
      const synced = fields.whole();
      return { kind: "heartbeat_request", ...envelope, commit, round, leaseMs, synced };
    }
    case Kind.heartbeatResponse: {
      const round = fields.whole();
      return { kind: "heartbeat_response", ...envelope, round, lastSynced: fields.whole() };
    }
    case Kind.readIndexRequest:
      return { kind: "read_index_request", ...envelope, context: fields.whole() };
    case Kind.readIndexResponse: {
      const context = fields.whole();
      return { kind: "read_index_response", ...envelope, context, index: fields.wholeOrNull() };
    }
    case Kind.timeoutNow:
      return { kind: "timeout_now", ...envelope };
    case Kind.removalNotice:
      return { kind: "removal_notice", ...envelope, membership: fields.logId() };
    default:
      throw malformed(`kind ${kind} is unknown`);
  }
}

function readAppendResponse(
  envelope: { from: ReplicaId; to: ReplicaId; term: number },
  fields: Fields,
): Message {
  const round = fields.whole();
  const prevIndex = fields.whole();
  const match = fields.wholeOrNull();
  const index = fields.wholeOrNull();
  const term = fields.wholeOrNull();
  if ((index === null) !== (term === null)) throw malformed("half a hint is none");
  if (match !== null && index !== null) throw malformed("an accepted append has no hint");
  const hint = index === null || term === null ? null : { index, term };
  return { kind: "append_response", ...envelope, round, prevIndex, match, hint };
}

function entriesToWire(entries: readonly Entry[]): Packable[] {
  const flat: Packable[] = new Array(entries.length * ENTRY_FIELDS);
  let at = 0;
  for (const { index, term, kind, timeMs, data } of entries) {
    flat[at] = index;
    flat[at + 1] = term;
    flat[at + 2] = kind;
    flat[at + 3] = timeMs;
    flat[at + 4] = data;
    at += ENTRY_FIELDS;
  }
  return flat;
}

/** Entries follow `prev` and each other, and no term in them is above the leader's. */
function entriesFromWire(wire: Packable, prev: LogId, leaderTerm: number): Entry[] {
  if (!Array.isArray(wire) || wire.length % ENTRY_FIELDS !== 0) throw malformed("no entry list");
  const entries: Entry[] = [];
  let { index: lastIndex, term: lastTerm } = prev;
  for (let at = 0; at < wire.length; at += ENTRY_FIELDS) {
    const index = wholeOf(wire[at]);
    const term = wholeOf(wire[at + 1]);
    const timeMs = wholeOf(wire[at + 3]);
    const data = wire[at + 4];
    if (index !== lastIndex + 1) throw malformed("entries do not follow each other");
    if (term < lastTerm || term > leaderTerm) throw malformed("an entry's term is out of order");
    if (!(data instanceof Uint8Array)) throw malformed("an entry's data is not binary");
    const entry = { index, term, kind: entryKindOf(wire[at + 2]), timeMs, data };
    if (entry.kind === EntryKind.membership) decodeMembership(data);
    entries.push(entry);
    lastIndex = index;
    lastTerm = term;
  }
  return entries;
}

function entryKindOf(value: Packable): EntryKind {
  if (value === EntryKind.noop || value === EntryKind.command || value === EntryKind.membership) {
    return value;
  }
  throw malformed("an entry's kind is unknown");
}

function wholeOf(value: Packable): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw malformed("a field is not a whole number below 2^53");
}

/** Reads the fields of an array one after the other. */
class Fields {
  private readonly list: readonly Packable[];
  private at = 0;

  constructor(wire: Packable) {
    if (!Array.isArray(wire)) throw malformed("it is not a list");
    this.list = wire;
  }

  next(): Packable {
    if (this.at >= this.list.length) throw malformed("a field is missing");
    this.at += 1;
    return this.list[this.at - 1];
  }

  end(): void {
    if (this.at !== this.list.length) throw malformed("fields are left over");
  }

  whole(): number {
    return wholeOf(this.next());
  }

  wholeOrNull(): number | null {
    const value = this.next();
    return value === null ? null : wholeOf(value);
  }

  flag(): boolean {
    const value = this.next();
    if (typeof value !== "boolean") throw malformed("a flag is not true or false");
    return value;
  }

  logId(): LogId {
    return { index: this.whole(), term: this.whole() };
  }
}

function malformed(state: string): TrilogError {
  return new TrilogError("malformed", `Cannot decode Raft message: ${state}`);
}
