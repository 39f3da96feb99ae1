/**
 * Commands, questions and answers of the key-value store as MessagePack arrays. The numbers that
 * lead them are stored in logs and snapshots: never reuse one. Answers hold codes and figures but
 * no prose, so that two versions of trilog keep equal states.
 */

import { displayText } from "../base/bytes.ts";
import { binary, type Codec, list, nullable, record, text, whole, word } from "../base/codec.ts";
import { flag } from "../base/codec.ts";
import { type ErrorCode, isErrorCode } from "../base/errors.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";
import { visible } from "../base/visible.ts";

/** Keys and values are bytes of any kind; `ttlMs`: time to live, or null for ever. */
export type Command =
  | {
    readonly op: "set";
    readonly requestId: string;
    readonly key: Uint8Array;
    readonly value: Uint8Array;
    readonly ttlMs: number | null;
  }
  | { readonly op: "delete"; readonly requestId: string; readonly key: Uint8Array }
  /** Sets the value if the present one is `old`; with null, if there is none. */
  | {
    readonly op: "cas";
    readonly requestId: string;
    readonly key: Uint8Array;
    readonly old: Uint8Array | null;
    readonly value: Uint8Array;
    readonly ttlMs: number | null;
  }
  /** Changes nothing but the time: what is due by its stamp ends. */
  | { readonly op: "expire" };

export type Question =
  | { readonly op: "get"; readonly key: Uint8Array }
  /** Keys that begin with `prefix`, after the key `after` (empty for the first page). */
  | { readonly op: "list"; readonly prefix: Uint8Array; readonly after: Uint8Array }
  /** How many changes there were. */
  | { readonly op: "revision" }
  /** Changes after a revision of keys that begin with `prefix`. */
  | { readonly op: "changes"; readonly prefix: Uint8Array; readonly after: number }
  /** How many mutating requests were remembered so far; see `replica/requests.ts`. */
  | { readonly op: "requests" };

export interface KeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Revision of the change that set it. */
  readonly revision: number;
  /** Milliseconds since 1970, or null. */
  readonly expiresAtMs: number | null;
}

export interface WatchedChange {
  readonly revision: number;
  readonly kind: "set" | "delete" | "expire";
  readonly key: Uint8Array;
  readonly value: Uint8Array | null;
}

export type Answer =
  | { readonly kind: "refused"; readonly code: ErrorCode }
  /** Set; `revision` is this change's. */
  | { readonly kind: "set"; readonly revision: number }
  | { readonly kind: "deleted"; readonly existed: boolean }
  | { readonly kind: "value"; readonly entry: KeyValue }
  | { readonly kind: "entries"; readonly entries: readonly KeyValue[]; readonly more: boolean }
  | { readonly kind: "revision"; readonly revision: number }
  /** `upTo`: the revision up to which the changes are all that there were. */
  | { readonly kind: "changes"; readonly changes: readonly WatchedChange[]; readonly upTo: number }
  | { readonly kind: "requests"; readonly requests: number };

const entryCodec = record<KeyValue>({
  key: binary,
  value: binary,
  revision: whole,
  expiresAtMs: nullable(whole),
});

const changeCodec = record<WatchedChange>({
  revision: whole,
  kind: word("set", "delete", "expire"),
  key: binary,
  value: nullable(binary),
});

const errorCode: Codec<ErrorCode> = {
  encode: (code) => code,
  decode: (packed) => isErrorCode(packed) ? packed : "unsupported_version",
};

/** A variant of a union: its number, and the codec of its fields. */
interface Variant {
  readonly number: number;
  // deno-lint-ignore no-explicit-any
  readonly codec: Codec<any>;
}
type Variants = Readonly<Record<string, Variant>>;

const COMMANDS: Variants = {
  set: {
    number: 1,
    codec: record({ requestId: text, key: binary, value: binary, ttlMs: nullable(whole) }),
  },
  delete: { number: 2, codec: record({ requestId: text, key: binary }) },
  cas: {
    number: 3,
    codec: record({
      requestId: text,
      key: binary,
      old: nullable(binary),
      value: binary,
      ttlMs: nullable(whole),
    }),
  },
  expire: { number: 4, codec: record({}) },
};

const QUESTIONS: Variants = {
  get: { number: 1, codec: record({ key: binary }) },
  list: { number: 2, codec: record({ prefix: binary, after: binary }) },
  revision: { number: 3, codec: record({}) },
  changes: { number: 4, codec: record({ prefix: binary, after: whole }) },
  requests: { number: 5, codec: record({}) },
};

const ANSWERS: Variants = {
  refused: { number: 0, codec: record({ code: errorCode }) },
  set: { number: 1, codec: record({ revision: whole }) },
  deleted: { number: 2, codec: record({ existed: flag }) },
  value: { number: 3, codec: record({ entry: entryCodec }) },
  entries: { number: 4, codec: record({ entries: list(entryCodec), more: flag }) },
  revision: { number: 5, codec: record({ revision: whole }) },
  changes: { number: 6, codec: record({ changes: list(changeCodec), upTo: whole }) },
  requests: { number: 7, codec: record({ requests: whole }) },
};

export function encodeCommand(command: Command): Uint8Array {
  return encode(COMMANDS, command.op, command);
}

/** The command in `bytes`, its sizes not yet judged; null where it is none. */
export function decodeCommand(bytes: Uint8Array): Command | null {
  return decode(COMMANDS, "op", bytes) as Command | null;
}

export function encodeQuestion(question: Question): Uint8Array {
  return encode(QUESTIONS, question.op, question);
}

export function decodeQuestion(bytes: Uint8Array): Question | null {
  return decode(QUESTIONS, "op", bytes) as Question | null;
}

export function encodeAnswer(answer: Answer): Uint8Array {
  return encode(ANSWERS, answer.kind, answer);
}

/** The answer in `bytes`; one of a kind that a newer version added reads as a refusal. */
export function decodeAnswer(bytes: Uint8Array): Answer {
  const answer = decode(ANSWERS, "kind", bytes) as Answer | null;
  return answer ?? { kind: "refused", code: "unsupported_version" };
}

function encode(variants: Variants, name: string, value: object): Uint8Array {
  const { number, codec } = variants[name];
  return pack([number, ...codec.encode(value) as Packable[]]);
}

function decode(variants: Variants, tag: "op" | "kind", bytes: Uint8Array): object | null {
  try {
    const [number, ...fields] = unpack(bytes) as Packable[];
    const [name, variant] = Object.entries(variants).find(([, found]) => found.number === number)!;
    return { [tag]: name, ...variant.codec.decode(fields, name) };
  } catch {
    return null;
  }
}

/** A command in few words, for the log. */
export function describeCommand(bytes: Uint8Array): string {
  const command = decodeCommand(bytes);
  if (command === null) return "nonsense";
  if (command.op === "expire") return "expire";
  const name = visible(displayText(command.key));
  return command.op === "delete"
    ? `delete ${name}`
    : `${command.op} ${name} to ${command.value.length} bytes`;
}

export function describeQuestion(bytes: Uint8Array): string {
  const question = decodeQuestion(bytes);
  if (question === null) return "nonsense";
  switch (question.op) {
    case "get":
      return `get ${visible(displayText(question.key))}`;
    case "list":
    case "changes":
      return `${question.op} ${visible(displayText(question.prefix))}`;
    default:
      return question.op;
  }
}
