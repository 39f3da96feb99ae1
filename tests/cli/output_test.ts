import { assertEquals, assertRejects } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { BufferedOutput } from "../../lib/cli/output.ts";

/** A sink that takes bytes only when it is told to, and at most `most` of them at once. */
class SlowSink {
  readonly writes: string[] = [];
  private waiting: (() => void)[] = [];
  failure: Error | null = null;

  constructor(private readonly most = Infinity, public open = true) {}

  readonly write = async (bytes: Uint8Array): Promise<number> => {
    if (!this.open) await new Promise<void>((resolve) => this.waiting.push(resolve));
    if (this.failure !== null) throw this.failure;
    const taken = bytes.subarray(0, this.most);
    this.writes.push(new TextDecoder().decode(taken));
    return taken.length;
  };

  release(): void {
    this.open = true;
    for (const resume of this.waiting.splice(0)) resume();
  }
}

/** Turns that are run by hand. */
function manualTurns() {
  const runs: (() => void)[] = [];
  return {
    nextTurn: (run: () => void) => {
      runs.push(run);
    },
    run: () => runs.splice(0).forEach((run) => run()),
  };
}

Deno.test("small writes of one turn leave together, without a flush", async () => {
  const sink = new SlowSink();
  const turns = manualTurns();
  const output = new BufferedOutput(sink.write, turns.nextTurn);
  output.print("a");
  output.print("b");
  assertEquals(sink.writes, []);
  turns.run();
  await output.flush();
  assertEquals(sink.writes, ["a\nb\n"]);
});

Deno.test("a sink that takes little at a time gets everything in order", async () => {
  const sink = new SlowSink(3);
  const output = new BufferedOutput(sink.write, manualTurns().nextTurn);
  output.write(utf8("0123456789"));
  await output.flush();
  assertEquals(sink.writes, ["012", "345", "678", "9"]);
});

Deno.test("a writer waits while the reader does not take what is buffered", async () => {
  const sink = new SlowSink(Infinity, false);
  const output = new BufferedOutput(sink.write, manualTurns().nextTurn);
  const part = new Uint8Array(64 * 1024).fill(97);
  const waits: (Promise<void> | void)[] = [];
  while (waits.at(-1) === undefined && waits.length < 100) waits.push(output.write(part));
  // Two buffers of two parts each; the write after them may wait, or one that starts a buffer.
  assertEquals(waits.length < 6, true, `${waits.length} parts were buffered`);
  const blocked = Promise.resolve(output.write(new Uint8Array(256 * 1024).fill(98)));
  let out = false;
  void blocked.then(() => out = true);
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  assertEquals([out, sink.writes], [false, []]);
  sink.release();
  await Promise.all([...waits, blocked]);
  await output.flush();
  assertEquals(sink.writes.join("").length, waits.length * part.length + 256 * 1024);
});

Deno.test("large writes arrive whole and in order", async () => {
  const sink = new SlowSink(10_000);
  const output = new BufferedOutput(sink.write, manualTurns().nextTurn);
  let expected = "";
  for (let round = 0; round < 20; round += 1) {
    const text = String.fromCharCode(97 + round).repeat(round * 7_919);
    expected += text;
    await output.write(utf8(text));
  }
  await output.flush();
  assertEquals(sink.writes.join("") === expected, true);
});

Deno.test("a failed sink fails the flush and all writes after it", async () => {
  const sink = new SlowSink();
  const turns = manualTurns();
  const output = new BufferedOutput(sink.write, turns.nextTurn);
  sink.failure = new Error("gone");
  output.print("a");
  await assertRejects(() => output.flush(), Error, "gone");
  await assertRejects(() => Promise.resolve(output.print("b")), Error, "gone");
});

Deno.test("writes that have to wait are not mixed, whoever makes them at the same time", async () => {
  const sink = new SlowSink(1_000, false);
  const output = new BufferedOutput(sink.write, manualTurns().nextTurn);
  const lines = ["a", "b", "c", "d"].map((letter) => `${letter.repeat(300_000)}\n`);
  const written = lines.map((line) => Promise.resolve(output.write(utf8(line))));
  written.push(Promise.resolve(output.print("last")));
  sink.release();
  await Promise.all(written);
  await output.flush();
  assertEquals(sink.writes.join("") === `${lines.join("")}last\n`, true);
});
