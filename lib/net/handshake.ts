/**
 * The first frame each way on every connection. Pure but for the policy it is given: the hello of
 * the side that dialled, its judgement, and the answer. The layout stands in DESIGN.md.
 */

import {
  errorFromWire,
  errorToWire,
  toTrilogError,
  TrilogError,
  type WireError,
} from "../base/errors.ts";
import { utf8 } from "../base/bytes.ts";
import { isValidName } from "../base/limits.ts";
import { type Packable, unpack } from "../base/msgpack.ts";
import type { ReplicaId } from "../raft/types.ts";

const MAGIC = "trilog";
/** Raised whenever frames change so that an older process would misread them. */
export const PROTOCOL_VERSION = 2;

/** `peer`: a process with a replica of its own, allowed larger frames and Raft's channel. */
export type ConnectionRole = "peer" | "client";

/** Who this process is. */
export interface LocalIdentity {
  /** Null: blank, it belongs to no cluster yet (or is a client that does not mind which). */
  readonly clusterId: string | null;
  /** Null for clients. */
  readonly replicaId: ReplicaId | null;
  /** Node name such as `a1`, for people. */
  readonly name: string;
  /** How often the data directory was started: a lower one than before was rolled back. */
  readonly startCounter: number;
}

/** Who the other side says it is; believed once the token was right. */
export interface RemoteIdentity extends LocalIdentity {
  readonly role: ConnectionRole;
}

/** What a process presents and whom it lets in. */
export interface HandshakePolicy {
  /** Asked anew for each handshake and frame: a blank node gets its cluster id while it runs. */
  local(): LocalIdentity;
  /** Shared secret of the cluster; empty for none. */
  readonly token: string;
  /**
   * Judges a peer whose magic, version, token and cluster id (where both have one) were right, on
   * accepting and on dialling: null to let it in, `superseded`, `rolled_back` or, for a blank one
   * that has no business here, `wrong_cluster` to refuse it. May wait for a disk.
   */
  admitPeer(peer: RemoteIdentity): TrilogError | null | Promise<TrilogError | null>;
}

/** A client's policy: it lets everybody in whose cluster fits. */
export function clientPolicy(name: string, token: string = ""): HandshakePolicy {
  const identity = { clusterId: null, replicaId: null, name, startCounter: 0 };
  return { local: () => identity, token, admitPeer: () => null };
}

/** What is remembered about one replica id. */
export interface PeerRecord {
  /** It was removed from the membership, or another identity took its place. */
  readonly superseded: boolean;
  /** Highest start counter ever seen from it; 0 if none was. */
  readonly highestStartCounter: number;
}

/**
 * The usual judgement of a peer by what is remembered of it. `whyFormer`: why it was superseded,
 * where that is known.
 */
export function judgeByRecord(
  peer: RemoteIdentity,
  record: PeerRecord,
  whyFormer: string = "it was removed, or another identity took its place",
): TrilogError | null {
  const who = `${peer.name} (${peer.replicaId})`;
  if (record.superseded) {
    return new TrilogError("superseded", `Cannot admit ${who}: ${whyFormer}`);
  }
  if (peer.startCounter < record.highestStartCounter) {
    return new TrilogError(
      "rolled_back",
      `Cannot admit ${who}: its data directory was rolled back to start ` +
        `${peer.startCounter}, start ${record.highestStartCounter} was seen`,
    );
  }
  return null;
}

/** The first frame of the side that dialled. `to`: the replica id it wants, null for any. */
export function encodeHello(
  policy: HandshakePolicy,
  role: ConnectionRole,
  to: ReplicaId | null,
): Packable {
  const { clusterId, replicaId, name, startCounter } = policy.local();
  const roleCode = role === "peer" ? 0 : 1;
  return [
    MAGIC,
    PROTOCOL_VERSION,
    clusterId,
    replicaId,
    name,
    roleCode,
    startCounter,
    policy.token,
    to,
  ];
}

/**
 * Judges a hello: the identity that is let in, or throws what it is refused with:
 * `bad_handshake`, `unsupported_version`, `unauthorized`, `wrong_cluster`, `wrong_replica`, or
 * what the policy says.
 */
export async function judgeHello(
  policy: HandshakePolicy,
  payload: Uint8Array,
): Promise<RemoteIdentity> {
  const fields = readFirstFrame(payload, 9);
  const [, , clusterId, replicaId, name, roleCode, startCounter, token, to] = fields;
  if (roleCode !== 0 && roleCode !== 1) throw badHandshake("its role is unknown");
  if (typeof token !== "string" || !isIdentityOrNull(to)) throw badHandshake("a field is wrong");
  if (!equalSecret(token, policy.token)) {
    throw new TrilogError(
      "unauthorized",
      "Cannot admit connection: its token differs from the one here",
    );
  }
  const role = roleCode === 0 ? "peer" : "client";
  const peer = readIdentity({ clusterId, replicaId, name, startCounter }, role);
  const local = policy.local();
  checkCluster(local, peer);
  if (to !== null && to !== local.replicaId) throw wrongReplica(to, local.replicaId);
  if (role === "peer") await admit(policy, peer);
  return peer;
}

/** The answer to a hello. Who was refused learns who refused only if `peer` was authenticated. */
export function encodeAnswer(policy: HandshakePolicy, refusal: TrilogError | null): Packable {
  const error = refusal === null ? null : errorToWire(refusal);
  if (refusal !== null && refusal.code !== "wrong_replica") {
    return [MAGIC, PROTOCOL_VERSION, error, null, null, "", 0];
  }
  const { clusterId, replicaId, name, startCounter } = policy.local();
  return [MAGIC, PROTOCOL_VERSION, error, clusterId, replicaId, name, startCounter];
}

/** What the acceptor answered. */
export interface Answer {
  /** Null where the acceptor did not say. */
  readonly identity: RemoteIdentity | null;
  readonly refusal: TrilogError | null;
}

/** Judges an answer: its identity if it lets us in and fits, or the refusal of either side. */
export async function judgeAnswer(
  policy: HandshakePolicy,
  role: ConnectionRole,
  to: ReplicaId | null,
  payload: Uint8Array,
): Promise<Answer> {
  const [, , error, clusterId, replicaId, name, startCounter] = readFirstFrame(payload, 7);
  const refusal = error === null ? null : errorFromWire(readWireError(error));
  if (replicaId === null) {
    return { identity: null, refusal: refusal ?? badHandshake("the answer names no replica") };
  }
  const identity = readIdentity({ clusterId, replicaId, name, startCounter }, "peer");
  if (refusal !== null) return { identity, refusal };
  try {
    checkCluster(policy.local(), identity);
    if (to !== null && identity.replicaId !== to) throw wrongReplica(to, identity.replicaId);
    if (role === "peer") await admit(policy, identity);
    return { identity, refusal: null };
  } catch (thrown) {
    return { identity, refusal: toTrilogError(thrown) };
  }
}

/** Checks the form of an error that came in a frame. */
export function readWireError(value: Packable): WireError {
  if (!Array.isArray(value) || value.length !== 4) throw badHandshake("an error is malformed");
  const [code, message, retryable, leader] = value;
  const right = typeof code === "string" && typeof message === "string" &&
    typeof retryable === "boolean" && (leader === null || typeof leader === "string");
  if (!right) throw badHandshake("an error is malformed");
  return [code, message, retryable, leader];
}

/** Whether two secrets are equal, in a time that depends on the longer length only. */
export function equalSecret(left: string, right: string): boolean {
  const a = utf8(left);
  const b = utf8(right);
  let difference = a.length ^ b.length;
  for (let at = 0; at < Math.max(a.length, b.length); at += 1) {
    difference |= (a[at] ?? 0) ^ (b[at] ?? 0);
  }
  return difference === 0;
}

function readFirstFrame(payload: Uint8Array, fieldCount: number): readonly Packable[] {
  let fields: Packable;
  try {
    fields = unpack(payload);
  } catch {
    throw badHandshake("the first frame is not valid MessagePack");
  }
  if (!Array.isArray(fields) || fields[0] !== MAGIC) throw badHandshake("the magic is wrong");
  if (fields[1] !== PROTOCOL_VERSION) {
    throw new TrilogError(
      "unsupported_version",
      `Cannot admit connection: this side speaks protocol version ${PROTOCOL_VERSION} only`,
    );
  }
  if (fields.length !== fieldCount) throw badHandshake("fields are missing or left over");
  return fields;
}

type Unread = { readonly [Field in keyof LocalIdentity]: Packable };

function readIdentity(fields: Unread, role: ConnectionRole): RemoteIdentity {
  const { clusterId, replicaId, name, startCounter } = fields;
  if (!isIdentityOrNull(clusterId) || !isIdentityOrNull(replicaId)) {
    throw badHandshake("an identity is malformed");
  }
  if (!isValidName(name)) throw badHandshake("the node name is malformed");
  if (!Number.isSafeInteger(startCounter) || (startCounter as number) < 0) {
    throw badHandshake("the start counter is malformed");
  }
  if (role === "peer" && replicaId === null) throw badHandshake("a peer names no replica");
  return { clusterId, replicaId, name, startCounter: startCounter as number, role };
}

const IDENTITY = /^[a-zA-Z0-9._-]{1,64}$/;

function isIdentityOrNull(value: Packable): value is string | null {
  return value === null || (typeof value === "string" && IDENTITY.test(value));
}

function checkCluster(local: LocalIdentity, peer: RemoteIdentity): void {
  if (local.clusterId === null || peer.clusterId === null) return;
  if (local.clusterId === peer.clusterId) return;
  throw new TrilogError(
    "wrong_cluster",
    `Cannot connect ${peer.name} and ${local.name}: they belong to different clusters`,
  );
}

async function admit(policy: HandshakePolicy, peer: RemoteIdentity): Promise<void> {
  const refusal = await policy.admitPeer(peer);
  if (refusal !== null) throw refusal;
}

function wrongReplica(wanted: ReplicaId, found: ReplicaId | null): TrilogError {
  return new TrilogError(
    "wrong_replica",
    `Cannot connect to replica ${wanted}: ${found ?? "no server"} answers at its address`,
  );
}

function badHandshake(state: string): TrilogError {
  return new TrilogError("bad_handshake", `Cannot admit connection: ${state}`);
}
