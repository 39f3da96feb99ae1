import { assertEquals, assertThrows } from "@std/assert";
import { InvariantError } from "../../lib/base/assert.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { type Packable, unpack } from "../../lib/base/msgpack.ts";
import type { Clock } from "../../lib/base/clock.ts";
import { Connection } from "../../lib/net/connection.ts";
import { newCounters } from "../../lib/net/counters.ts";
import { FrameDecoder } from "../../lib/net/frame.ts";
import type { Socket } from "../../lib/net/tcp.ts";
import { encodeFrames } from "./helpers.ts";

/** A socket whose reads and writes end when the test says so. */
class FakeSocket implements Socket {
  readonly written: Uint8Array[] = [];
  readonly events: string[] = [];
  private pendingWrite: { bytes: Uint8Array; resolve: (count: number) => void } | null = null;
  private pendingRead:
    | { into: Uint8Array; resolve: (count: number | null) => void; reject: (e: Error) => void }
    | null = null;

  read(into: Uint8Array): Promise<number | null> {
    return new Promise((resolve, reject) => this.pendingRead = { into, resolve, reject });
  }

  write(bytes: Uint8Array): Promise<number> {
    this.events.push(`write ${bytes.length}`);
    return new Promise((resolve) => this.pendingWrite = { bytes, resolve });
  }

  closeWrite(): Promise<void> {
    this.events.push("closeWrite");
    return Promise.resolve();
  }

  close(): void {
    this.events.push("close");
  }

  unref(): void {}

  /** The system takes up to `most` bytes of the write under way. */
  async takeWrite(most: number = Infinity): Promise<void> {
    const { bytes, resolve } = this.pendingWrite!;
    this.pendingWrite = null;
    const count = Math.min(most, bytes.length);
    this.written.push(bytes.slice(0, count));
    resolve(count);
    await settle();
  }

  /** Bytes that the reader offers to take. */
  get room(): number {
    return this.pendingRead!.into.length;
  }

  async arrive(bytes: Uint8Array | null): Promise<void> {
    const { into, resolve } = this.pendingRead!;
    if (bytes !== null) into.set(bytes);
    resolve(bytes === null ? null : bytes.length);
    await settle();
  }

  async failRead(message: string): Promise<void> {
    this.pendingRead!.reject(new Error(message));
    await settle();
  }

  frames(): Packable[] {
    const decoder = new FrameDecoder(Infinity);
    const values: Packable[] = [];
    for (const bytes of this.written) {
      decoder.push(bytes);
      for (let next = decoder.next(); next !== null; next = decoder.next()) {
        values.push(unpack(next));
      }
    }
    return values;
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

/** Turns and timers happen when the test says so. */
class ManualClock implements Clock {
  private turns: (() => void)[] = [];
  readonly timers: (() => void)[] = [];
  monotonicMs = () => 0;
  wallMs = () => 0;
  nextTurn = (run: () => void) => {
    this.turns.push(run);
  };
  after(_delayMs: number, run: () => void) {
    this.timers.push(run);
    return { cancel: () => this.timers.splice(this.timers.indexOf(run), 1) };
  }
  async turn(): Promise<void> {
    for (const run of this.turns.splice(0)) run();
    await settle();
  }
}

interface Setup {
  readonly connection: Connection;
  readonly socket: FakeSocket;
  readonly clock: ManualClock;
  readonly frames: Packable[];
  readonly ends: string[];
}

function setup(onFrame?: (value: Packable) => void | Promise<void>, farewell = "bye"): Setup {
  const socket = new FakeSocket();
  const clock = new ManualClock();
  const frames: Packable[] = [];
  const ends: string[] = [];
  const connection = new Connection({
    socket,
    clock,
    counters: newCounters(),
    sink: {
      frame: (payload) => {
        const value = unpack(payload);
        frames.push(value);
        return onFrame?.(value);
      },
      farewell: (reason) => [farewell, reason.code],
      closed: (reason) => ends.push(reason.code),
    },
  });
  connection.start();
  return { connection, socket, clock, frames, ends };
}

const REASON = new TrilogError("shutting_down", "Cannot go on");

Deno.test("frames of one turn share a write; those sent during a write wait for the next", async () => {
  const { connection, socket, clock } = setup();
  connection.send(1);
  connection.send(2);
  assertEquals(socket.events, []);
  await clock.turn();
  assertEquals(socket.events, ["write 10"]);
  connection.send(3);
  connection.send(4);
  await clock.turn();
  assertEquals(socket.events, ["write 10"]);
  await socket.takeWrite();
  assertEquals(socket.events, ["write 10", "write 10"]);
  await socket.takeWrite();
  assertEquals(socket.frames(), [1, 2, 3, 4]);
  assertEquals(connection.queuedBytes, 0);
});

Deno.test("a short write goes on where it stopped", async () => {
  const { connection, socket, clock } = setup();
  connection.send("some text");
  await clock.turn();
  await socket.takeWrite(3);
  assertEquals(connection.queuedBytes, 11);
  await socket.takeWrite(1);
  await socket.takeWrite();
  assertEquals(socket.events, ["write 14", "write 11", "write 10"]);
  assertEquals(socket.frames(), ["some text"]);
});

Deno.test("a full queue refuses the newest frame and keeps the others", async () => {
  const { connection, socket, clock } = setup();
  assertEquals(connection.send("0123456789", 20), true);
  assertEquals(connection.send("0123456789", 20), false);
  await clock.turn();
  // Bytes that the socket has not taken still count.
  assertEquals(connection.send("0123456789", 20), false);
  await socket.takeWrite(14);
  assertEquals(connection.send("0123456789", 20), true);
  await socket.takeWrite();
  await socket.takeWrite();
  assertEquals(socket.frames(), ["0123456789", "0123456789"]);
});

Deno.test("who waits for the queue to drain goes on when it has, or when all is over", async () => {
  const { connection, socket, clock } = setup();
  connection.send(new Uint8Array(100));
  const woken: string[] = [];
  void connection.drained(1_000).then(() => woken.push("at once"));
  void connection.drained(50).then(() => woken.push("below 50"));
  void connection.drained(1).then(() => woken.push("at the end"));
  await clock.turn();
  assertEquals(woken, ["at once"]);
  await socket.takeWrite(60);
  assertEquals(woken, ["at once", "below 50"]);
  connection.abort(REASON);
  await settle();
  assertEquals(woken, ["at once", "below 50", "at the end"]);
});

Deno.test("a frame that never reached the socket is known not to have left", async () => {
  const { connection, clock } = setup();
  connection.send("first");
  await clock.turn();
  const second = connection.sentPosition;
  connection.send("second");
  connection.abort(REASON);
  assertEquals(connection.handedOverPosition, second);
  assertEquals(connection.send("third"), false);
});

Deno.test("a close sends what is queued and a farewell, then half-closes and listens", async () => {
  const { connection, socket, ends } = setup();
  connection.send("queued");
  connection.close(REASON);
  assertEquals(connection.handedOverPosition, connection.sentPosition);
  assertEquals(ends, ["shutting_down"]);
  await socket.takeWrite();
  assertEquals(socket.frames(), ["queued", ["bye", "shutting_down"]]);
  assertEquals(socket.events.at(-1), "closeWrite");
  await socket.arrive(encodeFrames("too late"));
  await socket.arrive(null);
  assertEquals(socket.events.at(-1), "close");
  await connection.ended;
  assertEquals(ends, ["shutting_down"]);
});

Deno.test("a closed connection does not wait long for the other side", async () => {
  const { connection, socket, clock } = setup();
  connection.close(REASON);
  assertEquals([clock.timers.length, socket.events.includes("close")], [1, false]);
  clock.timers[0]();
  assertEquals(socket.events.at(-1), "close");
  await connection.ended;
});

Deno.test("the end of the stream and a failed read close the connection without a word", async () => {
  const ended = setup();
  await ended.socket.arrive(null);
  assertEquals([ended.ends, ended.socket.events], [["connection_closed"], ["close"]]);
  const failed = setup();
  await failed.socket.failRead("reset");
  assertEquals([failed.ends, failed.socket.events], [["connection_closed"], ["close"]]);
});

Deno.test("what a sink refuses is told to the other side, and nothing after it is taken", async () => {
  const { socket, frames, ends } = setup(() => {
    throw new TrilogError("malformed", "Cannot take it");
  });
  await socket.arrive(encodeFrames(1, 2));
  assertEquals([frames, ends], [[1], ["malformed"]]);
  await socket.takeWrite();
  assertEquals(socket.frames(), [["bye", "malformed"]]);
});

Deno.test("a sink that is not ready holds back the frames behind", async () => {
  const gate = Promise.withResolvers<void>();
  const { socket, frames } = setup((value) => value === 1 ? gate.promise : undefined);
  await socket.arrive(encodeFrames(1, 2, 3));
  assertEquals(frames, [1]);
  gate.resolve();
  await settle();
  assertEquals(frames, [1, 2, 3]);
  await socket.arrive(encodeFrames(4));
  assertEquals(frames, [1, 2, 3, 4]);
});

Deno.test("what was handed out stays as it is while more arrives, and chunks grow", async () => {
  const { connection, socket, frames } = setup();
  connection.admit(limits.peerFrameBytes, limits.peerFrameBytes, {
    frame: (payload) => void frames.push(unpack(payload)),
    farewell: () => null,
    closed: () => {},
  });
  const stream = encodeFrames(
    ...Array.from({ length: 4_000 }, (_, i) => new Uint8Array(500).fill(i)),
  );
  let largest = 0;
  for (let at = 0, read = 0; at < stream.length; read += 1) {
    largest = Math.max(largest, socket.room);
    // Every third read is short, the others fill what they are offered.
    const count = read % 3 === 0 ? Math.min(700, socket.room) : socket.room;
    await socket.arrive(stream.subarray(at, at + count));
    at += count;
  }
  assertEquals(frames.length, 4_000);
  frames.forEach((bytes, i) => assertEquals(bytes, new Uint8Array(500).fill(i)));
  assertEquals(largest, 256 * 1024);
});

Deno.test("frames above the limit are refused in both directions", async () => {
  const { connection, socket, ends } = setup();
  const large = new Uint8Array(limits.handshakeFrameBytes);
  const error = assertThrows(() => connection.send(large), TrilogError);
  assertEquals(error.code, "frame_too_large");
  await socket.arrive(encodeFrames(large).subarray(0, 4));
  assertEquals(ends, ["frame_too_large"]);
});

Deno.test("a farewell too long for a frame does not keep the connection open", async () => {
  const { connection, socket, ends } = setup();
  connection.close(new TrilogError("internal", "Cannot", {}));
  await socket.takeWrite();
  assertEquals(socket.frames(), [["bye", "internal"]]);
  const wordy = setup(undefined, "x".repeat(limits.handshakeFrameBytes));
  wordy.connection.close(REASON);
  await settle();
  assertEquals([ends, wordy.ends], [["internal"], ["shutting_down"]]);
  assertEquals(wordy.socket.events, ["closeWrite"]);
});

Deno.test("a broken invariant in who takes a frame ends the process, not the connection", async () => {
  const thrown: unknown[] = [];
  const listener = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    thrown.push(event.reason);
  };
  globalThis.addEventListener("unhandledrejection", listener);
  const { socket } = setup(() => {
    throw new InvariantError("two leaders");
  });
  await socket.arrive(encodeFrames(1));
  await new Promise((resolve) => setTimeout(resolve, 0));
  globalThis.removeEventListener("unhandledrejection", listener);
  assertEquals(thrown.map(String), ["InvariantError: two leaders"]);
});
