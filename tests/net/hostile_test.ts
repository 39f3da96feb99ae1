/**
 * Bytes from people who wish us ill: each gets an error and a closed connection, and a well-behaved
 * client next to it never notices.
 */

import { assert, assertEquals } from "@std/assert";
import { concatBytes, utf8 } from "../../lib/base/bytes.ts";
import { limits } from "../../lib/base/limits.ts";
import { pack, type Packable } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";
import type { RpcClient } from "../../lib/net/rpc_client.ts";
import {
  encodeFrames,
  HeldClock,
  hello,
  newClient,
  type NodeOptions,
  RawSocket,
  TestNode,
  until,
} from "./helpers.ts";

/** Runs `attack` beside a well-behaved client, which must be served before, meanwhile and after. */
async function beside(
  attack: (node: TestNode, client: RpcClient) => Promise<void>,
  options: NodeOptions = {},
): Promise<void> {
  const node = new TestNode(options);
  const client = newClient();
  const ask = () => client.call(node.address, "echo", "hello", { deadlineMs: 5_000 });
  try {
    assertEquals(await ask(), "hello");
    await Promise.all([attack(node, client), ask(), ask()]);
    assertEquals(await ask(), "hello");
    assert(node.mux.connections().some((identity) => identity.name === "tester"));
  } finally {
    client.close();
    await node.close();
  }
}

/** Sends bytes on a connection of their own; the code in the last frame before it was closed. */
async function answerTo(node: TestNode, bytes: Uint8Array): Promise<string | null> {
  const socket = await RawSocket.connect(node.address);
  await socket.write(bytes);
  const frames = await socket.framesUntilClosed();
  return codeIn(frames.at(-1));
}

function codeIn(frame: Packable | undefined): string | null {
  if (!Array.isArray(frame)) return null;
  const error = frame[0] === "trilog" ? frame[2] : frame[1];
  return Array.isArray(error) ? String(error[0]) : null;
}

/** A frame with any payload, and any length claimed for it. */
function rawFrame(payload: Uint8Array, claimed = payload.length): Uint8Array {
  const header = new Uint8Array(4);
  new DataView(header.buffer).setUint32(0, claimed);
  return concatBytes([header, payload]);
}

Deno.test("an oversized length before the handshake is refused at its header", async () => {
  await beside(async (node) => {
    const claim = rawFrame(new Uint8Array(0), limits.handshakeFrameBytes + 1);
    assertEquals(await answerTo(node, claim), "frame_too_large");
    assertEquals(await answerTo(node, rawFrame(new Uint8Array(9), 2 ** 32 - 1)), "frame_too_large");
  });
});

Deno.test("other protocols on our port are refused", async () => {
  await beside(async (node) => {
    const web = utf8("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assertEquals(await answerTo(node, web), "frame_too_large");
    assertEquals(await answerTo(node, rawFrame(utf8("\u0016\u0003\u0001"))), "bad_handshake");
    assertEquals(await answerTo(node, rawFrame(new Uint8Array(0))), "bad_handshake");
  });
});

Deno.test("a wrong magic, version, cluster or token is told and closed", async () => {
  await beside(async (node) => {
    const first = (changes: Record<number, Packable>) => encodeFrames(hello(changes));
    assertEquals(await answerTo(node, first({ 0: "gollirt" })), "bad_handshake");
    assertEquals(await answerTo(node, first({ 1: 99 })), "unsupported_version");
    assertEquals(await answerTo(node, first({ 2: "c2" })), "wrong_cluster");
    assertEquals(await answerTo(node, first({ 7: "guess" })), "unauthorized");
    assertEquals(await answerTo(node, first({ 4: "../../etc" })), "bad_handshake");
    assertEquals(node.counters.refused, 5);
  });
});

Deno.test("frames sent before the handshake is answered count only if it is right", async () => {
  await beside(async (node) => {
    const eager = encodeFrames(hello({ 7: "guess" }), [1, 1, "echo", 1_000, "x"]);
    const socket = await RawSocket.connect(node.address);
    await socket.write(eager);
    assertEquals((await socket.framesUntilClosed()).map(codeIn), ["unauthorized"]);
  });
});

Deno.test("a client's frame above its limit is refused at its header", async () => {
  await beside(async (node) => {
    const claim = rawFrame(new Uint8Array(0), limits.clientFrameBytes + 1);
    const bytes = concatBytes([encodeFrames(hello()), claim]);
    assertEquals(await answerTo(node, bytes), "frame_too_large");
    assertEquals(node.counters.malformed, 1);
  });
});

const bombs: readonly [string, Uint8Array][] = [
  ["truncated MessagePack", new Uint8Array([0x95, 1, 1])],
  ["an extension type", new Uint8Array([0xd6, 0xff, 0, 0, 0, 0])],
  ["an array of four billion", new Uint8Array([0xdd, 255, 255, 255, 255])],
  ["a map of four billion", new Uint8Array([0xdf, 255, 255, 255, 255])],
  ["a text of four gigabytes", new Uint8Array([0xdb, 255, 255, 255, 255])],
  ["a million levels", new Uint8Array(1_000_000).fill(0x91)],
  [
    "two million empty arrays",
    concatBytes([
      new Uint8Array([0xdd, 0, 0x1e, 0x84, 0x80]),
      new Uint8Array(2_000_000).fill(0x90),
    ]),
  ],
  ["a number instead of a frame", pack(7)],
  ["an empty frame", pack([])],
  ["an unknown channel", pack([99, 1])],
  ["a channel that is a text", pack(["1", 1, "echo", 100, null])],
  ["an answer nobody asked for", pack([2, 1, null, null])],
  ["a request with too few fields", pack([1, 1, "echo"])],
  ["a request with too many fields", pack([1, 1, "echo", 100, null, null])],
  ["a negative call number", pack([1, -1, "echo", 100, null])],
  ["a fractional deadline", pack([1, 1, "echo", 0.5, null])],
  ["a deadline beyond all numbers", pack([1, 1, "echo", 1e300, null])],
  ["a method that is a number", pack([1, 1, 1, 100, null])],
  ["a cancellation without a number", pack([3, null])],
  ["a peer frame with too few fields", pack([0, "g", "r1"])],
];

for (const [what, payload] of bombs) {
  Deno.test(`${what} ends its own connection only, as malformed`, async () => {
    await beside(async (node) => {
      const bytes = concatBytes([encodeFrames(hello()), rawFrame(payload)]);
      assertEquals(await answerTo(node, bytes), "malformed");
      assertEquals(node.counters.malformed, 1);
    });
  });
}

Deno.test("two calls with one number at a time are malformed", async () => {
  await beside(async (node) => {
    node.rpc.handle("hang", () => new Promise(() => {}));
    const call = [1, 7, "hang", 1_000, null];
    assertEquals(await answerTo(node, encodeFrames(hello(), call, call)), "malformed");
    await until(() => node.rpc.running === 0, "its calls no longer count");
  });
});

Deno.test("thousands of random frames end in errors or answers, never in a crash", async () => {
  const random = new Prng(31);
  await beside(async (node) => {
    let refused = 0;
    for (let round = 0; round < 60; round += 1) {
      const frames = [encodeFrames(hello())];
      for (let i = 0; i < 60; i += 1) frames.push(randomFrame(random));
      frames.push(rawFrame(new Uint8Array([0xc1])));
      if (await answerTo(node, concatBytes(frames)) === "malformed") refused += 1;
    }
    assertEquals(refused, 60);
  });
});

/** Half of them almost right, so that they reach the code behind the decoder. */
function randomFrame(random: Prng): Uint8Array {
  if (random.chance(0.02)) {
    return rawFrame(new Uint8Array(random.below(60)).map(() => random.below(256)));
  }
  const oddities: Packable[] = [1, "echo", null, 100, "", [], { a: 1 }, new Uint8Array(9)];
  const right: Packable[] = [1, random.below(2 ** 31), "echo", 1 + random.below(1_000), "x"];
  if (random.chance(0.02)) right[random.below(5)] = random.pick(oddities);
  if (random.chance(0.3)) right[2] = random.pick(["nothing", "", "\u0000", "__proto__", "then"]);
  return encodeFrames(right);
}

Deno.test("random bytes instead of a handshake are refused", async () => {
  const random = new Prng(77);
  await beside(async (node) => {
    for (let round = 0; round < 150; round += 1) {
      const bytes = new Uint8Array(4 + random.below(200)).map(() => random.below(256));
      bytes.set([0, 0, 0, bytes.length - 4]);
      assertEquals(await answerTo(node, bytes), "bad_handshake");
    }
  });
});

Deno.test("who never speaks, or dribbles its hello, is told and closed in time", async () => {
  const clock = new HeldClock(limits.handshakeMs);
  await beside(async (node, client) => {
    const silent = await RawSocket.connect(node.address);
    const dribbling = await RawSocket.connect(node.address);
    const bytes = encodeFrames(hello());
    for (let at = 0; at < 20; at += 1) await dribbling.write(bytes.subarray(at, at + 1));
    await until(() => node.counters.connections === 3, "both are accepted");
    await client.call(node.address, "echo", 1, { deadlineMs: 5_000 });
    assertEquals(clock.count, 2);
    clock.runHeld();
    assertEquals((await silent.framesUntilClosed()).map(codeIn), ["bad_handshake"]);
    assertEquals((await dribbling.framesUntilClosed()).map(codeIn), ["bad_handshake"]);
    assertEquals(node.counters.connections, 1);
  }, { clock });
});

Deno.test("a flood of silent connections makes room for those who speak", async () => {
  await beside(async (node) => {
    const flood = await Promise.all(
      Array.from({ length: 60 }, () => RawSocket.connect(node.address)),
    );
    await until(() => node.counters.refused >= 41, "the oldest made room");
    assert(node.counters.connections <= 20);
    const other = newClient();
    assertEquals(await other.call(node.address, "echo", 1, { deadlineMs: 5_000 }), 1);
    other.close();
    for (const socket of flood) socket.close();
  }, { maxConnections: 20 });
});

Deno.test("clients beyond the limit are told, and a peer still gets in", async () => {
  await beside(async (node) => {
    const sockets: RawSocket[] = [];
    for (let i = 0; i < 9; i += 1) {
      const socket = await RawSocket.connect(node.address);
      await socket.write(encodeFrames(hello()));
      sockets.push(socket);
    }
    await until(() => node.mux.connections().length === 10, "ten clients are connected");
    assertEquals(await answerTo(node, encodeFrames(hello())), "overloaded");
    const peer = await RawSocket.connect(node.address);
    await peer.write(encodeFrames(hello({ 2: "c1", 3: "r2", 5: 0 })));
    await until(() => node.mux.connections().length === 11, "the peer is connected");
    for (const socket of [...sockets, peer]) socket.close();
  }, { maxConnections: 20 });
});

Deno.test("a client that never reads its answers is not read from, and costs bounded memory", async () => {
  await beside(async (node) => {
    node.rpc.handle("large", () => new Uint8Array(1024 * 1024));
    const socket = await RawSocket.connect(node.address);
    await socket.write(encodeFrames(hello()));
    const calls = Array.from({ length: 200 }, (_, id) => [1, id, "large", 10_000, null]);
    await socket.write(encodeFrames(...calls));
    let before = -1;
    await until(() => {
      const answered = node.counters.framesOut;
      const still = answered === before && answered > 4;
      before = answered;
      return still;
    }, "it is no longer read from");
    assert(node.counters.framesOut < 60, `${node.counters.framesOut} answers`);
    socket.close();
    await until(() => node.counters.connections === 1, "its connection ends");
  });
});

Deno.test("more calls at a time than one connection may run are refused, not queued", async () => {
  await beside(async (node) => {
    node.rpc.handle("hang", () => new Promise(() => {}));
    const socket = await RawSocket.connect(node.address);
    const calls = Array.from({ length: limits.connectionCalls + 5 }, (_, id) => [
      1,
      id,
      "hang",
      10_000,
      null,
    ]);
    await socket.write(encodeFrames(hello(), ...calls));
    await until(() => node.counters.framesOut >= 8, "five are refused");
    assertEquals(node.rpc.running, limits.connectionCalls);
    socket.close();
    await until(() => node.rpc.running === 0, "its calls are over");
  });
});

Deno.test("a server that sends nonsense fails its callers and nothing else", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const client = newClient();
  const call = client.call(`127.0.0.1:${port}`, "echo", 1, { deadlineMs: 5_000 })
    .then(() => "answered", (error) => error.code);
  const socket = await listener.accept();
  await socket.read(new Uint8Array(4_096));
  await socket.write(encodeFrames(["trilog", 2, null, "c1", "r1", "n", 1]));
  await socket.read(new Uint8Array(4_096));
  await socket.write(rawFrame(new Uint8Array([0xdd, 255, 255, 255, 255])));
  assertEquals(await call, "connection_closed");
  client.close();
  socket.close();
  listener.close();
});
