/** `trilog up`: a whole cluster on this machine, every server a process of its own. */

import { unlessAborted } from "../lib/base/abort.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { tableLines } from "../lib/cli/table.ts";
import { printError, type Terminal } from "../lib/cli/terminal.ts";
import { LocalCluster, passedFlags, type Plan, planCluster, whenReady } from "./local_cluster.ts";
import { readToken } from "./server_setup.ts";

export const command = defineCommand({
  name: "up",
  summary: "run a whole cluster on this machine",
  details: "Each manager and broker is a process of its own and may be killed. One that dies\n" +
    "comes back with --restart, or by the command that is printed. Started again on\n" +
    "the same --data, the cluster has everything it had.",
  examples: ["trilog up", "trilog up --brokers 5 --data /var/tmp/trilog --restart"],
  interruption: "server",
  flags: {
    data: { type: "path", default: "./trilog-data", help: "directory of all data and logs" },
    managers: { type: "integer", min: 1, max: 9, default: "3", help: "how many managers" },
    brokers: { type: "integer", min: 1, max: 90, default: "3", help: "how many brokers" },
    basePort: {
      type: "integer",
      min: 1_024,
      max: 65_000,
      default: "9000",
      help: "manager i listens on this + i, broker i on this + 100 + i",
    },
    restart: { type: "boolean", help: "start a server again when it dies" },
    ...passedFlags,
  },
  async run({ flags, given, json, terminal, signal }) {
    const plan = planCluster(flags, given);
    const cluster = new LocalCluster(terminal, flags.restart);
    try {
      const startedMs = systemClock.monotonicMs();
      const report = (text: string) => printError(terminal, text);
      const ready = cluster.start([...plan.managers, ...plan.brokers], report)
        .then(() => whenReady(plan, readToken(flags), report, startedMs));
      if (await aborted(signal, ready)) return 0;
      await showReady(plan, cluster, json, terminal);
      await aborted(signal, new Promise(() => {}));
      return 0;
    } finally {
      await cluster.stop();
    }
  },
});

async function showReady(
  plan: Plan,
  cluster: LocalCluster,
  json: boolean,
  terminal: Terminal,
): Promise<void> {
  const processes = [...plan.managers, ...plan.brokers].map((server) => {
    const { role, id, address, http } = server;
    return { role, id, address, ...(http === null ? {} : { http }), pid: cluster.pidOf(id) };
  });
  const bootstrap = plan.bootstrap.join(",");
  const rows = processes.map(({ role, id, address, http, pid }) => {
    return [role, id, address, http ?? "", pid];
  });
  const titles = ["ROLE", "ID", "ADDRESS", "HTTP", { title: "PID", align: "right" }] as const;
  const lines = json
    ? [JSON.stringify({ bootstrap, processes })]
    : [...tableLines(titles, rows), "ready"];
  const wait = terminal.write(new TextEncoder().encode(lines.map((line) => `${line}\n`).join("")));
  if (wait) await wait;
  await terminal.flush();
}

/** Waits for `work` or for the signal; tells whether the signal came first. */
async function aborted(signal: AbortSignal, work: Promise<unknown>): Promise<boolean> {
  return await unlessAborted(work.then(() => false), signal) ?? true;
}
