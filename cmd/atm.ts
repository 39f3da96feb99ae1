/** `trilog atm`: an ATM of the bank, its terminal, or both. */

import { type ErrorCode, toTrilogError, TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { randomIdentity, systemRandom } from "../lib/base/system_random.ts";
import { LocalBackend, RemoteBackend } from "../lib/atm/backends.ts";
import { type AtmBackend, AtmClient } from "../lib/atm/client.ts";
import { completionsOf } from "../lib/atm/language.ts";
import { BankMachine } from "../lib/atm/machine.ts";
import { formatOutcome, helpLines, type Layout } from "../lib/atm/results.ts";
import { serveTerminal } from "../lib/atm/terminal.ts";
import { type Context, defineCommand } from "../lib/cli/command.ts";
import { nodeFlags } from "../lib/cli/common_flags.ts";
import { LineReader } from "../lib/cli/line_reader.ts";
import { readTextLines } from "../lib/cli/lines.ts";
import { exitStatus, statusOf } from "../lib/cli/program.ts";
import { printError, type Terminal } from "../lib/cli/terminal.ts";
import { newCounters } from "../lib/net/counters.ts";
import { clientPolicy } from "../lib/net/handshake.ts";
import { RpcClient } from "../lib/net/rpc_client.ts";
import { Node } from "../lib/replica/node.ts";
import { processOptions, readToken, type ServerFlags } from "./server_setup.ts";

/** The Raft group of every bank. */
const GROUP = "atm";

const flags = {
  id: { type: "name", help: "name of this ATM, such as a1" },
  listen: { type: "address", help: "address for peers and terminals alike; port 0 picks one" },
  peers: { type: "members", help: "every ATM of the bank, this one included" },
  data: { type: "path", help: "directory of this ATM's own data" },
  serve: { type: "boolean", help: "run without a terminal: standard input is not read" },
  connect: { type: "addresses", help: "be a terminal of these ATMs, without a replica" },
  segmentBytes: {
    type: "size",
    default: "16MiB",
    help: "size of a log segment; a checkpoint is taken at each new one",
  },
  ...nodeFlags,
} as const;

type AtmContext = Context<typeof flags>;

export const command = defineCommand({
  name: "atm",
  summary: "run an ATM of the bank, or its terminal",
  details: [
    "Reads commands from its terminal or from a pipe, one a line:",
    "",
    ...helpLines().map((line) => `  ${line}`),
    "",
    "Amounts have at most two digits after the point. A command that moves money",
    "may end with --request-id ID: repeated with the same ID it moves money once.",
  ].join("\n"),
  examples: [
    "trilog atm --id a1 --listen 127.0.0.1:7001 --data ./a1" +
    " --peers a1=127.0.0.1:7001,a2=127.0.0.1:7002,a3=127.0.0.1:7003",
    "trilog atm --connect 127.0.0.1:7001,127.0.0.1:7002",
    "trilog atm --connect 127.0.0.1:7001 -- deposit alice 100",
  ],
  flags,
  words: "one command, instead of a terminal",
  interruption: "server",
  run: (context) => context.flags.connect === undefined ? runAtm(context) : runTerminal(context),
});

/** A terminal without a replica of its own. */
async function runTerminal(context: AtmContext): Promise<number> {
  const { connect, id, listen, peers, data, serve } = context.flags;
  const own = { "--id": id, "--listen": listen, "--peers": peers, "--data": data };
  const stray = Object.entries(own).find(([, value]) => value !== undefined)?.[0];
  if (stray !== undefined || serve) {
    throw usage(`--connect makes a terminal without a replica: leave out ${stray ?? "--serve"}`);
  }
  const caller = new RpcClient({
    policy: clientPolicy("terminal", readToken(context.flags)),
    role: "client",
    clock: systemClock,
    random: systemRandom,
    counters: newCounters(),
  });
  try {
    const stopped = aborted(context.signal).then(() => exitStatus.interrupted);
    const seat = new Seat(context, "atm", exitStatus.interrupted);
    return await Promise.race([stopped, seat.serve(new RemoteBackend(caller, connect!))]);
  } finally {
    caller.close();
  }
}

/** An ATM with a replica of its own, and its terminal unless it only serves. */
async function runAtm(context: AtmContext): Promise<number> {
  const serverFlags = checked(context);
  const { peers, serve, segmentBytes } = context.flags;
  const seat = new Seat(context, serverFlags.id, exitStatus.done);
  let fail: (error: unknown) => void = () => {};
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  const node = Node.start({
    ...processOptions(serverFlags, (line) => seat.note(line)),
    onFatal: (error) => fail(error),
    group: GROUP,
    machine: () => new BankMachine(),
    peers: peers!,
    segmentBytes,
  });
  try {
    printError(context.terminal, `listening on ${node.address}`);
    const stopped = aborted(context.signal).then(() => exitStatus.done);
    const seated = serve ? [] : [seat.serve(new LocalBackend(node))];
    return await Promise.race([stopped, failed, ...seated]);
  } finally {
    await node.stop();
  }
}

/** The flags that a replica cannot do without, all there. */
function checked({ flags, words, given, terminal }: AtmContext): ServerFlags {
  const { id, listen, peers, data, serve } = flags;
  const needed = { "--id": id, "--listen": listen, "--peers": peers, "--data": data };
  const missing = Object.entries(needed).filter(([, value]) => value === undefined);
  if (missing.length > 0) {
    throw usage(`${missing.map(([name]) => name).join(", ")} missing (or --connect HOST:PORT)`);
  }
  if (!peers!.some(({ name }) => name === id)) throw usage(`--peers does not name ${id}`);
  if (serve && words.length > 0) throw usage("--serve runs no command: leave out one of them");
  // A person at the prompt is not told of every election, unless asked for.
  const quiet = terminal.stdinIsTerminal && !serve && given.logLevel === undefined;
  const logLevel = quiet ? "warn" : flags.logLevel;
  return { ...flags, id: id!, listen: listen!, data: data!, logLevel };
}

/** Where somebody sits: a terminal with a prompt, a pipe, or a single command. */
class Seat {
  private reader: LineReader | null = null;
  private readonly terminal: Terminal;

  private interrupted = false;

  constructor(
    private readonly context: AtmContext,
    private readonly prompt: string,
    /** Exit status after Ctrl-C at the prompt. */
    private readonly interruptedStatus: number,
  ) {
    this.terminal = context.terminal;
  }

  /** Writes a line of the node's log without disturbing what is being typed. */
  note(line: string): void {
    if (this.reader === null) printError(this.terminal, line);
    else this.reader.printAbove(line);
  }

  /** Serves until the input ends; resolves with the exit status. */
  async serve(backend: AtmBackend): Promise<number> {
    const client = new AtmClient({ backend, clock: systemClock, unique: randomIdentity });
    const { words, json } = this.context;
    if (words.length > 0) return await this.runOne(client, words);
    const interactive = this.terminal.stdinIsTerminal;
    const layout: Layout = json ? "json" : interactive ? "lines" : "line";
    const lines = interactive ? this.typedLines() : readTextLines(this.terminal.stdin);
    const print = (text: string) => this.terminal.print(text);
    const succeeded = await serveTerminal(client, { lines, print, layout });
    if (this.interrupted) return this.interruptedStatus;
    return succeeded || interactive ? exitStatus.done : exitStatus.failed;
  }

  /** One command; its status tells what kind of failure it was. */
  private async runOne(client: AtmClient, words: readonly string[]): Promise<number> {
    const outcome = await client.words(words);
    const text = formatOutcome(outcome, this.context.json ? "json" : "lines");
    if (outcome.ok || this.context.json) await this.terminal.print(text);
    else printError(this.terminal, text);
    return outcome.ok ? exitStatus.done : statusOfCode(outcome.failure.code);
  }

  private async *typedLines(): AsyncGenerator<string, void, void> {
    this.reader = new LineReader(this.terminal, { complete: completionsOf });
    try {
      for (;;) {
        const line = await this.reader.next(`${this.prompt}> `);
        if (line === null) return;
        yield line;
      }
    } catch (thrown) {
      if (toTrilogError(thrown).code !== "cancelled") throw thrown;
      this.interrupted = true;
    }
  }
}

function statusOfCode(code: ErrorCode): number {
  return statusOf(new TrilogError(code, ""));
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function usage(state: string): TrilogError {
  return new TrilogError("usage", `Cannot run trilog atm: ${state}`);
}
