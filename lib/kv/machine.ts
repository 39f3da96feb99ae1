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
import { RequestMemory } from "../replica/requests.ts";
import type { ApplyContext, StateMachine } from "../replica/state_machine.ts";
import { type ChangeKind, Changes } from "./changes.ts";
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
import { bytesOf, keyOf, SortedKeys } from "./keys.ts";

/** First element of a snapshot. */
const SNAPSHOT_VERSION = 1;

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
  private held = new Map<string, Held>();
  private keys = new SortedKeys();
  private expiries = this.newExpiries();
  private changes = new Changes();
  private requests = new RequestMemory();
  private lastRevision = 0;

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
    const entries = this.keys.all().map((key) => {
      const { value, revision, expiresAtMs } = this.held.get(key)!;
      return [bytesOf(key), value, revision, expiresAtMs];
    });
    const changes = this.changes.all().map(({ kind, key, value }) => [kind, bytesOf(key), value]);
    const body = [this.lastRevision, entries, changes, this.requests.pack()];
    return pack([SNAPSHOT_VERSION, body]);
  }

  /** Throws `unsupported_version`; then everything is as before. */
  restore(snapshot: Uint8Array): void {
    const [version, body] = unpack(snapshot) as [number, Packable];
    if (version !== SNAPSHOT_VERSION) {
      throw new TrilogError(
        "unsupported_version",
        `Cannot restore the key-value store: its snapshot has version ${version}, ` +
          `known is ${SNAPSHOT_VERSION}`,
      );
    }
    const [revision, entries, changes, requests] = body as unknown as readonly [
      number,
      readonly PackedEntry[],
      readonly PackedChange[],
      Packable,
    ];
    const memory = RequestMemory.unpack(requests);
    this.held = new Map();
    this.keys = new SortedKeys();
    this.expiries = this.newExpiries();
    for (const [bytes, value, setAt, expiresAtMs] of entries) {
      this.put(keyOf(bytes), { value: value.slice(), revision: setAt, expiresAtMs });
    }
    this.changes = new Changes();
    this.lastRevision = revision - changes.length;
    for (const [kind, bytes, value] of changes) {
      this.lastRevision += 1;
      const key = keyOf(bytes);
      this.changes.add({ revision: this.lastRevision, kind, key, value: value?.slice() ?? null });
    }
    this.requests = memory;
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
    if (before === undefined) this.keys.add(key);
    else if (before.expiresAtMs !== null) this.expiries.release();
    this.held.set(key, next);
    if (next.expiresAtMs !== null) this.expiries.add({ key, atMs: next.expiresAtMs });
  }

  private drop(key: string, kind: "delete" | "expire"): void {
    if (this.held.get(key)!.expiresAtMs !== null) this.expiries.release();
    this.held.delete(key);
    this.keys.remove(key);
    this.lastRevision += 1;
    this.changes.add({ revision: this.lastRevision, kind, key, value: null });
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
    for (const key of this.keys.from(prefix, after)) {
      const held = this.held.get(key)!;
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
