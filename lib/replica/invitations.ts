/**
 * The invitations of a group: names that may be taken, and where. They are replicated with the
 * sessions, so every later leader knows them. An invitation admits for ten minutes; after that it
 * is kept as the record of the command that made it, so that a repeat of a replacement is told
 * from a new one by the identities that it replaces.
 */

import { binary, list, name, nullable, record, token, whole } from "../base/codec.ts";
import { pack, unpack } from "../base/msgpack.ts";
import type { NodeInfo, ReplicaId } from "../raft/types.ts";

/** An invitation admits for this long. */
const INVITATION_MS = 10 * 60_000;
/** The oldest record goes when there are more. */
const MOST_RECORDS = 64;

export interface InviteFields extends NodeInfo {
  /** Name of the member that the invited node replaces; null: it is one member more. */
  readonly replaces: string | null;
  /** Identities of that member when the command was given. */
  readonly replaced: readonly ReplicaId[];
}

export interface Invitation extends InviteFields {
  /** Milliseconds since 1970, by the stamps of the log. */
  readonly untilMs: number;
}

const fields = {
  name,
  address: token,
  replaces: nullable(name),
  replaced: list(token),
};
const inviteCodec = record<InviteFields>(fields);
const recordsCodec = list(record<Invitation>({ ...fields, untilMs: whole }));

/** Content of a session machine's command that makes an invitation, or ends it (`null` fields). */
const changeCodec = record({ name, invite: nullable(binary) });

export function inviteContent(invite: InviteFields): Uint8Array {
  const packed = pack(inviteCodec.encode(invite));
  return pack(changeCodec.encode({ name: invite.name, invite: packed }));
}

export function revokeContent(name: string): Uint8Array {
  return pack(changeCodec.encode({ name, invite: null }));
}

export class Invitations {
  /** By name, the oldest record first. */
  private records = new Map<string, Invitation>();

  /** The record for `name`, whether it still admits or not. */
  get(name: string): Invitation | undefined {
    return this.records.get(name);
  }

  /** The invitation of `name`, if it admits at `nowMs` (since 1970) and for a while after. */
  valid(name: string, nowMs: number, marginMs: number = 0): Invitation | undefined {
    const found = this.records.get(name);
    return found !== undefined && nowMs + marginMs < found.untilMs ? found : undefined;
  }

  /** Applies a command's content; `timeMs` is its stamp. Throws `malformed`. */
  apply(content: Uint8Array, timeMs: number): void {
    const { name, invite } = changeCodec.decode(unpack(content), "invitation");
    this.records.delete(name);
    if (invite === null) return;
    const decoded = inviteCodec.decode(unpack(invite), "invitation");
    this.records.set(name, { ...decoded, untilMs: timeMs + INVITATION_MS });
    if (this.records.size > MOST_RECORDS) {
      const [oldest] = this.records.keys();
      this.records.delete(oldest);
    }
  }

  snapshot(): Uint8Array {
    return pack(recordsCodec.encode([...this.records.values()]));
  }

  restore(snapshot: Uint8Array): void {
    const records = recordsCodec.decode(unpack(snapshot), "invitations");
    this.records = new Map(records.map((invitation) => [invitation.name, invitation]));
  }

  clear(): void {
    this.records.clear();
  }
}
