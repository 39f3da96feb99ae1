/**
 * The two ways to the bank: the node of this process, and a connection to one of several others.
 */

import { binary } from "../base/codec.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Caller } from "../net/rpc_client.ts";
import type { GroupService } from "../replica/group_service.ts";
import {
  COMMAND_METHOD,
  commandCodec,
  type NodeStatus,
  nodeStatusCodec,
  QUERY_METHOD,
  queryCodec,
  STATUS_METHOD,
} from "../replica/node_protocol.ts";
import type { AtmBackend } from "./client.ts";

/** What the bank needs of a node; `lib/replica/node.ts` is one. */
export interface BankNode {
  readonly service: Pick<GroupService, "command" | "query">;
  status(): NodeStatus;
}

/** The bank as this process replicates it. */
export class LocalBackend implements AtmBackend {
  constructor(private readonly node: BankNode) {}

  command(command: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return this.node.service.command(command, timeoutMs);
  }

  query(question: Uint8Array, stale: boolean, timeoutMs: number): Promise<Uint8Array> {
    return this.node.service.query(question, stale, timeoutMs);
  }

  status(): Promise<NodeStatus> {
    return Promise.resolve(this.node.status());
  }
}

/** Longest wait for one of several ATMs before the next one is asked. */
const ONE_OF_SEVERAL_MS = 1_500;
/** Of the time that a call may take, this much is left for the way there and back. */
const WAY_MS = 100;

/** The bank over a connection to one of several ATMs: the one that answered last, then the next. */
export class RemoteBackend implements AtmBackend {
  private current = 0;

  /** `addresses`: `host:port` of one or more ATMs. */
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

  /** How long the ATM that is asked may take, in whole milliseconds. */
  private timeThere(timeoutMs: number): number {
    const ownMs = this.addresses.length > 1 ? Math.min(timeoutMs, ONE_OF_SEVERAL_MS) : timeoutMs;
    return Math.max(1, Math.floor(ownMs - WAY_MS));
  }

  /** Asks the current ATM; a failure makes the next one current for the next try. */
  private async call<T>(
    method: string,
    params: Packable,
    timeThereMs: number,
    read: (result: Packable) => T,
  ): Promise<T> {
    const asked = this.current;
    const deadlineMs = timeThereMs + WAY_MS;
    try {
      return read(await this.caller.call(this.addresses[asked], method, params, { deadlineMs }));
    } catch (thrown) {
      if (this.current === asked) this.current = (asked + 1) % this.addresses.length;
      throw toTrilogError(thrown);
    }
  }
}

function readBytes(result: Packable): Uint8Array {
  return readAnswer(() => binary.decode(result, "answer"));
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
