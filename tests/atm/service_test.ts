import { assert, assertEquals, assertRejects } from "@std/assert";
import { type ErrorCode, TrilogError } from "../../lib/base/errors.ts";
import { silentLogger } from "../../lib/base/logger.ts";
import { pack, type Packable, unpack } from "../../lib/base/msgpack.ts";
import { type Call, RpcServer } from "../../lib/net/rpc.ts";
import type { Caller } from "../../lib/net/rpc_client.ts";
import type { AtmBackend } from "../../lib/atm/client.ts";
import type { AtmStatus } from "../../lib/atm/results.ts";
import { RemoteBackend, serveTerminals } from "../../lib/atm/service.ts";
import { VirtualClock } from "./virtual_clock.ts";

const STATUS: AtmStatus = {
  id: "a2",
  address: "127.0.0.1:7002",
  role: "follower",
  leader: null,
  term: 3,
  commit: 5,
  applied: 4,
  members: [
    { name: "a1", address: "127.0.0.1:7001", role: "voter" },
    { name: "a2", address: "127.0.0.1:7002", role: "learner" },
  ],
};

/** Answers with what it was asked, and keeps the times it was given. */
class Echo implements AtmBackend {
  readonly timeouts: number[] = [];

  command(command: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    this.timeouts.push(timeoutMs);
    return Promise.resolve(command);
  }

  query(question: Uint8Array, stale: boolean, timeoutMs: number): Promise<Uint8Array> {
    this.timeouts.push(timeoutMs);
    return Promise.resolve(Uint8Array.of(...question, stale ? 1 : 0));
  }

  status(timeoutMs: number): Promise<AtmStatus> {
    this.timeouts.push(timeoutMs);
    return Promise.resolve(STATUS);
  }
}

/** Calls go to the server of that address as bytes, or fail as told. */
class Wire implements Caller {
  readonly asked: string[] = [];
  readonly deadlines: number[] = [];

  constructor(readonly nodes: Record<string, RpcServer | ErrorCode | Packable[]>) {}

  async call(
    address: string,
    method: string,
    params: Packable,
    options: { readonly deadlineMs: number },
  ): Promise<Packable> {
    this.asked.push(address);
    this.deadlines.push(options.deadlineMs);
    const node = this.nodes[address];
    if (typeof node === "string") throw new TrilogError(node, "Cannot reach it: told so");
    if (!(node instanceof RpcServer)) return node;
    const handler = node.handler(method)!;
    const call = { deadlineMs: options.deadlineMs } as unknown as Call;
    return unpack(pack(await handler(unpack(pack(params)), call)));
  }
}

function server(backend: AtmBackend): RpcServer {
  const rpc = new RpcServer({ clock: new VirtualClock(), logger: silentLogger });
  serveTerminals(rpc, backend);
  return rpc;
}

Deno.test("commands, questions and status cross the wire, and leave time for the way back", async () => {
  const echo = new Echo();
  const remote = new RemoteBackend(new Wire({ a: server(echo) }), ["a"]);
  assertEquals(await remote.command(Uint8Array.of(1, 2), 4_000), Uint8Array.of(1, 2));
  assertEquals(await remote.query(Uint8Array.of(3), true, 3_000), Uint8Array.of(3, 1));
  assertEquals(await remote.query(Uint8Array.of(3), false, 3_000), Uint8Array.of(3, 0));
  assertEquals(await remote.status(2_000), STATUS);
  assertEquals(echo.timeouts, [3_900, 2_900, 2_900, 1_900]);
});

Deno.test("of several ATMs the next is asked after a failure, and the one that answered is kept", async () => {
  const wire = new Wire({ a: "unavailable", b: "connection_closed", c: server(new Echo()) });
  const remote = new RemoteBackend(wire, ["a", "b", "c"]);
  for (const code of ["unavailable", "connection_closed"]) {
    const error = await assertRejects(() => remote.command(Uint8Array.of(1), 4_000), TrilogError);
    assertEquals(error.code, code);
  }
  await remote.command(Uint8Array.of(1), 4_000);
  await remote.command(Uint8Array.of(1), 900.5);
  assertEquals(wire.asked, ["a", "b", "c", "c"]);
  assertEquals(wire.deadlines, [1_500, 1_500, 1_500, 900]);
});

Deno.test("calls that fail together move on by one ATM, not by one each", async () => {
  const wire = new Wire({ a: "unavailable", b: server(new Echo()) });
  const remote = new RemoteBackend(wire, ["a", "b"]);
  await Promise.allSettled([remote.status(100), remote.status(100), remote.status(100)]);
  assertEquals(await remote.status(100), STATUS);
});

Deno.test("an answer that is none leaves the outcome unknown", async () => {
  const remote = new RemoteBackend(new Wire({ a: ["nonsense"] }), ["a"]);
  const error = await assertRejects(() => remote.command(Uint8Array.of(1), 900), TrilogError);
  assert(error.outcomeUnknown);
});

Deno.test("a call that is none is refused before it reaches the bank", () => {
  const echo = new Echo();
  const rpc = server(echo);
  const call = { deadlineMs: 1_000 } as unknown as Call;
  for (const method of ["atm.command", "atm.query"]) {
    for (const params of [null, 1, [], ["text"], [Uint8Array.of(1), 1], { command: "x" }]) {
      let code = "";
      try {
        void rpc.handler(method)!(params, call);
      } catch (thrown) {
        assert(thrown instanceof TrilogError);
        code = thrown.code;
      }
      assertEquals(code, "malformed");
    }
  }
  assertEquals(echo.timeouts, []);
});
