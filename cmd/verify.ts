/** `trilog verify`: every checksum and every invariant of a data directory's files. */

import { defineCommand } from "../lib/cli/command.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { printError } from "../lib/cli/terminal.ts";
import { verifyDirectory } from "../lib/storage/inspect.ts";
import { existingDataDirectory, faultLine } from "./data_directory.ts";

export const command = defineCommand({
  name: "verify",
  summary: "check every checksum and invariant of a data directory",
  details: [
    "Prints the place of each fault, and exits with 1 if there is one. Changes nothing,",
    "and needs no lock: a directory in use may be looked at. What was written last and",
    "never synced is no fault.",
  ].join("\n"),
  examples: ["trilog verify ./trilog-data/b1", "trilog verify --json ./a1"],
  positionals: { directory: { help: "data directory of one node" } },
  async run({ args, json, terminal }) {
    const faults = verifyDirectory(existingDataDirectory(args.directory));
    for (const fault of faults) {
      await terminal.print(json ? JSON.stringify(fault) : faultLine(fault));
    }
    if (!json) {
      const count = faults.length === 1 ? "1 fault" : `${faults.length} faults`;
      printError(terminal, `${args.directory}: ${faults.length === 0 ? "sound" : count}`);
    }
    return faults.length === 0 ? exitStatus.done : exitStatus.failed;
  },
});
