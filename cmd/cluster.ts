/** `trilog cluster`: the state of a queue cluster, moves of its partitions, and its upkeep. */

import { unlessAborted } from "../lib/base/abort.ts";
import { sleep } from "../lib/base/clock.ts";
import { toTrilogError, TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { exitStatus } from "../lib/cli/program.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import { roundedDuration } from "../lib/cli/units.ts";
import { wrapped } from "../lib/cli/width.ts";
import {
  type ClusterStatus,
  clusterStatusMethod,
  movePartitionMethod,
} from "../lib/client/protocol.ts";
import { backup, restore } from "./cluster_backup.ts";
import { drain, rebalance, remove } from "./cluster_brokers.ts";
import { managerCommands } from "./cluster_managers.ts";
import { recover } from "./cluster_recover.ts";
import {
  CLUSTER_STATES,
  clusterState,
  parsePartition,
  partitionRows,
  statusLines,
  statusObject,
} from "./cluster_view.ts";
import { type Ask, newRequestId, withManagers } from "./managers_client.ts";
import { waitUntilDone } from "./progress_line.ts";

const WATCH_MS = 1_000;
/** A look at a cluster in trouble must not take long. */
const LINEARIZABLE_MS = 4_000;
const STALE_MS = 2_000;
const CLEAR_SCREEN = "\x1b[H\x1b[2J";
/** Terminals that are narrower, or that do not know their width, get whole lines. */
const NARROWEST = 40;

const status = defineCommand({
  name: "status",
  summary: "show managers, brokers and topics",
  details:
    "Where no majority of the managers answers, shows the last state that one of them knows.\n" +
    "The exit status is 0 for HEALTHY and BUSY (partitions move or start), 1 for SUSPECT\n" +
    "(a broker is late or slow) and TROUBLE, 3 where no majority of the managers answers.",
  examples: ["trilog cluster status", "trilog cluster status --watch"],
  interruption: "graceful",
  flags: {
    watch: { type: "boolean", help: "show it again every second, until Ctrl-C" },
    ...bootstrapFlags,
    ...securityFlags,
  },
  run: ({ flags, json, terminal, signal }) =>
    withManagers(flags, async (ask) => {
      if (flags.watch) return await watchStatus(ask, json, terminal, signal);
      const [answer, stale] = await readStatus(ask);
      const text = json
        ? JSON.stringify(statusObject(answer, stale))
        : statusLines(answer, stale, shownWidth(terminal)).join("\n");
      await terminal.print(text);
      return CLUSTER_STATES[clusterState(answer, stale)];
    }),
});

const move = defineCommand({
  name: "move",
  summary: "place the replicas of a partition by hand",
  details: "Waits until the move is done and shows how far it is. Ctrl-C ends the waiting, not\n" +
    "the move; the same command again waits on.",
  examples: [
    "trilog cluster move logs/0 --to b1,b2,b4",
    "trilog cluster move orders/3 --to b5,b1,b2 --json",
  ],
  interruption: "graceful",
  positionals: { partition: { help: "TOPIC/PARTITION", completion: "partition" } },
  flags: {
    to: { type: "names", required: true, help: "its brokers, the preferred leader first" },
    ...bootstrapFlags,
    ...securityFlags,
  },
  run: ({ flags, args, json, terminal, signal }) =>
    withManagers(flags, async (ask) => {
      const { topic, partition } = parsePartition(args.partition);
      const requestId = newRequestId();
      await ask(movePartitionMethod, { requestId, topic, partition, brokers: flags.to });
      const look = async () => {
        const { row, brokers } = await readPartition(ask, topic, partition);
        const { state, voters } = row;
        const dead = flags.to.filter((id) =>
          brokers.find((broker) => broker.id === id)?.alive === false
        );
        const waits = dead.length === 0 ? "" : `; it waits for ${dead.join(", ")}: dead`;
        const text = `${args.partition} is ${state}: on ${
          voters.join(", ") || "no broker"
        }${waits}`;
        const done = [...voters].sort().join() === [...flags.to].sort().join();
        return { text, done };
      };
      if (!await waitUntilDone(terminal, signal, look)) return 0;
      const { row } = await readPartition(ask, topic, partition);
      await terminal.print(
        json ? JSON.stringify(row) : `${args.partition} is on ${row.voters.join(", ")}`,
      );
      return 0;
    }),
});

export const command = defineCommand({
  name: "cluster",
  summary: "inspect and operate a queue cluster",
  examples: ["trilog cluster status", "trilog cluster move logs/0 --to b1,b2,b4"],
  subcommands: [
    status,
    drain,
    remove,
    rebalance,
    move,
    ...managerCommands,
    recover,
    backup,
    restore,
  ],
});

async function readPartition(ask: Ask, topic: string, partition: number) {
  const answer = await ask(clusterStatusMethod, { consistency: "linearizable" });
  const row = partitionRows(answer, topic).find((row) => row.partition === partition);
  if (row !== undefined) return { row, brokers: answer.brokers };
  throw new TrilogError("no_such_topic", `Cannot watch ${topic}/${partition}: it was deleted`);
}

/** What a look at the cluster brought, for people and as an object. */
interface Seen {
  readonly lines: readonly string[];
  readonly object: unknown;
  readonly answered: boolean;
}

/** Shows the status every second until the signal, also while no manager answers. */
async function watchStatus(
  ask: Ask,
  json: boolean,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<number> {
  let answeredMs = systemClock.monotonicMs();
  let known: readonly string[] = [];
  const silence = () =>
    `TROUBLE: no manager has answered for ` +
    roundedDuration(systemClock.monotonicMs() - answeredMs);
  const show = async (text: string) => {
    await terminal.print(text);
    await terminal.flush();
  };
  while (!signal.aborted) {
    const look = lookAt(ask, shownWidth(terminal));
    let seen = await within(WATCH_MS, look, signal);
    while (seen === null && !signal.aborted) {
      const lines = known.length === 0
        ? [silence()]
        : [`${silence()}; the state before that:`, "", ...known];
      if (terminal.stdoutIsTerminal && !json) await show(screen(lines, terminal));
      seen = await within(WATCH_MS, look, signal);
    }
    if (seen === null) break;
    if (seen.answered) {
      answeredMs = systemClock.monotonicMs();
      known = seen.lines;
    }
    const lines = seen.answered ? seen.lines : [silence(), "", ...seen.lines];
    await show(json ? JSON.stringify(seen.object) : screen(lines, terminal));
    await unlessAborted(sleep(systemClock, WATCH_MS), signal);
  }
  return exitStatus.done;
}

/** What `work` comes to; null after `limitMs` or when the signal comes first. */
async function within<T>(limitMs: number, work: Promise<T>, signal: AbortSignal) {
  const limit = sleep(systemClock, limitMs).then(() => null);
  return await unlessAborted(Promise.race([work, limit]), signal);
}

/** Never rejects. */
async function lookAt(ask: Ask, width: number): Promise<Seen> {
  try {
    const [answer, stale] = await readStatus(ask);
    const lines = statusLines(answer, stale, width);
    return { lines, object: statusObject(answer, stale), answered: true };
  } catch (thrown) {
    const { code, message } = toTrilogError(thrown);
    return { lines: [message], object: { state: "no_quorum", code, message }, answered: false };
  }
}

/** Lines that fit the screen, with what clears it; all of them where there is none. */
function screen(lines: readonly string[], terminal: Terminal): string {
  if (!terminal.stdoutIsTerminal) return lines.join("\n");
  // The newline after the last line takes a row of its own.
  const room = Math.max(2, terminal.rows() - 1);
  const rows = lines.flatMap((line) => wrapped(line, terminal.columns()));
  const fitting = rows.length <= room ? rows : [
    ...rows.slice(0, room - 1),
    `... ${rows.length - room + 1} more lines`,
  ];
  return CLEAR_SCREEN + fitting.join("\n");
}

/** The leader's answer, or without a quorum what some manager knows. */
async function readStatus(ask: Ask): Promise<[status: ClusterStatus, stale: boolean]> {
  try {
    const request = { consistency: "linearizable" } as const;
    return [await ask(clusterStatusMethod, request, LINEARIZABLE_MS), false];
  } catch (thrown) {
    const error = toTrilogError(thrown);
    if (!error.retryable) throw error;
    try {
      return [await ask(clusterStatusMethod, { consistency: "stale" }, STALE_MS), true];
    } catch {
      throw error;
    }
  }
}

/** Lines are cut to a terminal's width, never in a file or a pipe. */
function shownWidth(terminal: Terminal): number {
  if (!terminal.stdoutIsTerminal || terminal.columns() < NARROWEST) return Infinity;
  return terminal.columns();
}
