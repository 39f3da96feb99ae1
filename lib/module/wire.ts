/**
 * Bytes of the module: calls between servers, and the persistent state. A call and its answer are
 * one msgpack value each:
 *
 *     message   [0, from, body]                                       answered by a body
 *     snapshot  [1, from, term, [index, term, timeMs, commands], bytes]    by a body or null
 *
 * where `body` is a message as lib/raft/message.ts writes it. The persistent state is a row of
 * records, each a length of four bytes and a msgpack value:
 *
 *     [base | null, hard | null, entries]      base:  [index, term, timeMs, commands]
 *                                              hard:  [term, vote | null, commit]
 *
 * Entries are a flat list of five fields each: index, term, kind, timeMs, data. They follow what
 * the records before hold, or replace its tail. A record that ends too early was never finished,
 * so nobody relies on it: it is left out.
 */

import { viewOf } from "../base/bytes.ts";
import { binary, type Codec, list, nullable, record, token, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";
import { messageFromWire, messageToWire } from "../raft/message.ts";
import type { Entry, EntryKind, HardState, Message, ReplicaId, Term } from "../raft/types.ts";
import { type Base, NumberedLog } from "./numbered_log.ts";

const MESSAGE_CALL = 0;
const SNAPSHOT_CALL = 1;
const LENGTH_BYTES = 4;

const baseCodec: Codec<Base> = {
  encode: ({ last, timeMs, commands }) => [last.index, last.term, timeMs, commands],
  decode(packed, thing) {
    const [index, term, timeMs, commands] = list(whole).decode(packed, thing);
    return { last: { index, term }, timeMs, commands };
  },
};

const hardCodec: Codec<HardState> = record<HardState>({
  term: whole,
  vote: nullable(token),
  commit: whole,
});

export type Call =
  | { readonly kind: "message"; readonly message: Message }
  | {
    readonly kind: "snapshot";
    readonly from: ReplicaId;
    readonly term: Term;
    readonly base: Base;
    readonly bytes: Uint8Array;
  };

export function encodeCall(call: Call): Uint8Array {
  if (call.kind === "message") {
    const { message } = call;
    return pack([MESSAGE_CALL, message.from, messageToWire(message)]);
  }
  return pack([SNAPSHOT_CALL, call.from, call.term, baseCodec.encode(call.base), call.bytes]);
}

/** Throws `malformed` on anything that no server sends. */
export function decodeCall(to: ReplicaId, bytes: Uint8Array): Call {
  const fields = unpack(bytes);
  if (!Array.isArray(fields) || fields.length < 3) throw malformed("call", "not a list");
  const from = token.decode(fields[1], "sender");
  if (fields[0] === MESSAGE_CALL && fields.length === 3) {
    return { kind: "message", message: messageFromWire(from, to, fields[2]) };
  }
  if (fields[0] !== SNAPSHOT_CALL || fields.length !== 5) throw malformed("call", "unknown");
  return {
    kind: "snapshot",
    from,
    term: whole.decode(fields[2], "term"),
    base: baseCodec.decode(fields[3], "base"),
    bytes: binary.decode(fields[4], "snapshot"),
  };
}

export function encodeAnswer(message: Message | undefined): Uint8Array {
  return pack(message === undefined ? null : messageToWire(message));
}

export function decodeAnswer(from: ReplicaId, to: ReplicaId, bytes: Uint8Array): Message | null {
  const body = unpack(bytes);
  return body === null ? null : messageFromWire(from, to, body);
}

/** One record; what did not change is null or empty. */
export function encodeRecord(
  base: Base | null,
  hard: HardState | null,
  entries: readonly Entry[],
): Uint8Array {
  const flat: Packable[] = [];
  for (const { index, term, kind, timeMs, data } of entries) {
    flat.push(index, term, kind, timeMs, data);
  }
  const body = pack([nullable(baseCodec).encode(base), nullable(hardCodec).encode(hard), flat]);
  const bytes = new Uint8Array(LENGTH_BYTES + body.length);
  viewOf(bytes).setUint32(0, body.length);
  bytes.set(body, LENGTH_BYTES);
  return bytes;
}

export interface StoredState {
  readonly hard: HardState;
  readonly log: NumberedLog;
}

/** What all finished records together say; throws `malformed` where one cannot be read. */
export function decodeState(bytes: Uint8Array): StoredState {
  const log = new NumberedLog();
  let hard: HardState = { term: 0, vote: null, commit: 0 };
  const view = viewOf(bytes);
  for (let at = 0; at + LENGTH_BYTES <= bytes.length;) {
    const end = at + LENGTH_BYTES + view.getUint32(at);
    if (end > bytes.length) break;
    const fields = unpack(bytes.subarray(at + LENGTH_BYTES, end));
    if (!Array.isArray(fields) || fields.length !== 3) throw malformed("state", "not a record");
    const base = nullable(baseCodec).decode(fields[0], "base");
    if (base !== null) log.rebase(base);
    hard = nullable(hardCodec).decode(fields[1], "hard state") ?? hard;
    log.append(decodeEntries(fields[2]));
    at = end;
  }
  return { hard, log };
}

function decodeEntries(flat: Packable): Entry[] {
  if (!Array.isArray(flat) || flat.length % 5 !== 0) throw malformed("state", "no entry list");
  const entries: Entry[] = [];
  for (let at = 0; at < flat.length; at += 5) {
    entries.push({
      index: whole.decode(flat[at], "index"),
      term: whole.decode(flat[at + 1], "term"),
      kind: whole.decode(flat[at + 2], "kind") as EntryKind,
      timeMs: whole.decode(flat[at + 3], "time"),
      data: binary.decode(flat[at + 4], "data"),
    });
  }
  return entries;
}

function malformed(thing: string, state: string): TrilogError {
  return new TrilogError("malformed", `Cannot decode ${thing}: ${state}`);
}
