/** `trilog kv`: a node of the key-value store, or a terminal of it. */

import { textOf } from "../lib/base/bytes.ts";
import { TrilogError } from "../lib/base/errors.ts";
import { limits } from "../lib/base/limits.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { randomIdentity } from "../lib/base/system_random.ts";
import { type Context, defineCommand } from "../lib/cli/command.ts";
import { memberFlags, nodeFlags } from "../lib/cli/common_flags.ts";
import { lineContent, readLines } from "../lib/cli/lines.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { formatDuration } from "../lib/cli/units.ts";
import { KvClient, KvRemoteBackend, SHORTEST_TIMEOUT_MS } from "../lib/kv/client.ts";
import { describeCommand, describeQuestion } from "../lib/kv/codec.ts";
import { KvDesk } from "../lib/kv/desk.ts";
import { Expirer } from "../lib/kv/expirer.ts";
import { completionsOf } from "../lib/kv/language.ts";
import { KvMachine } from "../lib/kv/machine.ts";
import { formatChange, helpLines } from "../lib/kv/results.ts";
import { WATCH_METHOD, Watching } from "../lib/kv/watching.ts";
import { Node, type NodeOptions } from "../lib/replica/node.ts";
import { RecordFile, recordFlag, recordLines } from "./record_file.ts";
import { RecordedKvClient } from "./recorded_clients.ts";
import { Seat } from "./seat.ts";
import { processOptions, type ServerFlags } from "./server_setup.ts";
import { newCaller } from "./caller.ts";
import { serve } from "./serving.ts";

/** The Raft group of every key-value store. */
const GROUP = "kv";

/** Assumed largest difference between the rates of two monotonic clocks: leases are so much shorter. */
const CLOCK_ERROR_RATIO = 0.01;

/** Characters of one line: a command with the largest key and value in base64, and room for words. */
const LINE_BYTES = 2 * (limits.keyBytes + limits.valueBytes);

const flags = {
  id: { type: "name", help: "name of this node, such as k1" },
  listen: { type: "address", help: "address for peers and clients alike; port 0 picks one" },
  peers: { type: "members", help: "every node of the store, this one included" },
  data: { type: "path", help: "directory of this node's own data" },
  reads: {
    type: "choice",
    choices: ["index", "lease", "stale"],
    default: "index",
    help: "answers come from any node that asked the leader, from the leader, from any node",
  },
  lease: {
    type: "duration",
    help: "with --reads lease, alike on all nodes (default: the election timeout)",
  },
  segmentBytes: {
    type: "size",
    min: limits.leastSegmentBytes,
    max: limits.segmentBytes,
    default: "16MiB",
    help: "size of a log segment; checkpoints are taken where one begins",
  },
  connect: { type: "addresses", help: "be a client of these nodes" },
  base64: { type: "boolean", help: "keys and values are base64, in commands and in results" },
  record: recordFlag,
  timeout: { type: "duration", default: "5s", help: "time for an answer, all repeats included" },
  ...memberFlags,
  ...nodeFlags,
} as const;

type KvContext = Context<typeof flags>;

export const command = defineCommand({
  name: "kv",
  summary: "run a node of the key-value store, or its client",
  details: [
    "With --connect commands come from the words after --, a terminal, or a pipe,",
    "one a line:",
    "",
    ...helpLines().map((line) => `  ${line}`),
    "",
    "get of a missing key prints nothing and exits 1. With --reads lease the leader",
    "answers from its own state and clock, whose rate may differ from the others' by",
    `${CLOCK_ERROR_RATIO * 100} %. A node never reads standard input.`,
    "",
    ...recordLines("kv", "get, set, delete and cas", "new keys"),
  ].join("\n"),
  examples: [
    "trilog kv --id k1 --listen 127.0.0.1:6001 --data ./k1" +
    " --peers k1=127.0.0.1:6001,k2=127.0.0.1:6002,k3=127.0.0.1:6003",
    "trilog kv --connect 127.0.0.1:6001,127.0.0.1:6002 -- set color blue --ttl 1h",
    "trilog kv --connect 127.0.0.1:6001 -- watch",
  ],
  flags,
  words: "one command, instead of a terminal",
  interruption: "server",
  run: (context) => context.flags.connect === undefined ? runNode(context) : runClient(context),
});

async function runClient(context: KvContext): Promise<number> {
  const { flags, given, json, terminal, signal } = context;
  const own = ["id", "listen", "peers", "data", "reads", "lease", "segmentBytes"];
  const stray = own.find((name) => given[name] !== undefined);
  if (stray !== undefined) throw usage(`--connect makes a client: leave out --${stray}`);
  if (flags.timeout < SHORTEST_TIMEOUT_MS) {
    throw usage(`--timeout must be at least ${formatDuration(SHORTEST_TIMEOUT_MS)}`);
  }
  const caller = newCaller(flags, "terminal");
  const backend = new KvRemoteBackend(caller, flags.connect!);
  const options = { backend, clock: systemClock, unique: randomIdentity, timeoutMs: flags.timeout };
  const history = flags.record === undefined ? null : new RecordFile(flags.record, "kv");
  const desk = new KvDesk({
    client: history === null ? new KvClient(options) : new RecordedKvClient(options, history),
    base64: flags.base64,
    show: (change) => terminal.print(formatChange(change, json, flags.base64)),
    signal,
  });
  const seat = new Seat(context, {
    prompt: "kv",
    language: "kv",
    interruptedStatus: exitStatus.interrupted,
    complete: completionsOf,
    readLines: readUtf8Lines,
  });
  try {
    const stopped = aborted(signal).then(() => exitStatus.interrupted);
    return await Promise.race([stopped, seat.serve(desk)]);
  } finally {
    history?.close();
    caller.close();
  }
}

async function runNode(context: KvContext): Promise<number> {
  const { terminal, signal } = context;
  const options = nodeOptions(context);
  return await serve(terminal, signal, (onFatal) => {
    const node = Node.start({ ...options, onFatal });
    const machine = node.machine as KvMachine;
    const { clock, logger } = options;
    const watching = new Watching({ clock, machine, replica: () => node.replica });
    node.process.rpc.handle(WATCH_METHOD, (params) => watching.serve(params));
    const expirer = new Expirer({
      clock,
      logger,
      machine,
      isLeader: () => node.replica?.isLeader === true,
      stampMs: () => node.replica?.stampMs() ?? 0,
      propose: (command) => node.service.command(command),
    });
    expirer.start();
    const stop = async () => {
      expirer.stop();
      await node.stop();
    };
    return { address: node.address, stop };
  });
}

function nodeOptions(context: KvContext): Omit<NodeOptions, "onFatal"> {
  const { flags, terminal } = context;
  const { peers, reads, segmentBytes } = flags;
  const serverFlags = checked(context);
  const leaseMs = leaseOf(context);
  return {
    ...processOptions(serverFlags, (line) => terminal.writeError(`${line}\n`)),
    group: GROUP,
    machine: () => new KvMachine(),
    peers: peers!,
    segmentBytes,
    takeoverMs: flags.takeoverAfter,
    reads,
    story: { command: describeCommand, question: describeQuestion },
    // Before a change of --reads this node may have promised a lease, and others still may ask.
    lease: {
      leaseMs,
      clockErrorRatio: CLOCK_ERROR_RATIO,
      formerLeaseMs: serverFlags.electionTimeout,
    },
  };
}

/** The flags that a node cannot do without, all there. */
function checked({ flags, words, given }: KvContext): ServerFlags {
  const { id, listen, peers, data } = flags;
  const needed = { "--id": id, "--listen": listen, "--peers": peers, "--data": data };
  const missing = Object.entries(needed).filter(([, value]) => value === undefined);
  if (missing.length > 0) {
    throw usage(`${missing.map(([name]) => name).join(", ")} missing (or --connect HOST:PORT)`);
  }
  if (!peers!.some(({ name }) => name === id)) throw usage(`--peers does not name ${id}`);
  if (words.length > 0) throw usage("a node runs no command: it takes --connect HOST:PORT");
  const stray = ["base64", "timeout", "record"].find((name) => given[name] !== undefined);
  if (stray !== undefined) throw usage(`--${stray} is for clients: it takes --connect HOST:PORT`);
  return { ...flags, id: id!, listen: listen!, data: data! };
}

/** Length of the leader's lease; 0: there is none, for none was asked for. */
function leaseOf({ flags }: KvContext): number {
  const { reads, lease, electionTimeout, raftHeartbeat } = flags;
  if (reads !== "lease") {
    if (lease !== undefined) throw usage("--lease needs --reads lease");
    return 0;
  }
  const leaseMs = lease ?? electionTimeout;
  if (leaseMs < 2 * raftHeartbeat) throw usage("--lease must be at least twice --raft-heartbeat");
  return leaseMs;
}

/** Lines of a pipe; throws `malformed` at one that is not UTF-8. */
async function* readUtf8Lines(
  input: ReadableStream<Uint8Array>,
): AsyncGenerator<string, void, void> {
  let number = 0;
  for await (const line of readLines(input, LINE_BYTES)) {
    number += 1;
    let text: string;
    try {
      text = textOf(lineContent(line));
    } catch {
      const message = `Cannot read line ${number}: it is not UTF-8 (--base64 takes any bytes)`;
      throw new TrilogError("malformed", message);
    }
    yield text.endsWith("\r") ? text.slice(0, -1) : text;
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function usage(state: string): TrilogError {
  return new TrilogError("usage", `Cannot run trilog kv: ${state}`);
}
