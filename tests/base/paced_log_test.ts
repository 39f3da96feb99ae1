import { assertEquals } from "@std/assert";
import { createLogger, type LogLevel } from "../../lib/base/logger.ts";
import { LINE_PERIOD_MS, PacedLog } from "../../lib/base/paced_log.ts";
import { sleep } from "../../lib/base/clock.ts";
import { VirtualClock } from "../atm/virtual_clock.ts";

function paced(level: LogLevel): { log: PacedLog; lines: string[]; clock: VirtualClock } {
  const lines: string[] = [];
  const clock = new VirtualClock();
  const write = (line: string) => lines.push(line.replace(/^\S+ /, ""));
  const logger = createLogger({ level, format: "text", clock, write });
  return { log: new PacedLog(logger, clock), lines, clock };
}

Deno.test("the first event is written at once, those of the next second as one line with a count", async () => {
  const { log, lines, clock } = paced("info");
  for (let at = 1; at <= 5; at += 1) log.write("sent", () => ({ at }));
  assertEquals(lines, ["info  sent at=1"]);
  await clock.settle(sleep(clock, LINE_PERIOD_MS + 1));
  assertEquals(lines.slice(1), ["info  sent at=5 count=4"]);
  log.write("sent", () => ({ at: 6 }));
  await clock.settle(sleep(clock, 3 * LINE_PERIOD_MS));
  assertEquals(lines.slice(2), ["info  sent at=6"]);
  assertEquals(clock.pendingTimers, 0, "a quiet kind costs nothing");
});

Deno.test("kinds and subjects do not hide each other, and unwritten fields are not computed", () => {
  const { log, lines } = paced("info");
  let computed = 0;
  const fields = () => {
    computed += 1;
    return {};
  };
  for (let at = 0; at < 10; at += 1) {
    log.write("sent", fields, "a");
    log.write("sent", fields, "b");
    log.write("received", fields);
  }
  assertEquals([lines.length, computed], [3, 3]);
});

Deno.test("at debug every event is a line, at warn none is", () => {
  const verbose = paced("debug");
  const quiet = paced("warn");
  for (let at = 0; at < 3; at += 1) {
    verbose.log.write("sent", () => ({ at }));
    quiet.log.write("sent", () => ({ at }));
  }
  assertEquals(verbose.lines, ["debug sent at=0", "debug sent at=1", "debug sent at=2"]);
  assertEquals([quiet.lines.length, quiet.clock.pendingTimers], [0, 0]);
});
