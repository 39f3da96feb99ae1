/**
 * What a partition's log holds and what applying it answers. An entry's data is either a record
 * batch as it is (its first byte is the high byte of base offset 0) or a command: a MessagePack
 * array `[code, ...fields]`, whose first byte is 0x90 to 0x9f.
 *
 * Answers are `[0, ...fields]`, or `[1, code, message]` for a refusal. Clients, brokers and the
 * machine encode and decode them here only.
 */

import {
  type Codec,
  flag,
  list,
  name,
  nullable,
  record,
  text,
  token,
  whole,
} from "../base/codec.ts";
import { isErrorCode, TrilogError } from "../base/errors.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";

/** Takes over the partition for a member of a group; the group's fence rises to its generation. */
export interface ClaimCommand {
  readonly kind: "claim";
  readonly group: string;
  /** Generation in which the group was made: a lower fence is that of a deleted group. */
  readonly born: number;
  readonly generation: number;
  readonly member: string;
}

/** Stores the offset of the next message to consume; only the last claimant may. */
export interface CommitCommand {
  readonly kind: "commit";
  readonly group: string;
  readonly generation: number;
  readonly member: string;
  readonly offset: number;
}

/** Forgets a group's offset and fence, unless it was claimed in generation `below` or later. */
export interface DeleteGroupCommand {
  readonly kind: "delete_group";
  readonly group: string;
  readonly below: number;
}

/** Reads and advances: fixes the offset of the next message for a consumer of the HTTP API. */
export interface DequeueCommand {
  readonly kind: "dequeue";
  readonly consumer: number;
  /** The same id as the consumer's last request gets the same answer; null: never a repeat. */
  readonly requestId: string | null;
  /**
   * How many requests of the consumer this partition must have answered, unless this is a repeat:
   * one that arrives late, after others, is refused as `stale_sequence`. Null: any number.
   */
  readonly turn: number | null;
}

/** Forgets the position of a consumer of the HTTP API. */
export interface DeleteConsumerCommand {
  readonly kind: "delete_consumer";
  readonly consumer: number;
}

/** Retention: the log begins at entry `index` from now on. */
export interface TrimCommand {
  readonly kind: "trim";
  readonly index: number;
}

/** Recovery with loss: the next message gets `offset`, and what lies between stays empty. */
export interface AdvanceCommand {
  readonly kind: "advance";
  readonly offset: number;
}

/** Changes nothing: its stamp begins a new segment, so that retention can drop the one before. */
export interface StampCommand {
  readonly kind: "stamp";
}

export type PartitionCommand =
  | ClaimCommand
  | CommitCommand
  | DeleteGroupCommand
  | DequeueCommand
  | DeleteConsumerCommand
  | TrimCommand
  | AdvanceCommand
  | StampCommand;

type Kind = PartitionCommand["kind"];
type Fields<K extends Kind> = Omit<Extract<PartitionCommand, { kind: K }>, "kind">;

/** Numbers stand in stored logs: never reuse one. */
const codes: { readonly [K in Kind]: number } = {
  claim: 8,
  commit: 2,
  delete_group: 3,
  dequeue: 4,
  delete_consumer: 5,
  trim: 6,
  advance: 7,
  stamp: 9,
};

const shapes: { readonly [K in Kind]: Codec<Fields<K>> } = {
  claim: record<Fields<"claim">>({ group: name, born: whole, generation: whole, member: token }),
  commit: record<Fields<"commit">>({
    group: name,
    generation: whole,
    member: token,
    offset: whole,
  }),
  delete_group: record<Fields<"delete_group">>({ group: name, below: whole }),
  dequeue: record<Fields<"dequeue">>({
    consumer: whole,
    requestId: nullable(token),
    turn: nullable(whole),
  }),
  delete_consumer: record<Fields<"delete_consumer">>({ consumer: whole }),
  trim: record<Fields<"trim">>({ index: whole }),
  advance: record<Fields<"advance">>({ offset: whole }),
  stamp: record<Fields<"stamp">>({}),
};

/** A claim of earlier versions, which did not say when its group was made. */
const UNDATED_CLAIM = 1;
const undatedClaim = record<Omit<Fields<"claim">, "born">>({
  group: name,
  generation: whole,
  member: token,
});

const kindOf = new Map(Object.entries(codes).map(([kind, code]) => [code, kind as Kind]));
/** More values than any command or answer to one has. */
const MOST_VALUES = 16;

/** Whether an entry's data is a record batch rather than a command. */
export function isBatch(data: Uint8Array): boolean {
  return data.length > 0 && data[0] === 0;
}

export function encodeCommand(command: PartitionCommand): Uint8Array {
  const shape = shapes[command.kind] as Codec<unknown>;
  return pack([codes[command.kind], ...(shape.encode(command) as readonly Packable[])]);
}

/** Throws `malformed` on anything that `encodeCommand` does not make. */
export function decodeCommand(data: Uint8Array): PartitionCommand {
  const packed = unpack(data, MOST_VALUES);
  if (Array.isArray(packed) && packed[0] === UNDATED_CLAIM) {
    return { kind: "claim", born: 0, ...undatedClaim.decode(packed.slice(1), "claim") };
  }
  const kind = Array.isArray(packed) ? kindOf.get(packed[0]) : undefined;
  if (kind === undefined) {
    throw new TrilogError("malformed", "Cannot decode partition command: its kind is unknown");
  }
  const fields = shapes[kind].decode((packed as readonly Packable[]).slice(1), kind);
  return { kind, ...fields } as PartitionCommand;
}

/** Answer to a record batch. */
export interface ProduceResult {
  /** Offset of the batch's first message; the first answer's for a duplicate. */
  readonly baseOffset: number;
  /** The leader's stamp of the entry that took the offset, milliseconds since 1970. */
  readonly timeMs: number;
  /** Whether the batch was in the log already; then this entry took no offset. */
  readonly duplicate: boolean;
}

/** Answer to `claim` and `commit`. */
export interface GroupResult {
  /** The committed offset: that of the next message to consume; null where there is none. */
  readonly offset: number | null;
}

export interface DequeueResult {
  /** The message that is now this consumer's; null: there is none left. */
  readonly offset: number | null;
  /** Messages that retention took away before this consumer came to them. */
  readonly skipped: number;
}

/** Answer to `trim` and `advance`. */
export interface BoundsResult {
  readonly startOffset: number;
  readonly endOffset: number;
}

/** Answer to the deletions. */
export interface DeletedResult {
  /** False where there was nothing to delete. */
  readonly existed: boolean;
}

/** One kind of answer, in both directions. */
export interface AnswerCodec<T> {
  encode(answer: T): Uint8Array;
  /** Throws the `TrilogError` of a refusal, or `malformed`. */
  decode(bytes: Uint8Array): T;
}

function answer<T>(shape: Codec<T>): AnswerCodec<T> {
  return {
    encode: (value) => pack([0, ...(shape.encode(value) as readonly Packable[])]),
    decode: (bytes) => shape.decode(accepted(bytes), "answer"),
  };
}

export const produceAnswer = answer<ProduceResult>(
  record<ProduceResult>({ baseOffset: whole, timeMs: whole, duplicate: flag }),
);
export const groupAnswer = answer<GroupResult>(record<GroupResult>({ offset: nullable(whole) }));
export const dequeueAnswer = answer<DequeueResult>(
  record<DequeueResult>({ offset: nullable(whole), skipped: whole }),
);
export const boundsAnswer = answer<BoundsResult>(
  record<BoundsResult>({ startOffset: whole, endOffset: whole }),
);
export const deletedAnswer = answer<DeletedResult>(record<DeletedResult>({ existed: flag }));

/** The answer that refuses: the partition's state is as it was. */
export function encodeRefusal(refusal: TrilogError): Uint8Array {
  return pack([1, refusal.code, refusal.message]);
}

function accepted(bytes: Uint8Array): Packable {
  const packed = unpack(bytes);
  if (Array.isArray(packed) && packed[0] === 0) return packed.slice(1);
  if (Array.isArray(packed) && packed[0] === 1 && isErrorCode(packed[1])) {
    throw new TrilogError(packed[1], String(packed[2]));
  }
  throw new TrilogError("malformed", "Cannot decode partition answer: its form is unknown");
}

/** What a machine can be asked: how far it goes, and where everybody stands. */
export type PartitionQuestion = "describe";

export interface GroupPosition {
  readonly group: string;
  readonly generation: number;
  readonly member: string;
  readonly offset: number | null;
}

export interface ConsumerPosition {
  readonly consumer: number;
  readonly nextOffset: number;
}

export interface PartitionDescription {
  readonly startOffset: number;
  readonly endOffset: number;
  /** Bytes of batches from the start on; right to within a mebibyte after a trim. */
  readonly sizeBytes: number;
  /** Producers whose sequences are remembered. */
  readonly producers: number;
  /** Sorted by name. */
  readonly groups: readonly GroupPosition[];
  /** Consumers of the HTTP API, sorted by id. */
  readonly consumers: readonly ConsumerPosition[];
}

export const descriptionAnswer = answer<PartitionDescription>(
  record<PartitionDescription>({
    startOffset: whole,
    endOffset: whole,
    sizeBytes: whole,
    producers: whole,
    groups: list(record<GroupPosition>({
      group: text,
      generation: whole,
      member: text,
      offset: nullable(whole),
    })),
    consumers: list(record<ConsumerPosition>({ consumer: whole, nextOffset: whole })),
  }),
);

export function encodeQuestion(question: PartitionQuestion): Uint8Array {
  return pack([question]);
}

/** Throws `malformed` on anything that `encodeQuestion` does not make. */
export function decodeQuestion(bytes: Uint8Array): PartitionQuestion {
  const packed = unpack(bytes, MOST_VALUES);
  if (Array.isArray(packed) && packed.length === 1 && packed[0] === "describe") return "describe";
  throw new TrilogError("malformed", "Cannot answer question to partition: it is unknown");
}
