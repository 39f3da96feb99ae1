/** PURE. Completion scripts for bash, zsh and fish, from the commands' declarations. */

import { type Command, positionalName } from "./command.ts";
import { type Flag, flagName } from "./flags.ts";
import { COMMON_FLAGS } from "./parse.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = typeof SHELLS[number];

/** The script that a shell sources to complete `trilog`. */
export function completionScript(shell: Shell, commands: readonly Command[]): string {
  const nodes = flatten(commands);
  if (shell === "bash") return bashScript(nodes);
  return shell === "zsh" ? zshScript(nodes) : fishScript(nodes);
}

/** One place in the tree of commands. */
interface Node {
  /** Names from below `trilog`, with spaces between; empty at the top. */
  readonly path: string;
  readonly summary: string;
  readonly children: readonly Command[];
  readonly flags: readonly (readonly [name: string, flag: Flag])[];
  /** Words that the first positional may be. */
  readonly choices: readonly string[];
  readonly firstPositional: string | null;
}

function flatten(commands: readonly Command[]): Node[] {
  const nodes: Node[] = [{
    path: "",
    summary: "",
    children: commands,
    flags: [["help", COMMON_FLAGS.help], ["version", COMMON_FLAGS.version]],
    choices: [],
    firstPositional: null,
  }];
  const visit = (command: Command, above: string) => {
    const path = above === "" ? command.name : `${above} ${command.name}`;
    const [first] = Object.entries(command.positionals ?? {});
    const flags = Object.entries<Flag>({ ...command.flags, ...COMMON_FLAGS });
    nodes.push({
      path,
      summary: command.summary,
      children: command.subcommands ?? [],
      flags: flags.map(([name, flag]) => [flagName(name), flag] as const),
      choices: first?.[1].choices ?? [],
      firstPositional: first === undefined ? null : positionalName(first[0]),
    });
    for (const child of command.subcommands ?? []) visit(child, path);
  };
  for (const command of commands) visit(command, "");
  return nodes;
}

function wordsAt(node: Node): string[] {
  return [...node.children.map((child) => child.name), ...node.choices];
}

function takesFile(flag: Flag): boolean {
  return flag.type === "path";
}

/** Walks the words already typed to the deepest command, then offers what that one takes. */
function bashScript(nodes: readonly Node[]): string {
  const steps = nodes.filter((node) => node.path !== "").map((node) =>
    `      ${bashQuoted(node.path)}) path=$next ;;`
  );
  const offers = nodes.map((node) => {
    const flags = node.flags.map(([name]) => `--${name}`).join(" ");
    const words = [...wordsAt(node)].join(" ");
    return `    ${bashQuoted(node.path)}) words=${bashQuoted(words)} flags=${bashQuoted(flags)} ;;`;
  });
  const values = nodes.flatMap((node) =>
    node.flags.flatMap(([name, flag]) => {
      const pattern = bashQuoted(`${node.path} --${name}`);
      if (flag.type === "choice") {
        return [
          `    ${pattern}) COMPREPLY=($(compgen -W ${
            bashQuoted(flag.choices.join(" "))
          } -- "$current")); return ;;`,
        ];
      }
      if (takesFile(flag)) return [`    ${pattern}) compopt -o default; return ;;`];
      return flag.type === "boolean" ? [] : [`    ${pattern}) return ;;`];
    })
  );
  return `# bash completion of trilog: source <(trilog completions bash)
_trilog() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  local path= next word words flags
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $word == -- ]] && return
    next=\${path:+$path }$word
    case $next in
${steps.join("\n")}
    esac
  done
  case "$path $previous" in
${values.join("\n")}
  esac
  case $path in
${offers.join("\n")}
  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  fi
}
complete -F _trilog trilog
`;
}

function bashQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** One function that dispatches on the words typed so far, as in bash, with descriptions. */
function zshScript(nodes: readonly Node[]): string {
  const steps = nodes.filter((node) => node.path !== "").map((node) =>
    `      ${bashQuoted(node.path)}) place=$next ;;`
  );
  const values = nodes.flatMap((node) =>
    node.flags.flatMap(([name, flag]) => {
      const pattern = bashQuoted(`${node.path} --${name}`);
      if (flag.type === "choice") {
        return [`    ${pattern}) compadd -- ${flag.choices.map(bashQuoted).join(" ")}; return ;;`];
      }
      if (takesFile(flag)) return [`    ${pattern}) _files; return ;;`];
      return flag.type === "boolean" ? [] : [`    ${pattern}) return ;;`];
    })
  );
  const offers = nodes.map((node) => {
    const flags = node.flags.map(([name, flag]) => zshItem(`--${name}`, flag.help));
    const children = node.children.map((child) => zshItem(child.name, child.summary));
    const choices = node.choices.map((choice) => zshItem(choice, ""));
    return `    ${bashQuoted(node.path)})
      flags=(${flags.join(" ")})
      words_here=(${[...children, ...choices].join(" ")}) ;;`;
  });
  return `#compdef trilog
# zsh completion of trilog: source <(trilog completions zsh)
_trilog() {
  local place= next word
  local -a flags words_here
  for word in "\${(@)words[2,CURRENT-1]}"; do
    [[ $word == -- ]] && return
    next=\${place:+$place }$word
    case $next in
${steps.join("\n")}
    esac
  done
  case "$place \${words[CURRENT-1]}" in
${values.join("\n")}
  esac
  case $place in
${offers.join("\n")}
  esac
  if [[ \${words[CURRENT]} == -* ]]; then
    _describe -o flag flags
  else
    _describe command words_here
  fi
}
compdef _trilog trilog
`;
}

function zshItem(name: string, help: string): string {
  return bashQuoted(`${name.replaceAll(":", "\\:")}:${help.replaceAll(":", "\\:")}`);
}

function fishScript(nodes: readonly Node[]): string {
  const lines = nodes.flatMap((node) => {
    const here = `-n ${fishQuoted(`__trilog_at ${fishQuoted(node.path)}`)}`;
    const words = [
      ...node.children.map((child) =>
        `-a ${fishQuoted(child.name)} -d ${fishQuoted(child.summary)}`
      ),
      ...node.choices.map((choice) => `-a ${fishQuoted(choice)}`),
    ];
    const flags = node.flags.map(([name, flag]) => {
      const value = flag.type === "choice"
        ? ` -x -a ${fishQuoted(flag.choices.join(" "))}`
        : takesFile(flag)
        ? " -r -F"
        : flag.type === "boolean"
        ? ""
        : " -x";
      return `-l ${name}${value} -d ${fishQuoted(flag.help)}`;
    });
    return [...words, ...flags].map((rest) => `complete -c trilog ${here} ${rest}`);
  });
  const paths = nodes.filter(({ path }) => path !== "").map(({ path }) => fishQuoted(path));
  return `# fish completion of trilog: trilog completions fish | source
function __trilog_at
    set -l paths ${paths.join(" ")}
    set -l place ''
    for word in (commandline -opc)[2..-1]
        test "$word" = --; and return 1
        set -l next (string trim "$place $word")
        contains -- "$next" $paths; and set place $next
    end
    test "$place" = "$argv[1]"
end
complete -c trilog -f
${lines.join("\n")}
`;
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
