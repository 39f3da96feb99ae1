import { assertEquals } from "@std/assert";
import type { Interruption } from "../../lib/cli/command.ts";
import { watchSignals } from "../../lib/cli/interruption.ts";

/** What happens to a command that gets these signals, one after the other. */
function outcome(interruption: Interruption, signals: readonly ("SIGINT" | "SIGTERM")[]) {
  const listeners = new Map<string, () => void>();
  const exits: number[] = [];
  const signal = watchSignals(interruption, {
    listen: (name, run) => listeners.set(name, run),
    exit: (status) => exits.push(status),
  });
  for (const name of signals) listeners.get(name)?.();
  return { listens: [...listeners.keys()], aborted: signal.aborted, exits };
}

Deno.test("Ctrl-C ends a plain client at once with 130, and SIGTERM is left alone", () => {
  assertEquals(outcome("immediate", ["SIGINT"]), {
    listens: ["SIGINT"],
    aborted: false,
    exits: [130],
  });
});

Deno.test("Ctrl-C lets a graceful client finish, a second one does not", () => {
  assertEquals(outcome("graceful", ["SIGINT"]), { listens: ["SIGINT"], aborted: true, exits: [] });
  assertEquals(outcome("graceful", ["SIGINT", "SIGINT"]).exits, [130]);
});

Deno.test("Ctrl-C and SIGTERM let a server finish; only a second Ctrl-C ends it", () => {
  const listens = ["SIGINT", "SIGTERM"];
  assertEquals(outcome("server", ["SIGTERM"]), { listens, aborted: true, exits: [] });
  assertEquals(outcome("server", ["SIGINT"]), { listens, aborted: true, exits: [] });
  assertEquals(outcome("server", ["SIGTERM", "SIGTERM"]).exits, []);
  assertEquals(outcome("server", ["SIGTERM", "SIGINT"]).exits, [130]);
});
