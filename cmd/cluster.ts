/** `trilog cluster`: the state of a queue cluster. */

import { sleep } from "../lib/base/clock.ts";
import { toTrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import { type ClusterStatus, clusterStatusMethod } from "../lib/client/protocol.ts";
import { statusLines, statusObject } from "./cluster_view.ts";
import { type Ask, withManagers } from "./managers_client.ts";

const WATCH_MS = 1_000;
/** A look at a cluster in trouble must not take long. */
const LINEARIZABLE_MS = 4_000;
const STALE_MS = 2_000;
const CLEAR_SCREEN = "\x1b[H\x1b[2J\x1b[3J";

const status = defineCommand({
  name: "status",
  summary: "show managers, brokers and topics",
  details: "Where no majority of the managers answers, shows what one of them knew last.",
  examples: ["trilog cluster status", "trilog cluster status --watch"],
  interruption: "graceful",
  flags: {
    watch: { type: "boolean", help: "show it again every second, until Ctrl-C" },
    ...bootstrapFlags,
    ...securityFlags,
  },
  run: ({ flags, json, terminal, signal }) =>
    withManagers(flags, async (ask) => {
      for (;;) {
        const [answer, stale] = await readStatus(ask);
        const text = json
          ? JSON.stringify(statusObject(answer, stale))
          : statusLines(answer, stale, shownWidth(terminal)).join("\n");
        const clear = flags.watch && !json && terminal.stdoutIsTerminal ? CLEAR_SCREEN : "";
        await terminal.print(clear + text);
        await terminal.flush();
        if (!flags.watch) return 0;
        await Promise.race([sleep(systemClock, WATCH_MS), aborted(signal)]);
        if (signal.aborted) return 0;
      }
    }),
});

export const command = defineCommand({
  name: "cluster",
  summary: "look after a queue cluster",
  examples: ["trilog cluster status", "trilog cluster status --json"],
  subcommands: [status],
});

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
  return terminal.stdoutIsTerminal ? terminal.columns() : Infinity;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
