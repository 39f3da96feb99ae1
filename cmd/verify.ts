/** `trilog verify`: every checksum and every invariant of a data directory's files. */

import { defineCommand } from "../lib/cli/command.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { printError } from "../lib/cli/terminal.ts";
import { type Fault, verifyDirectory } from "../lib/storage/inspect.ts";
import { existingDataDirectory, faultLine, groupChecks } from "./data_directory.ts";

export const command = defineCommand({
  name: "verify",
  summary: "check every checksum and invariant of a data directory",
  details: [
    "Prints the place of each fault, and exits with 1 if there is one. Changes nothing,",
    "and needs no lock: a directory in use may be looked at. What was written last and",
    "never synced is no fault. Damage to files that only save work, and that the next",
    "start makes anew, is printed as harmless and leaves the exit status 0.",
  ].join("\n"),
  examples: ["trilog verify ./trilog-data/b1", "trilog verify --json ./a1"],
  positionals: { directory: { help: "data directory of one node", completion: "file" } },
  async run({ args, json, terminal }) {
    const found = verifyDirectory(existingDataDirectory(args.directory), groupChecks);
    for (const fault of found) {
      await terminal.print(json ? JSON.stringify(fault) : textOf(fault));
    }
    const { length } = found.filter(({ harmless }) => !harmless);
    if (!json) {
      const count = length === 1 ? "1 fault" : `${length} faults`;
      printError(terminal, `${args.directory}: ${length === 0 ? "sound" : count}`);
    }
    return length === 0 ? exitStatus.done : exitStatus.failed;
  },
});

function textOf(fault: Fault): string {
  return fault.harmless ? `harmless: ${faultLine(fault)}` : faultLine(fault);
}
