/** The program: a table of commands, the signals, and the only place that exits. */

import { denoTerminal } from "./lib/cli/deno_terminal.ts";
import { watchSignals } from "./lib/cli/interruption.ts";
import { type CommandTable, runProgram } from "./lib/cli/program.ts";
import { VERSION } from "./lib/cli/version.ts";

/** Each import is written out, so that the bundler finds it; each runs only when it is needed. */
const commands: CommandTable = {
  atm: () => import("./cmd/atm.ts"),
  bench: () => import("./cmd/bench.ts"),
  broker: () => import("./cmd/broker.ts"),
  check: () => import("./cmd/check.ts"),
  cluster: () => import("./cmd/cluster.ts"),
  completions: () => import("./cmd/completions.ts"),
  consume: () => import("./cmd/consume.ts"),
  group: () => import("./cmd/group.ts"),
  inspect: () => import("./cmd/inspect.ts"),
  kv: () => import("./cmd/kv.ts"),
  manager: () => import("./cmd/manager.ts"),
  produce: () => import("./cmd/produce.ts"),
  recover: () => import("./cmd/recover.ts"),
  sim: () => import("./cmd/sim.ts"),
  topic: () => import("./cmd/topic.ts"),
  up: () => import("./cmd/up.ts"),
  verify: () => import("./cmd/verify.ts"),
};

if (import.meta.main) {
  const status = await runProgram(Deno.args, {
    version: VERSION,
    commands,
    terminal: denoTerminal(),
    onStart: (interruption) =>
      watchSignals(interruption, { listen: Deno.addSignalListener, exit: Deno.exit }),
  });
  Deno.exit(status);
}
