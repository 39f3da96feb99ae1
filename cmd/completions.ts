/** `trilog completions`: prints the completion script of a shell. */

import { defineCommand } from "../lib/cli/command.ts";
import { completionScript, SHELLS } from "../lib/cli/completions.ts";

export const command = defineCommand({
  name: "completions",
  summary: "print the completion script of a shell",
  examples: [
    "source <(trilog completions bash)",
    "trilog completions fish > ~/.config/fish/completions/trilog.fish",
  ],
  positionals: { shell: { help: "the shell", choices: SHELLS } },
  async run({ args, commands, terminal }) {
    await terminal.write(new TextEncoder().encode(completionScript(args.shell, await commands())));
    return 0;
  },
});
