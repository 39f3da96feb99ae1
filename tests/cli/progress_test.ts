import { assertEquals } from "@std/assert";
import type { Clock } from "../../lib/base/clock.ts";
import { Progress } from "../../lib/cli/progress.ts";
import { FakeTerminal } from "./fake_terminal.ts";

/** A clock that moves when it is told to. */
function manualClock() {
  let nowMs = 0;
  let pending: { atMs: number; run: () => void }[] = [];
  const clock: Clock = {
    monotonicMs: () => nowMs,
    wallMs: () => nowMs,
    after(delayMs, run) {
      const timer = { atMs: nowMs + delayMs, run };
      pending.push(timer);
      return { cancel: () => pending = pending.filter((other) => other !== timer) };
    },
    nextTurn: (run) => run(),
  };
  const advance = (durationMs: number) => {
    nowMs += durationMs;
    const due = pending.filter(({ atMs }) => atMs <= nowMs);
    pending = pending.filter(({ atMs }) => atMs > nowMs);
    for (const { run } of due) run();
  };
  return { clock, advance, pendingTimers: () => pending.length };
}

Deno.test("a terminal sees the line redrawn five times a second, then the summary", () => {
  const terminal = new FakeTerminal({ isTerminal: true });
  const { clock, advance, pendingTimers } = manualClock();
  const progress = new Progress({ terminal, clock, noun: "message", verb: "sent", total: 5_000 });
  progress.add(1_000, 102_400);
  assertEquals(terminal.stderr, "");
  advance(200);
  assertEquals(terminal.stderr, "\r\x1b[K1,000 of 5,000 messages sent, 5,000/s, 100KiB");
  terminal.stderr = "";
  progress.add(1_000, 102_400);
  advance(800);
  terminal.stderr = "";
  progress.finish("3 retried");
  assertEquals(
    terminal.stderr,
    "\r\x1b[K2,000 messages sent (200KiB) in 1s, 2,000/s, 3 retried\n",
  );
  assertEquals(pendingTimers(), 0);
});

Deno.test("a pipe sees the summary only, and --json nothing", () => {
  const { clock, advance, pendingTimers } = manualClock();
  const pipe = new FakeTerminal();
  const progress = new Progress({ terminal: pipe, clock, noun: "message", verb: "read" });
  progress.add(1, 5);
  advance(500);
  progress.finish();
  assertEquals(pipe.stderr, "1 message read (5B) in 500ms, 2/s\n");
  const silent = new FakeTerminal({ isTerminal: true });
  const quiet = new Progress({ terminal: silent, clock, noun: "x", verb: "y", silent: true });
  advance(500);
  quiet.finish();
  assertEquals([silent.stderr, pendingTimers()], ["", 0]);
});

Deno.test("the line never wraps", () => {
  const terminal = new FakeTerminal({ isTerminal: true, columns: 20 });
  const { clock, advance } = manualClock();
  const progress = new Progress({ terminal, clock, noun: "message", verb: "sent" });
  advance(200);
  assertEquals(terminal.stderr.replace("\r\x1b[K", "").length <= 19, true);
  progress.finish();
});
