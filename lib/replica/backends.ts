/**
 * The two ways to a replicated machine: the node of this process, and a connection to one of
 * several others.
 */

import { binary } from "../base/codec.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Packable } from "../base/msgpack.ts";
import { Failures } from "../base/failures.ts";
import type { Caller } from "../net/rpc_client.ts";
import type { GroupService } from "./group_service.ts";
import type { MemberService } from "./member_service.ts";
import {
  COMMAND_METHOD,
  commandCodec,
  MEMBER_METHOD,
  type MemberChange,
  memberChangeCodec,
  type MemberState,
  memberStateCodec,
  type NodeStatus,
  nodeStatusCodec,
  QUERY_METHOD,
  queryCodec,
  STATUS_METHOD,
} from "./node_protocol.ts";

/**
 * One way to a replicated machine. All calls reject with `TrilogError`s, whose `outcomeUnknown`
 * must be true unless the call certainly had no effect and never will have one. `timeoutMs` is the
 * time until then; only the backend can tell in it whether anything may have happened, so it
 * should make good use of it and answer before it is over.
 */
export interface Backend {
  /** Has a command replicated and applied; resolves with the machine's answer. */
  command(command: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  /** Asks the machine, as its nodes read; with `stale` the next best replica as it stands. */
  query(question: Uint8Array, stale: boolean, timeoutMs: number): Promise<Uint8Array>;
  /** The state of the node that this leads to. */
  status(timeoutMs: number): Promise<NodeStatus>;
  /** Adds or removes a member. */
  changeMember(change: MemberChange, timeoutMs: number): Promise<MemberState>;
}

/** What is needed of the node of this process; `node.ts` is one. */
export interface BackendNode {
  readonly service: Pick<GroupService, "command" | "query">;
  readonly membership: Pick<MemberService, "change">;
  status(): NodeStatus;
}

/** The machine as this process replicates it. */
export class LocalBackend implements Backend {
  constructor(private readonly node: BackendNode) {}

  command(command: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return this.node.service.command(command, timeoutMs);
  }

  query(question: Uint8Array, stale: boolean, timeoutMs: number): Promise<Uint8Array> {
    return this.node.service.query(question, stale, timeoutMs);
  }

  status(): Promise<NodeStatus> {
    return Promise.resolve(this.node.status());
  }

  changeMember(change: MemberChange, timeoutMs: number): Promise<MemberState> {
    return this.node.membership.change(change, timeoutMs);
  }
}

/** Longest wait for one of several nodes before the next one is asked. */
const ONE_OF_SEVERAL_MS = 1_500;
/** Of the time that a call may take, this much is left for the way there and back. */
const WAY_MS = 100;

/**
 * The machine over a connection to one of several nodes: the one that answered last, then the
 * next; and the leader, wherever it is, when a node names it.
 */
export class RemoteBackend implements Backend {
  private current = 0;
  /** Address of the leader as a node named it last; null: there is no better place to ask. */
  private leader: string | null = null;
  /** What the nodes answered since one of them last gave an answer that counts. */
  private readonly failures = new Failures();

  /** `addresses`: `host:port` of one or more nodes. */
  constructor(private readonly caller: Caller, private readonly addresses: readonly string[]) {}

  async command(command: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const deadlineMs = this.timeThere(timeoutMs);
    const params = commandCodec.encode({ command, deadlineMs });
    return await this.call(COMMAND_METHOD, params, deadlineMs, readBytes);
  }

  async query(question: Uint8Array, stale: boolean, timeoutMs: number): Promise<Uint8Array> {
    const deadlineMs = this.timeThere(timeoutMs);
    const params = queryCodec.encode({ question, stale, deadlineMs });
    return await this.call(QUERY_METHOD, params, deadlineMs, readBytes);
  }

  async status(timeoutMs: number): Promise<NodeStatus> {
    const deadlineMs = this.timeThere(timeoutMs);
    return await this.call(STATUS_METHOD, null, deadlineMs, readStatus);
  }

  async changeMember(change: MemberChange, timeoutMs: number): Promise<MemberState> {
    const deadlineMs = this.timeThere(timeoutMs);
    const params = memberChangeCodec.encode({ ...change, deadlineMs });
    return await this.call(MEMBER_METHOD, params, deadlineMs, readMemberState);
  }

  /** How long the node that is asked may take, in whole milliseconds. */
  protected timeThere(timeoutMs: number): number {
    const ownMs = this.addresses.length > 1 ? Math.min(timeoutMs, ONE_OF_SEVERAL_MS) : timeoutMs;
    return Math.max(1, Math.floor(ownMs - WAY_MS));
  }

  /** Asks the current node; a failure makes the next one current for the next try. */
  protected async call<T>(
    method: string,
    params: Packable,
    timeThereMs: number,
    read: (result: Packable) => T,
  ): Promise<T> {
    const asked = this.current;
    const address = this.leader ?? this.addresses[asked];
    const deadlineMs = timeThereMs + WAY_MS;
    try {
      const answer = read(await this.caller.call(address, method, params, { deadlineMs }));
      this.failures.clear();
      return answer;
    } catch (thrown) {
      const error = toTrilogError(thrown);
      this.leaveFor(error, address, asked);
      this.failures.note(address, undefined, error);
      throw this.explained(error);
    }
  }

  /** A node that does not answer is named together with what the others answered, or did not. */
  private explained(error: TrilogError): TrilogError {
    const { silent, silentCount, answer, reason } = this.failures;
    if (error.answered || silent === null) return error;
    const verb = silentCount === 1 ? "does" : "do";
    const state = answer === null
      ? `no node answers at ${silent} (${reason})`
      : `${answer}; ${silent} ${verb} not answer`;
    const { code, retryable } = error;
    return new TrilogError(code, `Cannot reach the nodes: ${state}`, { retryable, cause: error });
  }

  /** Whom to ask next after `address` failed. */
  private leaveFor({ code, leader }: TrilogError, address: string, asked: number): void {
    if (code === "not_leader" && leader !== undefined && leader !== address) {
      this.leader = leader;
    } else if (this.leader === address) this.leader = null;
    else if (this.current === asked) this.current = (asked + 1) % this.addresses.length;
  }
}

function readBytes(result: Packable): Uint8Array {
  return readAnswer(() => binary.decode(result, "answer"));
}

function readMemberState(result: Packable): MemberState {
  return readAnswer(() => memberStateCodec.decode(result, "member state"));
}

function readStatus(result: Packable): NodeStatus {
  return readAnswer(() => nodeStatusCodec.decode(result, "status"));
}

/** An answer that cannot be read says nothing about what was done: that is not `malformed`. */
function readAnswer<T>(read: () => T): T {
  try {
    return read();
  } catch (thrown) {
    const { message } = toTrilogError(thrown);
    throw new TrilogError("internal", message, { cause: thrown });
  }
}
