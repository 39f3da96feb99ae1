import { assertEquals } from "@std/assert";
import { limits } from "../../lib/base/limits.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { judgeByRecord } from "../../lib/net/handshake.ts";
import { PROBE_INTERVAL_MS } from "../../lib/net/link_probe.ts";
import {
  encodeFrames,
  HeldClock,
  hello,
  newClient,
  RawSocket,
  ShiftedClock,
  TestNode,
  until,
} from "./helpers.ts";

async function pair(): Promise<{ left: TestNode; right: TestNode; clock: ShiftedClock }> {
  const clock = new ShiftedClock();
  const left = new TestNode({ replicaId: "r1", clock });
  const right = new TestNode({ replicaId: "r2", clock });
  left.peers.setAddress("r2", right.address);
  right.peers.setAddress("r1", left.address);
  await until(() => left.events.length > 0 && right.events.length > 0, "both are connected");
  return { left, right, clock };
}

Deno.test("frames of many groups reach the peer in order over one connection", async () => {
  const { left, right } = await pair();
  for (let i = 0; i < 1_000; i += 1) left.peers.send("r2", `g${i % 3}`, [i, new Uint8Array([i])]);
  await until(() => right.frames.length === 1_000, "all frames are there");
  assertEquals(right.frames[4], { from: "r1", group: "g1", body: [4, new Uint8Array([4])] });
  assertEquals(
    right.frames.map((frame) => (frame.body as number[])[0]).every((n, i) => n === i),
    true,
  );
  assertEquals(left.counters.dropped, 0);
  assertEquals(left.peers.connectedPeers(), ["r2"]);
  await Promise.all([left.close(), right.close()]);
});

Deno.test("all frames of one turn leave in one write", async () => {
  const { left, right } = await pair();
  const before = left.counters.writes;
  for (let i = 0; i < 100; i += 1) left.peers.send("r2", "g", i);
  await until(() => right.frames.length === 100, "all frames are there");
  assertEquals(left.counters.writes - before, 1);
  await Promise.all([left.close(), right.close()]);
});

Deno.test("a process that ends is called unreachable, once, and connected when it is back", async () => {
  const { left, right, clock } = await pair();
  clock.shiftMs = 3_600_000;
  await right.close();
  await until(() => left.events.includes("unreachable r2"), "the hint is given");
  await new Promise((resolve) => setTimeout(resolve, 100));
  assertEquals(left.events, ["connected r2", "unreachable r2"]);
  const again = new TestNode({ replicaId: "r2", listen: right.address });
  await until(() => left.events.length === 3, "it is connected again");
  assertEquals(left.events[2], "connected r2");
  left.peers.send("r2", "g", "hello");
  await until(() => again.frames.length === 1, "frames arrive again");
  await again.close();
  await until(() => left.events.length === 4, "the hint is given again");
  assertEquals(left.events[3], "unreachable r2");
  await left.close();
});

Deno.test("a peer that was never connected is not called unreachable", async () => {
  const gone = new TestNode({ replicaId: "r2" });
  await gone.close();
  const left = new TestNode({ replicaId: "r1" });
  left.peers.setAddress("r2", gone.address);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assertEquals(left.events, []);
  await left.close();
});

Deno.test("while a connection of the peer to here stands, a refused redial is no hint", async () => {
  const { left, right } = await pair();
  // The listener goes, but the process lives: its own connection to here stays.
  const inbound = await RawSocket.connect(left.address);
  await inbound.write(encodeFrames(hello({ 2: "c1", 3: "r2", 5: 0, 6: 1 })));
  await until(() => left.mux.connections().length === 2, "the second connection stands");
  await right.close();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assertEquals(left.events, ["connected r2"]);
  inbound.close();
  await until(() => left.events.length === 2, "the last connection is gone");
  assertEquals(left.events[1], "unreachable r2");
  await left.close();
});

Deno.test("a peer that accepts a redial and says nothing is not called unreachable", async () => {
  const left = new TestNode({ replicaId: "r1" });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  left.peers.setAddress("r2", `127.0.0.1:${port}`);
  const first = await listener.accept();
  await first.read(new Uint8Array(4_096));
  await first.write(encodeFrames(["trilog", 2, null, "c1", "r2", "n-r2", 1]));
  await until(() => left.events.length === 1, "it is connected");
  first.close();
  const second = await listener.accept();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(left.events, ["connected r2"]);
  second.close();
  await until(() => left.events.length === 2, "closed at once, it is called unreachable");
  assertEquals(left.events[1], "unreachable r2");
  await left.close();
  listener.close();
});

Deno.test("another identity at a peer's address is reported and gets none of its frames", async () => {
  const left = new TestNode({ replicaId: "r1" });
  const wiped = new TestNode({ replicaId: "r9" });
  left.peers.setAddress("r2", wiped.address);
  await until(() => left.found.length > 0, "the identity is reported");
  assertEquals(left.found[0], `${wiped.address} r9`);
  left.peers.send("r2", "g", "for r2 only");
  assertEquals(left.counters.dropped, 1);
  assertEquals(left.events, []);
  assertEquals(wiped.frames, []);
  left.peers.forget("r2");
  left.peers.setAddress("r9", wiped.address);
  await until(() => left.events.includes("connected r9"), "the new identity is connected");
  left.peers.send("r9", "g", "for r9");
  await until(() => wiped.frames.length === 1, "the frame is there");
  await Promise.all([left.close(), wiped.close()]);
});

Deno.test("a forgotten peer is neither dialled nor sent to", async () => {
  const { left, right } = await pair();
  left.peers.forget("r2");
  left.peers.send("r2", "g", 1);
  assertEquals([left.counters.dropped, left.peers.queuedBytes("r2")], [1, 0]);
  await until(() => right.mux.connections().length === 0, "its connection is closed");
  await Promise.all([left.close(), right.close()]);
});

Deno.test("a new address replaces the old one", async () => {
  const { left, right } = await pair();
  const moved = new TestNode({ replicaId: "r2" });
  left.peers.setAddress("r2", moved.address);
  await until(() => moved.mux.connections().length === 1, "the new address is dialled");
  await until(() => left.events.length === 2, "it is connected there");
  left.peers.send("r2", "g", 1);
  await until(() => moved.frames.length === 1, "frames go there");
  assertEquals(right.frames, []);
  await Promise.all([left.close(), right.close(), moved.close()]);
});

Deno.test("a peer that is not at its first address is found at another one", async () => {
  const gone = new TestNode({ replicaId: "r2" });
  await gone.close();
  const wiped = new TestNode({ replicaId: "r9" });
  const moved = new TestNode({ replicaId: "r2" });
  const left = new TestNode({ replicaId: "r1" });
  left.peers.setAddress("r2", gone.address, [wiped.address, moved.address]);
  await until(() => left.events.includes("connected r2"), "it is connected");
  left.peers.send("r2", "g", 1);
  await until(() => moved.frames.length === 1, "frames go there");
  assertEquals(wiped.frames, []);
  left.peers.setAddress("r2", gone.address, [moved.address]);
  left.peers.send("r2", "g", 2);
  await until(() => moved.frames.length === 2, "the connection is kept");
  await moved.close();
  await until(() => left.events.length === 2, "its end is noticed");
  assertEquals(left.events, ["connected r2", "unreachable r2"]);
  await Promise.all([left.close(), wiped.close()]);
});

Deno.test("a peer that does not read loses the newest frames, and nobody else is slowed", async () => {
  const { left, right } = await pair();
  const stuck = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = stuck.addr as Deno.NetAddr;
  left.peers.setAddress("r3", `127.0.0.1:${port}`);
  const socket = await stuck.accept();
  await socket.read(new Uint8Array(4_096));
  await socket.write(encodeFrames(["trilog", 2, null, "c1", "r3", "n-r3", 1]));
  await until(() => left.events.includes("connected r3"), "the stuck peer is connected");
  const block = new Uint8Array(1024 * 1024);
  for (let i = 0; i < 80; i += 1) {
    left.peers.send("r3", "g", block);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assertEquals(left.counters.dropped > 0, true);
  assertEquals(left.peers.queuedBytes("r3") <= limits.connectionQueueBytes, true);
  assertEquals(left.peers.queuedBytes("r3") > limits.connectionQueueBytes / 2, true);
  left.peers.send("r2", "g", "quick");
  await until(() => right.frames.length === 1, "the other peer is served");
  assertEquals(left.peers.queuedBytes("r2"), 0);
  socket.close();
  stuck.close();
  await Promise.all([left.close(), right.close()]);
});

Deno.test("a blank node's frames count only after it joined, without a restart", async () => {
  const left = new TestNode({ replicaId: "r1" });
  const blank = new TestNode({ replicaId: "r2", clusterId: null });
  blank.peers.setAddress("r1", left.address);
  left.peers.setAddress("r2", blank.address);
  await until(() => blank.events.length + left.events.length === 2, "both are connected");
  blank.peers.send("r1", "g", "too early");
  left.peers.send("r2", "g", "too early");
  await until(() => left.counters.misaddressed + blank.counters.misaddressed === 2, "both dropped");
  blank.clusterId = "c1";
  await until(() => {
    blank.peers.send("r1", "g", "joined");
    return left.frames.length > 0;
  }, "its frames count");
  left.peers.send("r2", "g", "welcome");
  await until(() => blank.frames.length === 1, "it takes frames");
  assertEquals(blank.frames[0].body, "welcome");
  await Promise.all([left.close(), blank.close()]);
});

Deno.test("a peer frame is dropped unless it is from its connection and for this replica", async () => {
  const node = new TestNode();
  const send = async (from: string, to: string, role: number) => {
    const socket = await RawSocket.connect(node.address);
    const first = hello({ 2: "c1", 3: "r2", 5: role, 6: 1 });
    await socket.write(encodeFrames(first, [0, "g", from, to, "body"]));
    return socket;
  };
  const sockets = [
    await send("r3", "r1", 0),
    await send("r2", "r9", 0),
    await send("r2", "r1", 1),
  ];
  await until(() => node.counters.misaddressed === 3, "three are dropped");
  sockets.push(await send("r2", "r1", 0));
  await until(() => node.frames.length === 1, "the right one is taken");
  assertEquals(node.frames, [{ from: "r2", group: "g", body: "body" }]);
  for (const socket of sockets) socket.close();
  await node.close();
});

Deno.test("the connections of a superseded identity can be ended", async () => {
  const { left, right } = await pair();
  left.mux.disconnect("r2", new TrilogError("superseded", "Cannot keep r2: it was replaced"));
  await until(() => left.mux.connections().length === 0, "its connection is ended");
  const client = newClient();
  assertEquals(await client.call(left.address, "echo", 1, { deadlineMs: 5_000 }), 1);
  client.close();
  await Promise.all([left.close(), right.close()]);
});

Deno.test("a connection whose other end no longer answers is given up and dialled anew", async () => {
  const clock = new HeldClock(PROBE_INTERVAL_MS);
  const left = new TestNode({ replicaId: "r1", clock });
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  left.peers.setAddress("r2", `127.0.0.1:${port}`);
  const first = await listener.accept();
  await first.read(new Uint8Array(4_096));
  await first.write(encodeFrames(["trilog", 2, null, "c1", "r2", "n-r2", 1]));
  await until(() => left.events.length === 1, "it is connected");
  for (let probe = 0; probe < 6; probe += 1) {
    clock.runHeld();
    const buffer = new Uint8Array(64);
    assertEquals(buffer.slice(0, await first.read(buffer) ?? 0), encodeFrames([5]));
    if (probe < 3) await first.write(encodeFrames([6]));
    const answers = Math.min(probe + 1, 3);
    await until(() => left.counters.framesIn === 1 + answers, "the answer is there");
  }
  assertEquals(left.peers.connectedPeers(), ["r2"]);
  clock.runHeld();
  assertEquals(left.peers.connectedPeers(), []);
  const second = await listener.accept();
  assertEquals(left.events, ["connected r2"]);
  first.close();
  second.close();
  await left.close();
  listener.close();
});

Deno.test("pings between living nodes are answered", async () => {
  const clock = new HeldClock(PROBE_INTERVAL_MS);
  const left = new TestNode({ replicaId: "r1", clock });
  const right = new TestNode({ replicaId: "r2" });
  left.peers.setAddress("r2", right.address);
  await until(() => left.events.length === 1, "it is connected");
  for (let probe = 0; probe < 10; probe += 1) {
    const before = left.counters.framesIn;
    clock.runHeld();
    await until(() => left.counters.framesIn === before + 1, "the answer is there");
  }
  assertEquals(left.peers.connectedPeers(), ["r2"]);
  await Promise.all([left.close(), right.close()]);
});

Deno.test("a peer that pinged and fell silent no longer counts as connected", async () => {
  const clock = new HeldClock(10_000);
  const left = new TestNode({ replicaId: "r1", clock });
  const peer = await RawSocket.connect(left.address);
  await peer.write(encodeFrames(hello({ 2: "c1", 3: "r2", 5: 0, 6: 1 }), [5], [5]));
  await until(() => left.counters.framesOut === 3, "both pings are answered");
  assertEquals([clock.count, left.mux.connections().length], [1, 1]);
  clock.runHeld();
  assertEquals(left.mux.connections().length, 0);
  assertEquals((await peer.framesUntilClosed()).slice(1), [[6], [6]]);
  await left.close();
});

Deno.test("a body that the replicas stumble over ends its connection, and nothing else", async () => {
  const { left, right } = await pair();
  right.frame = () => {
    throw new TypeError("no such field");
  };
  left.peers.send("r2", "g", "odd");
  await until(() => right.counters.malformed === 1, "the connection is closed as malformed");
  right.frame = TestNode.prototype.frame;
  await until(() => {
    left.peers.send("r2", "g", "fine");
    return right.frames.length > 0;
  }, "the next connection delivers");
  await Promise.all([left.close(), right.close()]);
});

Deno.test("a peer's later start ends the connections of its earlier ones, and only those", async () => {
  const node = new TestNode({ replicaId: "r1" });
  const open = async (replicaId: string, startCounter: number) => {
    const socket = await RawSocket.connect(node.address);
    await socket.write(encodeFrames(hello({ 2: "c1", 3: replicaId, 5: 0, 6: startCounter })));
    return socket;
  };
  const first = [await open("r2", 4), await open("r2", 4), await open("r3", 4)];
  await until(() => node.mux.connections().length === 3, "three are connected");
  const later = await open("r2", 5);
  await until(() => node.mux.connections().length === 2, "two are dropped");
  const left = node.mux.connections().map((peer) => `${peer.replicaId} ${peer.startCounter}`);
  assertEquals(left.sort(), ["r2 5", "r3 4"]);
  for (const socket of [...first, later]) socket.close();
  await node.close();
});

Deno.test("a node that its peer refuses is told why, and one whose peer is gone is not", async () => {
  const record = { superseded: true, highestStartCounter: 1 };
  const right = new TestNode({
    replicaId: "r2",
    admitPeer: (peer) => judgeByRecord(peer, record),
  });
  const gone = new TestNode({ replicaId: "r3" });
  await gone.close();
  const left = new TestNode({ replicaId: "r1" });
  left.peers.setAddress("r3", gone.address);
  left.peers.setAddress("r2", right.address);
  await until(() => left.refusals.length >= 2, "it is refused at each dial");
  assertEquals([...new Set(left.refusals)], ["superseded"]);
  assertEquals([left.events, left.found], [[], []]);
  await Promise.all([left.close(), right.close()]);
});
