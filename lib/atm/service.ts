/**
 * The ATM's methods on the wire: what a node serves to terminals that connect, and the backend
 * that such a terminal has in place of a replica of its own.
 */

import { binary, flag, list, nullable, record, text, token, whole, word } from "../base/codec.ts";
import type { Codec } from "../base/codec.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { RpcServer } from "../net/rpc.ts";
import type { Caller } from "../net/rpc_client.ts";
import type { AtmBackend } from "./client.ts";
import type { AtmMember, AtmStatus } from "./results.ts";

const COMMAND_METHOD = "atm.command";
const QUERY_METHOD = "atm.query";
const STATUS_METHOD = "atm.status";

const commandCodec = record({ command: binary });
const queryCodec = record({ question: binary, stale: flag });
const statusCodec: Codec<AtmStatus> = record({
  id: token,
  address: token,
  role: text,
  leader: nullable(token),
  term: whole,
  commit: whole,
  applied: whole,
  members: list(record<AtmMember>({
    name: token,
    address: token,
    role: word("voter", "learner"),
  })),
});

/** Of the time that a caller waits, this much is left for the way back. */
const WAY_BACK_MS = 100;

/** Serves terminals that connect to this node; `backend` is its own replica's. */
export function serveTerminals(rpc: RpcServer, backend: AtmBackend): void {
  rpc.handle(COMMAND_METHOD, (params, call) => {
    const { command } = commandCodec.decode(params, "command");
    return backend.command(command, call.deadlineMs - WAY_BACK_MS);
  });
  rpc.handle(QUERY_METHOD, (params, call) => {
    const { question, stale } = queryCodec.decode(params, "question");
    return backend.query(question, stale, call.deadlineMs - WAY_BACK_MS);
  });
  rpc.handle(STATUS_METHOD, async (_params, call) => {
    return statusCodec.encode(await backend.status(call.deadlineMs - WAY_BACK_MS));
  });
}

/** Longest wait for one of several ATMs before the next one is asked. */
const ONE_OF_SEVERAL_MS = 1_500;

/** The bank over a connection to one of several ATMs: the one that answered last, then the next. */
export class RemoteBackend implements AtmBackend {
  private current = 0;

  /** `addresses`: `host:port` of one or more ATMs. */
  constructor(private readonly caller: Caller, private readonly addresses: readonly string[]) {}

  command(command: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const params = commandCodec.encode({ command });
    return this.call(timeoutMs, async (address, deadlineMs) =>
      binary.decode(
        await this.caller.call(address, COMMAND_METHOD, params, { deadlineMs }),
        "answer",
      ));
  }

  query(question: Uint8Array, stale: boolean, timeoutMs: number): Promise<Uint8Array> {
    const params = queryCodec.encode({ question, stale });
    return this.call(timeoutMs, async (address, deadlineMs) =>
      binary.decode(
        await this.caller.call(address, QUERY_METHOD, params, { deadlineMs }),
        "answer",
      ));
  }

  status(timeoutMs: number): Promise<AtmStatus> {
    return this.call(timeoutMs, async (address, deadlineMs) =>
      statusCodec.decode(
        await this.caller.call(address, STATUS_METHOD, null, { deadlineMs }),
        "status",
      ));
  }

  /** Asks the current ATM; a failure makes the next one current for the next try. */
  private async call<T>(
    timeoutMs: number,
    ask: (address: string, deadlineMs: number) => Promise<T>,
  ): Promise<T> {
    const asked = this.current;
    const several = this.addresses.length > 1;
    const deadlineMs = Math.floor(several ? Math.min(timeoutMs, ONE_OF_SEVERAL_MS) : timeoutMs);
    try {
      return await ask(this.addresses[asked], deadlineMs);
    } catch (thrown) {
      if (this.current === asked) this.current = (asked + 1) % this.addresses.length;
      throw honest(toTrilogError(thrown));
    }
  }
}

/** An answer that cannot be read says nothing about what was done. */
function honest(error: TrilogError): TrilogError {
  if (error.code !== "malformed") return error;
  return new TrilogError("internal", error.message, { cause: error });
}
