/**
 * MACHINE. The key-value store: bytes by bytes, in the order of the keys. Every change gets the
 * next revision and can be watched for a while. It judges every command itself, whatever a client
 * checked before: what stands in the log may come from anybody.
 *
 * A key with a time to live ends in log order: before a command takes effect, every key ends that
 * is due by the command's stamp. No clock is read, so all replicas agree, and a key is there for
 * every reader until an entry has ended it; the leader sees to it that such an entry comes soon
 * (`expirer.ts`).
 */

import { crc32c } from "../batch/crc32c.ts";
import { concatBytes, equalBytes } from "../base/bytes.ts";
import { type ErrorCode, TrilogError } from "../base/errors.ts";
import { isValidName, limits } from "../base/limits.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";
import { type PackedRequest, RequestMemory } from "../replica/requests.ts";
import type { ApplyContext, StateMachine } from "../replica/state_machine.ts";
import { batched, StateReader, streamOf } from "../replica/state_stream.ts";
import { type Change, type ChangeKind, Changes } from "./changes.ts";
import {
  type Answer,
  type Command,
  decodeCommand,
  decodeQuestion,
  encodeAnswer,
  type KeyValue,
  type Question,
} from "./codec.ts";
import { Expiries } from "./expiries.ts";
import { bytesOf, keyOf } from "./keys.ts";
import { OrderedMap } from "./ordered_map.ts";

/** Snapshots of version 1 were one value, of which this was the first element. */
const FIRST_VERSION = 1;
const SNAPSHOT_VERSION = 2;
/** Keys and values of one frame of a snapshot. */
const FRAME_BYTES = 64 * 1024;
/** What a key costs in the state beside its own bytes and those of its value. */
const KEY_OVERHEAD_BYTES = 64;

/** A page of a list or of changes ends after this many bytes, but holds at least one. */
const PAGE_BYTES = 1024 * 1024;
/** Upper bound of what one entry adds to a page beyond its key and value. */
const PAGE_ENTRY_BYTES = 40;

interface Held {
  readonly value: Uint8Array;
  readonly revision: number;
  readonly expiresAtMs: number | null;
}

type Mutation = Exclude<Command, { op: "expire" }>;

type PackedEntry = readonly [
  key: Uint8Array,
  value: Uint8Array,
  revision: number,
  expiresAtMs: number | null,
];
type PackedChange = readonly [kind: ChangeKind, key: Uint8Array, value: Uint8Array | null];

export class KvMachine implements StateMachine {
  private held = new OrderedMap<Held>();
  /** What {@link limits.stateBytes} bounds. */
  private heldBytes = 0;
  private expiries = this.newExpiries();
  private changes = new Changes();
  private requests = new RequestMemory();
  private lastRevision = 0;

  /** `stateBytes`: the largest state, in keys and values and some bytes for each. */
  constructor(private readonly stateBytes: number = limits.stateBytes) {}

  /** How many changes there were. */
  get revision(): number {
    return this.lastRevision;
  }

  /** When the next key is due, milliseconds since 1970; null: none is. */
  get nextExpiryMs(): number | null {
    return this.expiries.first()?.atMs ?? null;
  }

  apply(command: Uint8Array, { timeMs }: ApplyContext): Uint8Array {
    this.expireUntil(timeMs);
    const decoded = decodeCommand(command);
    if (decoded === null) return encodeAnswer(refusal("malformed"));
    if (decoded.op === "expire") return encodeAnswer(this.answerRevision());
    // A refusal that depends on the command alone is the same at every repeat: not remembered.
    const fault = faultOf(decoded);
    if (fault !== null) return encodeAnswer(refusal(fault));
    const short = shortForm(command);
    const lookup = this.requests.lookup(decoded.requestId, short);
    switch (lookup.kind) {
      case "repeat":
        return lookup.answer;
      case "conflict":
        return encodeAnswer(refusal("invalid_argument"));
      case "expired":
        return encodeAnswer(refusal("session_expired"));
      case "new": {
        const answer = encodeAnswer(this.execute(decoded, timeMs));
        this.requests.remember(decoded.requestId, short, answer);
        return answer;
      }
    }
  }

  query(question: Uint8Array): Uint8Array {
    const decoded = decodeQuestion(question);
    return encodeAnswer(decoded === null ? refusal("malformed") : this.answer(decoded));
  }

  /** Equal states give equal bytes: keys in their order, changes and requests in log order. */
  snapshot(): Uint8Array {
    return concatBytes([...this.freeze()]);
  }

  restore(snapshot: Uint8Array): void {
    this.restoreParts([snapshot]);
  }

  freeze(): Iterable<Uint8Array> {
    const entries = this.held.frozen();
    const [changes, requests] = [this.changes.all(), this.requests.packed()];
    const head = [this.lastRevision, changes.length, this.requests.seen];
    return streamOf(SNAPSHOT_VERSION, framesOf(head, entries, changes, requests));
  }

  /** Throws `unsupported_version` and leaves everything as before, or `malformed`. */
  restoreParts(parts: Iterable<Uint8Array>): void {
    const reader = new StateReader(parts);
    if (reader.version === null) return this.restoreFirstVersion(concatBytes([...reader.rest()]));
    if (reader.version !== SNAPSHOT_VERSION) throw unknownVersion(reader.version);
    const [revision, changes, seen] = reader.next() as readonly [number, number, number];
    this.clear();
    for (const batch of reader.list()) this.takeEntries(batch as unknown as PackedEntry[]);
    this.lastRevision = revision - changes;
    for (const batch of reader.list()) this.takeChanges(batch as unknown as PackedChange[]);
    const requests = [...reader.list()].flatMap((batch) => batch as unknown as PackedRequest[]);
    this.requests = RequestMemory.of(seen, requests);
  }

  private restoreFirstVersion(snapshot: Uint8Array): void {
    const [version, body] = unpack(snapshot) as [number, Packable];
    if (version !== FIRST_VERSION) throw unknownVersion(version);
    const [revision, entries, changes, requests] = body as unknown as readonly [
      number,
      readonly PackedEntry[],
      readonly PackedChange[],
      Packable,
    ];
    this.clear();
    this.takeEntries(entries);
    this.lastRevision = revision - changes.length;
    this.takeChanges(changes);
    this.requests = RequestMemory.unpack(requests);
  }

  private clear(): void {
    this.held = new OrderedMap();
    this.heldBytes = 0;
    this.expiries = this.newExpiries();
    this.changes = new Changes();
    this.requests = new RequestMemory();
    this.lastRevision = 0;
  }

  private takeEntries(entries: readonly PackedEntry[]): void {
    for (const [bytes, value, revision, expiresAtMs] of entries) {
      this.put(keyOf(bytes), { value: value.slice(), revision, expiresAtMs });
    }
  }

  private takeChanges(changes: readonly PackedChange[]): void {
    for (const [kind, bytes, value] of changes) {
      this.lastRevision += 1;
      const key = keyOf(bytes);
      this.changes.add({ revision: this.lastRevision, kind, key, value: value?.slice() ?? null });
    }
  }

  /** Whether a watcher's position will be forgotten soon unless it moves on. */
  forgetsSoon(revision: number): boolean {
    return this.changes.isOld(revision, this.lastRevision);
  }

  private newExpiries(): Expiries {
    return new Expiries(({ key, atMs }) => this.held.get(key)?.expiresAtMs === atMs);
  }

  private expireUntil(timeMs: number): void {
    for (let due = this.expiries.first(); due !== null; due = this.expiries.first()) {
      if (due.atMs > timeMs) return;
      this.drop(due.key, "expire");
    }
  }

  private execute(command: Mutation, timeMs: number): Answer {
    const key = keyOf(command.key);
    const present = this.held.get(key)?.value ?? null;
    switch (command.op) {
      case "set":
        return this.set(key, command, timeMs);
      case "delete":
        if (present !== null) this.drop(key, "delete");
        return { kind: "deleted", existed: present !== null };
      case "cas":
        if (command.old === null) {
          return present === null ? this.set(key, command, timeMs) : refusal("key_exists");
        }
        if (present === null) return refusal("no_such_key");
        if (!equalBytes(present, command.old)) return refusal("value_differs");
        return this.set(key, command, timeMs);
    }
  }

  private set(
    key: string,
    { value, ttlMs }: { readonly value: Uint8Array; readonly ttlMs: number | null },
    timeMs: number,
  ): Answer {
    const before = this.held.get(key);
    const growth = sizeOf(key, value) - (before === undefined ? 0 : sizeOf(key, before.value));
    if (growth > 0 && this.heldBytes + growth > this.stateBytes) return refusal("storage_full");
    // The value is a view into a larger buffer, which must not be kept alive.
    const kept = value.slice();
    this.lastRevision += 1;
    const revision = this.lastRevision;
    this.put(key, { value: kept, revision, expiresAtMs: ttlMs === null ? null : timeMs + ttlMs });
    this.changes.add({ revision, kind: "set", key, value: kept });
    return { kind: "set", revision };
  }

  private put(key: string, next: Held): void {
    const before = this.held.get(key);
    if (before !== undefined) this.release(key, before);
    this.held.set(key, next);
    this.heldBytes += sizeOf(key, next.value);
    if (next.expiresAtMs !== null) this.expiries.add({ key, atMs: next.expiresAtMs });
  }

  private drop(key: string, kind: "delete" | "expire"): void {
    this.release(key, this.held.get(key)!);
    this.held.delete(key);
    this.lastRevision += 1;
    this.changes.add({ revision: this.lastRevision, kind, key, value: null });
  }

  /** What was held under a key is no more. */
  private release(key: string, before: Held): void {
    if (before.expiresAtMs !== null) this.expiries.release();
    this.heldBytes -= sizeOf(key, before.value);
  }

  private answer(question: Question): Answer {
    switch (question.op) {
      case "get": {
        const key = keyOf(question.key);
        const held = this.held.get(key);
        if (held === undefined) return refusal("no_such_key");
        return { kind: "value", entry: { key: question.key, ...held } };
      }
      case "list":
        return this.answerList(keyOf(question.prefix), keyOf(question.after));
      case "revision":
        return this.answerRevision();
      case "changes":
        return this.answerChanges(keyOf(question.prefix), question.after);
      case "requests":
        return { kind: "requests", requests: this.requests.seen };
    }
  }

  private answerRevision(): Answer {
    return { kind: "revision", revision: this.lastRevision };
  }

  private answerList(prefix: string, after: string): Answer {
    const entries: KeyValue[] = [];
    let bytes = 0;
    for (const [key, held] of this.held.from(prefix, after)) {
      bytes += key.length + held.value.length + PAGE_ENTRY_BYTES;
      if (bytes > PAGE_BYTES && entries.length > 0) return { kind: "entries", entries, more: true };
      entries.push({ key: bytesOf(key), ...held });
    }
    return { kind: "entries", entries, more: false };
  }

  private answerChanges(prefix: string, after: number): Answer {
    const found = this.changes.after(after, this.lastRevision);
    if (found === null) return refusal("changes_forgotten");
    const changes = [];
    let upTo = after;
    let bytes = 0;
    for (const change of found) {
      if (change.key.startsWith(prefix)) {
        bytes += change.key.length + (change.value?.length ?? 0) + PAGE_ENTRY_BYTES;
        if (bytes > PAGE_BYTES && changes.length > 0) break;
        changes.push({ ...change, key: bytesOf(change.key) });
      }
      upTo = change.revision;
    }
    return { kind: "changes", changes, upTo };
  }
}

/** The frames of a snapshot: lists in batches, each list ended by null. */
function* framesOf(
  head: Packable,
  entries: Iterable<readonly [string, Held]>,
  changes: readonly Change[],
  requests: readonly PackedRequest[],
): Generator<Packable, void, void> {
  yield head;
  for (const batch of batched(entries, ([key, { value }]) => sizeOf(key, value), FRAME_BYTES)) {
    yield batch.map(([key, { value, revision, expiresAtMs }]) => {
      return [bytesOf(key), value, revision, expiresAtMs];
    });
  }
  yield null;
  for (const batch of batched(changes, ({ key, value }) => sizeOf(key, value), FRAME_BYTES)) {
    yield batch.map(({ kind, key, value }) => [kind, bytesOf(key), value]);
  }
  yield null;
  const requestBytes = ([id, command, answer]: PackedRequest) =>
    id.length + command.length + answer.length;
  yield* batched(requests, requestBytes, FRAME_BYTES);
  yield null;
}

function sizeOf(key: string, value: Uint8Array | null): number {
  return key.length + (value?.length ?? 0) + KEY_OVERHEAD_BYTES;
}

function unknownVersion(version: number): TrilogError {
  return new TrilogError(
    "unsupported_version",
    `Cannot restore the key-value store: its snapshot has version ${version}, ` +
      `known is ${SNAPSHOT_VERSION}`,
  );
}

/** What is wrong with a command whatever the state is, or null. */
function faultOf(command: Mutation): ErrorCode | null {
  if (!isValidName(command.requestId)) return "malformed";
  if (command.key.length === 0) return "invalid_key";
  if (command.key.length > limits.keyBytes) return "key_too_large";
  if (command.op === "delete") return null;
  const old = command.op === "cas" ? command.old : null;
  if (command.value.length + (old?.length ?? 0) > limits.valueBytes) return "value_too_large";
  const { ttlMs } = command;
  const living = ttlMs === null || (ttlMs > 0 && ttlMs <= limits.timeToLiveMs);
  return living ? null : "invalid_argument";
}

function refusal(code: ErrorCode): Answer {
  return { kind: "refused", code };
}

/** Commands up to this long are remembered whole. */
const SHORT_BYTES = 64;

/** Stands for a command among the remembered requests, which must not hold every value. */
function shortForm(command: Uint8Array): Uint8Array {
  if (command.length <= SHORT_BYTES) return command;
  const sum = pack([command.length, crc32c(command)]);
  return concatBytes([sum, command.subarray(0, SHORT_BYTES)]);
}
