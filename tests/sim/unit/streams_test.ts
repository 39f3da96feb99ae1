import { assertEquals, assertRejects } from "@std/assert";
import { Prng } from "../../../lib/base/prng.ts";
import { isRefusal, type Socket } from "../../../lib/net/tcp.ts";
import { goodLinks, Links } from "../../../lib/sim/links.ts";
import { SimProcess } from "../../../lib/sim/process.ts";
import { Scheduler } from "../../../lib/sim/scheduler.ts";
import { SimStreams } from "../../../lib/sim/streams.ts";

/** Machines `a` and `b`, each with a process; `b` listens. */
class Pair {
  readonly scheduler = new Scheduler();
  readonly links = new Links(new Prng(1), { ...goodLinks, chop: 0.5 });
  readonly streams = new SimStreams(this.links, new Prng(2));
  readonly a = new SimProcess(this.scheduler, "a");
  readonly b = new SimProcess(this.scheduler, "b");
  readonly listener = this.streams.socketsOf(this.b).listen("b:1");
  readonly sockets = this.streams.socketsOf(this.a);

  async connected(): Promise<[Socket, Socket]> {
    const both = Promise.all([this.sockets.connect("b:1"), this.listener.accept()]);
    await this.scheduler.runUntil(this.scheduler.nowMs + 10);
    return await both;
  }

  /** Reads on until the stream ends. */
  reader(socket: Socket): { bytes: number[]; ended: boolean } {
    const seen = { bytes: [] as number[], ended: false };
    const run = async () => {
      const into = new Uint8Array(7);
      for (;;) {
        const count = await socket.read(into);
        if (count === null) break;
        seen.bytes.push(...into.subarray(0, count));
      }
      seen.ended = true;
    };
    run().catch(() => {});
    return seen;
  }

  async passes(forMs: number): Promise<void> {
    await this.scheduler.runUntil(this.scheduler.nowMs + forMs);
    // The last event's chain of awaits is longer than a scheduler waits for.
    for (let turn = 0; turn < 1_000; turn += 1) await undefined;
  }

  /** What was read up to the end of the stream, or so far after a minute. */
  async read(socket: Socket): Promise<{ bytes: number[]; ended: boolean }> {
    const seen = this.reader(socket);
    await this.passes(60_000);
    return seen;
  }
}

const DATA = Uint8Array.from({ length: 100 }, (_, at) => at);

Deno.test("a stream gives every byte once and in order, then its end", async () => {
  const pair = new Pair();
  const [here, there] = await pair.connected();
  await here.write(DATA.subarray(0, 60));
  await pair.scheduler.runUntil(20);
  await here.write(DATA.subarray(60));
  await here.closeWrite();
  assertEquals(await pair.read(there), { bytes: [...DATA], ended: true });
});

Deno.test("a cut link holds bytes back, and they arrive after it was mended", async () => {
  const pair = new Pair();
  const [here, there] = await pair.connected();
  pair.links.cut("a", "b");
  await here.write(DATA);
  const seen = pair.reader(there);
  await pair.passes(3_000);
  assertEquals(seen, { bytes: [], ended: false });
  pair.links.mend("a", "b");
  await here.closeWrite();
  await pair.passes(20_000);
  assertEquals(seen, { bytes: [...DATA], ended: true });
});

Deno.test("a killed process ends its streams; what it had written still arrives", async () => {
  const pair = new Pair();
  const [here, there] = await pair.connected();
  await here.write(DATA);
  pair.a.kill();
  assertEquals(await pair.read(there), { bytes: [...DATA], ended: true });
});

Deno.test("a machine without power says nothing, and resets the stream when it is back", async () => {
  const pair = new Pair();
  const [here, there] = await pair.connected();
  pair.links.setUp("b", false);
  pair.b.kill();
  await here.write(DATA);
  let refusal: unknown = null;
  here.read(new Uint8Array(1)).catch((thrown) => {
    refusal = thrown;
  });
  await pair.scheduler.runUntil(5_000);
  assertEquals(refusal, null);
  pair.links.setUp("b", true);
  await pair.scheduler.runUntil(30_000);
  assertEquals(isRefusal(refusal), true);
  await assertRejects(() => there.read(new Uint8Array(1)));
});

Deno.test("nobody is connected where no process listens", async () => {
  const pair = new Pair();
  const refused = pair.sockets.connect("b:2").then(() => null, isRefusal);
  await pair.scheduler.runUntil(10);
  assertEquals(await refused, true);
});

Deno.test("a paused process is connected to, and reads when it goes on", async () => {
  const pair = new Pair();
  pair.b.pause();
  const connecting = pair.sockets.connect("b:1");
  const accepting = pair.listener.accept();
  await pair.scheduler.runUntil(10);
  const here = await connecting;
  await here.write(DATA);
  await here.closeWrite();
  await pair.scheduler.runUntil(1_000);
  pair.b.resume();
  await pair.scheduler.runUntil(1_010);
  assertEquals(await pair.read(await accepting), { bytes: [...DATA], ended: true });
});
