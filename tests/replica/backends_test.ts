import { assert, assertEquals, assertRejects } from "@std/assert";
import { type ErrorCode, TrilogError } from "../../lib/base/errors.ts";
import { pack, type Packable, unpack } from "../../lib/base/msgpack.ts";
import type { Caller } from "../../lib/net/rpc_client.ts";
import { commandCodec, nodeStatusCodec, queryCodec } from "../../lib/replica/node_protocol.ts";
import { type BackendNode, LocalBackend, RemoteBackend } from "../../lib/replica/backends.ts";
import { STATUS } from "./node_status.ts";

/** A node that answers with what it was asked, and keeps the times it was given. */
class Echo {
  readonly deadlines: number[] = [];

  answer(method: string, params: Packable): Packable {
    if (method === "group.status") return nodeStatusCodec.encode(STATUS);
    if (method === "group.command") {
      const { command, deadlineMs } = commandCodec.decode(params, "command");
      this.deadlines.push(deadlineMs);
      return command;
    }
    const { question, stale, deadlineMs } = queryCodec.decode(params, "question");
    this.deadlines.push(deadlineMs);
    return Uint8Array.of(...question, stale ? 1 : 0);
  }
}

/** Calls go to the node of that address as bytes, or fail as told. */
class Wire implements Caller {
  readonly asked: string[] = [];
  readonly deadlines: number[] = [];

  constructor(readonly nodes: Record<string, Echo | ErrorCode | Packable[]>) {}

  call(
    address: string,
    method: string,
    params: Packable,
    options: { readonly deadlineMs: number },
  ): Promise<Packable> {
    this.asked.push(address);
    this.deadlines.push(options.deadlineMs);
    const node = this.nodes[address];
    if (typeof node === "string") {
      return Promise.reject(new TrilogError(node, "Cannot reach it: told so"));
    }
    if (!(node instanceof Echo)) return Promise.resolve(node);
    return Promise.resolve(unpack(pack(node.answer(method, unpack(pack(params))))));
  }
}

Deno.test("commands, questions and status cross the wire, and leave time for the way back", async () => {
  const echo = new Echo();
  const wire = new Wire({ a: echo });
  const remote = new RemoteBackend(wire, ["a"]);
  assertEquals(await remote.command(Uint8Array.of(1, 2), 4_000), Uint8Array.of(1, 2));
  assertEquals(await remote.query(Uint8Array.of(3), true, 3_000.5), Uint8Array.of(3, 1));
  assertEquals(await remote.query(Uint8Array.of(3), false, 3_000), Uint8Array.of(3, 0));
  assertEquals(await remote.status(2_000), STATUS);
  assertEquals(echo.deadlines, [3_900, 2_900, 2_900]);
  assertEquals(wire.deadlines, [4_000, 3_000, 3_000, 2_000]);
});

Deno.test("of several ATMs the next is asked after a failure, and the one that answered is kept", async () => {
  const wire = new Wire({ a: "unavailable", b: "connection_closed", c: new Echo() });
  const remote = new RemoteBackend(wire, ["a", "b", "c"]);
  for (const code of ["unavailable", "connection_closed"]) {
    const error = await assertRejects(() => remote.command(Uint8Array.of(1), 4_000), TrilogError);
    assertEquals(error.code, code);
  }
  await remote.command(Uint8Array.of(1), 4_000);
  await remote.command(Uint8Array.of(1), 900);
  assertEquals(wire.asked, ["a", "b", "c", "c"]);
  assertEquals(wire.deadlines, [1_500, 1_500, 1_500, 900]);
});

Deno.test("calls that fail together move on by one ATM, not by one each", async () => {
  const wire = new Wire({ a: "unavailable", b: new Echo(), c: "unavailable" });
  const remote = new RemoteBackend(wire, ["a", "b", "c"]);
  await Promise.allSettled([remote.status(500), remote.status(500)]);
  assertEquals(await remote.status(500), STATUS);
});

Deno.test("an answer that is none leaves the outcome unknown, a refusal as malformed does not", async () => {
  const nonsense = new RemoteBackend(new Wire({ a: ["nonsense"] }), ["a"]);
  const error = await assertRejects(() => nonsense.command(Uint8Array.of(1), 900), TrilogError);
  assert(error.outcomeUnknown);
  const refusing = new RemoteBackend(new Wire({ a: "malformed" }), ["a"]);
  const refused = await assertRejects(() => refusing.command(Uint8Array.of(1), 900), TrilogError);
  assertEquals([refused.code, refused.outcomeUnknown], ["malformed", false]);
});

Deno.test("the node of this process is asked with the time that is left", async () => {
  const calls: unknown[] = [];
  const node: BackendNode = {
    service: {
      command: (command, deadlineMs) => {
        calls.push(["command", deadlineMs]);
        return Promise.resolve(command);
      },
      query: (question, stale, deadlineMs) => {
        calls.push(["query", stale, deadlineMs]);
        return Promise.resolve(question);
      },
    },
    membership: {
      change: (change, timeoutMs) => {
        calls.push([change.action, change.name, timeoutMs]);
        return Promise.resolve("voter" as const);
      },
    },
    status: () => STATUS,
  };
  const local = new LocalBackend(node);
  assertEquals(await local.command(Uint8Array.of(1), 7), Uint8Array.of(1));
  assertEquals(await local.query(Uint8Array.of(2), true, 8), Uint8Array.of(2));
  assertEquals(await local.status(), STATUS);
  const change = { action: "add", name: "a4", address: "h:4", replaces: null } as const;
  assertEquals(await local.changeMember(change, 9), "voter");
  assertEquals(calls, [["command", 7], ["query", true, 8], ["add", "a4", 9]]);
});

/** A node that is not the leader and names it. */
class Follower implements Caller {
  readonly asked: string[] = [];
  leader = "b";
  up = true;

  call(address: string): Promise<Packable> {
    this.asked.push(address);
    if (address === this.leader && this.up) return Promise.resolve(Uint8Array.of(1));
    const error = address === this.leader
      ? new TrilogError("unavailable", "Cannot reach it: told so")
      : new TrilogError("not_leader", "Cannot read here", { leader: this.leader });
    return Promise.reject(error);
  }
}

Deno.test("a node that names the leader sends the client there, until that one fails", async () => {
  const wire = new Follower();
  const remote = new RemoteBackend(wire, ["a"]);
  const ask = () => remote.query(Uint8Array.of(1), false, 900).catch(({ code }) => code);
  assertEquals(await ask(), "not_leader");
  assertEquals(await ask(), Uint8Array.of(1));
  wire.up = false;
  assertEquals(await ask(), "unavailable");
  [wire.leader, wire.up] = ["c", true];
  assertEquals(await ask(), "not_leader");
  assertEquals(await ask(), Uint8Array.of(1));
  assertEquals(wire.asked, ["a", "b", "b", "a", "c"]);
});

Deno.test("nodes that do not answer are named, with what another one answered", async () => {
  const nodes: Record<string, Echo | ErrorCode> = { "a:1": "unavailable", "b:1": "unavailable" };
  const remote = new RemoteBackend(new Wire(nodes), ["a:1", "b:1"]);
  const failure = () => assertRejects(() => remote.status(1_000), TrilogError);
  await failure();
  const error = await failure();
  assertEquals(error.message, "Cannot reach the nodes: no node answers at a:1 and b:1 (told so)");
  assertEquals([error.code, error.retryable], ["unavailable", true]);
  nodes["a:1"] = nodes["b:1"] = new Echo();
  await remote.status(1_000);
  nodes["a:1"] = "unavailable";
  const { message } = await failure();
  assertEquals(message, "Cannot reach the nodes: no node answers at a:1 (told so)");
});
