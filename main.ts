/** The program: a table of commands, the signals, and the only place that exits. */

import type { Interruption } from "./lib/cli/command.ts";
import { denoTerminal } from "./lib/cli/deno_terminal.ts";
import { type CommandTable, exitStatus, runProgram } from "./lib/cli/program.ts";
import { VERSION } from "./lib/cli/version.ts";

/** Each import is written out, so that the bundler finds it; each runs only when it is needed. */
const commands: CommandTable = {
  completions: () => import("./cmd/completions.ts"),
};

/** See {@link Interruption}: what the signals do to a running command. */
function watchSignals(interruption: Interruption): AbortSignal {
  const controller = new AbortController();
  const stop = () => {
    if (interruption === "immediate" || controller.signal.aborted) {
      Deno.exit(exitStatus.interrupted);
    }
    controller.abort();
  };
  Deno.addSignalListener("SIGINT", stop);
  if (interruption === "server") Deno.addSignalListener("SIGTERM", stop);
  return controller.signal;
}

if (import.meta.main) {
  Deno.exit(
    await runProgram(Deno.args, {
      version: VERSION,
      commands,
      terminal: denoTerminal(),
      onStart: watchSignals,
    }),
  );
}
