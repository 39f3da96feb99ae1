/** `trilog completions`: prints the completion script of a shell, and the names it asks for. */

import { TrilogError } from "../lib/base/errors.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { completionScript, SHELLS } from "../lib/cli/completions.ts";
import { NAME_KINDS, type NameKind } from "../lib/cli/flags.ts";
import { clusterStatusMethod, listGroupsMethod } from "../lib/client/protocol.ts";
import { type Ask, withManagers } from "./managers_client.ts";

/** A shell waits for the names: better none than late ones. */
const NAMES_MS = 1_000;

export const command = defineCommand({
  name: "completions",
  summary: "print the completion script of a shell",
  details: "The script completes names of topics, partitions, groups, brokers and managers by\n" +
    "asking the managers of TRILOG_BOOTSTRAP, or of this machine, for them.",
  examples: [
    "source <(trilog completions bash)",
    "trilog completions fish > ~/.config/fish/completions/trilog.fish",
  ],
  positionals: { shell: { help: "the shell", choices: SHELLS, optional: true } },
  flags: {
    names: { type: "choice", choices: NAME_KINDS, help: "print the cluster's names of this kind" },
    ...bootstrapFlags,
    ...securityFlags,
  },
  async run({ flags, args, commands, terminal }) {
    const { names } = flags;
    if ((names === undefined) === (args.shell === undefined)) {
      throw new TrilogError("usage", "Cannot run completions: name a shell, or --names KIND");
    }
    if (args.shell !== undefined) {
      const script = completionScript(args.shell, await commands());
      await terminal.write(new TextEncoder().encode(script));
      return 0;
    }
    const found = await withManagers(flags, (ask) => namesOf(names!, ask));
    for (const name of found) await terminal.print(name);
    return 0;
  },
});

async function namesOf(kind: NameKind, ask: Ask): Promise<string[]> {
  if (kind === "group") {
    const { groups } = await ask(listGroupsMethod, { consistency: "stale" }, NAMES_MS);
    return groups.map(({ name }) => name);
  }
  const request = { consistency: "stale" } as const;
  const { managers, brokers, partitions } = await ask(clusterStatusMethod, request, NAMES_MS);
  switch (kind) {
    case "broker":
      return brokers.map(({ id }) => id);
    case "manager":
      return managers.map(({ id }) => id);
    case "topic":
      return [...new Set(partitions.map(({ topic }) => topic))];
    case "partition":
      return partitions.map(({ topic, partition }) => `${topic}/${partition}`);
  }
}
