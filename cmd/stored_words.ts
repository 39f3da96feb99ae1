/** Entries of a log in words, for people who look into a data directory. */

import { displayText } from "../lib/base/bytes.ts";
import { type Packable, unpack } from "../lib/base/msgpack.ts";
import { NO_PRODUCER, readBatchHeader } from "../lib/batch/batch_header.ts";
import { describeCommand as describeBankCommand } from "../lib/atm/wording.ts";
import { decodeCommand, isBatch } from "../lib/broker/partition_commands.ts";
import { describeCommand as describeStoreCommand } from "../lib/kv/codec.ts";
import { decodeMembership } from "../lib/raft/membership.ts";
import { EntryKind } from "../lib/raft/types.ts";
import { describeSessionCommand } from "../lib/replica/sessions.ts";
import { MANAGERS_GROUP } from "./manager.ts";

/** Longer words are cut. */
const MOST_CHARACTERS = 160;

type Describe = (command: Uint8Array) => string;

const inSession = (describe: Describe): Describe => (command) =>
  describeSessionCommand(command, describe);

/** Groups by name; all others are partitions of the queue. */
const groups: Readonly<Record<string, Describe>> = {
  atm: inSession(describeBankCommand),
  kv: inSession(describeStoreCommand),
  [MANAGERS_GROUP]: inSession(describeMetadataCommand),
};

/** What an entry of a group's log says; empty where there is nothing to say. */
export function describeEntry(group: string, kind: number, data: Uint8Array): string {
  if (kind === EntryKind.noop) return "";
  try {
    const text = kind === EntryKind.membership
      ? describeMembership(data)
      : (groups[group] ?? describePartitionCommand)(data);
    return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS - 3)}...` : text;
  } catch {
    return "not a command that this version knows";
  }
}

function describeMembership(data: Uint8Array): string {
  const { voters, outgoing, learners, nodes } = decodeMembership(data);
  const named = (ids: readonly string[]) => ids.map((id) => nodes[id]?.name ?? id).join(", ");
  const parts = [`voters ${named(voters)}`];
  if (outgoing.length > 0) parts.push(`leaving ${named(outgoing)}`);
  if (learners.length > 0) parts.push(`learners ${named(learners)}`);
  return parts.join("; ");
}

/** As `lib/manager/command.ts` stores it: a request id, a name, fields. */
function describeMetadataCommand(bytes: Uint8Array): string {
  const [, name, fields] = unpack(bytes) as readonly Packable[];
  return `${name} ${JSON.stringify(fields, shown)}`;
}

function describePartitionCommand(bytes: Uint8Array): string {
  if (!isBatch(bytes)) {
    const { kind, ...fields } = decodeCommand(bytes);
    const words = Object.entries(fields).map(([name, value]) =>
      `${name} ${JSON.stringify(value, shown)}`
    );
    return [kind, ...words].join(", ");
  }
  const { count, producerId, producerEpoch, baseSequence, compression } = readBatchHeader(bytes);
  const messages = count === 1 ? "1 message" : `${count} messages`;
  const packed = compression === "none" ? "" : `, ${compression}`;
  if (producerId === NO_PRODUCER) return messages + packed;
  const sequence = `producer ${producerId} epoch ${producerEpoch} from sequence ${baseSequence}`;
  return `${messages}${packed}, ${sequence}`;
}

function shown(_: string, value: unknown): unknown {
  return value instanceof Uint8Array ? displayText(value) : value;
}
