/**
 * PURE. Completion scripts for bash, zsh and fish, from the commands' declarations. Names that only
 * the cluster knows are asked for when they are needed, by `trilog completions --names KIND`.
 */

import { type Command, positionalName } from "./command.ts";
import { type Completion, type Flag, flagName } from "./flags.ts";
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
  /** What else the first positional is completed with. */
  readonly completion: Completion | null;
}

function flatten(commands: readonly Command[]): Node[] {
  const nodes: Node[] = [{
    path: "",
    summary: "",
    children: commands,
    flags: [["help", COMMON_FLAGS.help], ["version", COMMON_FLAGS.version]],
    choices: [],
    firstPositional: null,
    completion: null,
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
      completion: first?.[1].completion ?? null,
    });
    for (const child of command.subcommands ?? []) visit(child, path);
  };
  for (const command of commands) visit(command, "");
  return nodes;
}

function wordsAt(node: Node): string[] {
  return [...node.children.map((child) => child.name), ...node.choices];
}

function completionOf(flag: Flag): Completion | null {
  return flag.completion ?? (flag.type === "path" ? "file" : null);
}

/** Prints the names of a kind, in any shell; nothing where no manager answers. */
function namesCommand(kind: Completion): string {
  return `trilog completions --names ${kind} 2>/dev/null`;
}

/** What follows a value's pattern in bash. */
function bashValues(completion: Completion): string {
  return completion === "file"
    ? "compopt -o default"
    : `COMPREPLY=($(compgen -W "$(${namesCommand(completion)})" -- "$current"))`;
}

function zshValues(completion: Completion): string {
  return completion === "file" ? "_files" : `compadd -- \${(f)"$(${namesCommand(completion)})"}`;
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
  const positionals = nodes.flatMap(({ path, completion }) =>
    completion === null ? [] : [`    ${bashQuoted(path)}) ${bashValues(completion)} ;;`]
  );
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
      const completion = completionOf(flag);
      if (completion !== null) return [`    ${pattern}) ${bashValues(completion)}; return ;;`];
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
    return
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  case $path in
${positionals.join("\n")}
  esac
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
      const completion = completionOf(flag);
      if (completion !== null) return [`    ${pattern}) ${zshValues(completion)}; return ;;`];
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
  const positionals = nodes.flatMap(({ path, completion }) =>
    completion === null ? [] : [`    ${bashQuoted(path)}) ${zshValues(completion)} ;;`]
  );
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
    case $place in
${positionals.join("\n")}
    esac
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
      ...fishPositional(node.completion),
    ];
    const flags = node.flags.map(([name, flag]) => {
      const value = flag.type === "choice"
        ? ` -x -a ${fishQuoted(flag.choices.join(" "))}`
        : completionOf(flag) === "file"
        ? " -r -F"
        : completionOf(flag) !== null
        ? ` -x -a ${fishQuoted(`(${namesCommand(completionOf(flag)!)})`)}`
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

function fishPositional(completion: Completion | null): string[] {
  if (completion === null) return [];
  if (completion === "file") return ["-F"];
  return [`-a ${fishQuoted(`(${namesCommand(completion)})`)}`];
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
