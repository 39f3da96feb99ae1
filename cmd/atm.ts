/** `trilog atm`: an ATM of the bank, its terminal, or both. */

import { limits } from "../lib/base/limits.ts";
import { TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { randomIdentity } from "../lib/base/system_random.ts";
import { AtmClient, SHORTEST_TIMEOUT_MS } from "../lib/atm/client.ts";
import { describeCommand, describeQuestion } from "../lib/atm/wording.ts";
import { AtmDesk } from "../lib/atm/desk.ts";
import { completionsOf } from "../lib/atm/language.ts";
import { BankMachine } from "../lib/atm/machine.ts";
import { helpLines } from "../lib/atm/results.ts";
import { type Context, defineCommand } from "../lib/cli/command.ts";
import { memberFlags, nodeFlags } from "../lib/cli/common_flags.ts";
import { readTextLines } from "../lib/cli/lines.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { formatDuration } from "../lib/cli/units.ts";
import { printError } from "../lib/cli/terminal.ts";
import { type Backend, LocalBackend, RemoteBackend } from "../lib/replica/backends.ts";
import { catchUpText } from "../lib/replica/member_words.ts";
import { Node } from "../lib/replica/node.ts";
import { RecordFile, recordFlag, recordLines } from "./record_file.ts";
import { RecordedAtmClient } from "./recorded_clients.ts";
import { Seat } from "./seat.ts";
import { newCaller } from "./caller.ts";
import { processOptions, type ServerFlags } from "./server_setup.ts";

/** The Raft group of every bank. */
const GROUP = "atm";

const flags = {
  id: { type: "name", help: "name of this ATM, such as a1" },
  listen: { type: "address", help: "address for peers and terminals alike; port 0 picks one" },
  peers: { type: "members", help: "every ATM of the bank, this one included" },
  data: { type: "path", help: "directory of this ATM's own data" },
  serve: { type: "boolean", help: "run without a terminal: standard input is not read" },
  connect: { type: "addresses", help: "be a terminal of these ATMs, without a replica" },
  record: recordFlag,
  timeout: { type: "duration", default: "5s", help: "time for an answer, all repeats included" },
  segmentBytes: {
    type: "size",
    min: limits.leastSegmentBytes,
    max: limits.segmentBytes,
    default: "16MiB",
    help: "size of a log segment; checkpoints are taken where one begins",
  },
  ...memberFlags,
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
    "",
    ...recordLines("bank", "deposits, withdrawals, transfers and balances", "an empty bank"),
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
  run(context) {
    const { connect, timeout } = context.flags;
    if (timeout < SHORTEST_TIMEOUT_MS) {
      throw usage(`--timeout must be at least ${formatDuration(SHORTEST_TIMEOUT_MS)}`);
    }
    return connect === undefined ? runAtm(context) : runTerminal(context);
  },
});

/** A terminal without a replica of its own. */
async function runTerminal(context: AtmContext): Promise<number> {
  const { connect, id, listen, peers, data, serve } = context.flags;
  const own = { "--id": id, "--listen": listen, "--peers": peers, "--data": data };
  const stray = Object.entries(own).find(([, value]) => value !== undefined)?.[0];
  if (stray !== undefined || serve) {
    throw usage(`--connect makes a terminal without a replica: leave out ${stray ?? "--serve"}`);
  }
  const caller = newCaller(context.flags, "terminal");
  const history = historyOf(context);
  try {
    const stopped = aborted(context.signal).then(() => exitStatus.interrupted);
    const seat = seatOf(context, "atm", exitStatus.interrupted);
    const desk = deskOf(context, new RemoteBackend(caller, connect!), history);
    return await Promise.race([stopped, seat.serve(desk)]);
  } finally {
    history?.close();
    caller.close();
  }
}

/** An ATM with a replica of its own, and its terminal unless it only serves. */
async function runAtm(context: AtmContext): Promise<number> {
  const serverFlags = checked(context);
  const { peers, serve, segmentBytes } = context.flags;
  const seat = seatOf(context, serverFlags.id, exitStatus.done);
  const history = historyOf(context);
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
    story: { command: describeCommand, question: describeQuestion },
    // The log says both, too, where it is shown.
    onWaiting: (reason) => {
      if (serverFlags.logLevel === "warn") seat.note(`not in a cluster yet: ${reason}`);
    },
    onCaughtUp: (caughtUp) => {
      if (serverFlags.logLevel === "warn") seat.note(catchUpText(caughtUp));
    },
    takeoverMs: context.flags.takeoverAfter,
  });
  try {
    printError(context.terminal, `listening on ${node.address}`);
    const stopped = aborted(context.signal).then(() => exitStatus.done);
    const seated = serve ? [] : [seat.serve(deskOf(context, new LocalBackend(node), history))];
    return await Promise.race([stopped, failed, ...seated]);
  } finally {
    history?.close();
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
  const stray = ["record", "timeout"].find((name) => given[name] !== undefined);
  if (serve && stray !== undefined) throw usage(`--${stray} is for terminals, not for --serve`);
  if (serve && words.length > 0) throw usage("--serve runs no command: leave out one of them");
  // A person at the prompt is not told of every election, unless asked for.
  const quiet = terminal.stdinIsTerminal && !serve && given.logLevel === undefined;
  const logLevel = quiet ? "warn" : flags.logLevel;
  return { ...flags, id: id!, listen: listen!, data: data!, logLevel };
}

function seatOf(context: AtmContext, prompt: string, interruptedStatus: number): Seat {
  const language = "atm";
  const options = {
    prompt,
    language,
    interruptedStatus,
    complete: completionsOf,
    readLines: readTextLines,
  };
  return new Seat(context, options);
}

function historyOf({ flags: { record } }: AtmContext): RecordFile | null {
  return record === undefined ? null : new RecordFile(record, "atm");
}

function deskOf({ flags }: AtmContext, backend: Backend, history: RecordFile | null): AtmDesk {
  const timeoutMs = flags.timeout;
  const options = { backend, clock: systemClock, unique: randomIdentity, timeoutMs };
  return new AtmDesk(
    history === null ? new AtmClient(options) : new RecordedAtmClient(options, history),
  );
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
