/** A whole cluster as processes of this machine: which there are, started, watched and stopped. */

import { join } from "@std/path";
import { ensureDirSync } from "@std/fs";
import { sleep } from "../lib/base/clock.ts";
import { toTrilogError, TrilogError } from "../lib/base/errors.ts";
import { listed } from "../lib/base/listed.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { Child, type ChildSpec, commandLine } from "../lib/cli/children.ts";
import { nodeFlags } from "../lib/cli/common_flags.ts";
import { flagName } from "../lib/cli/flags.ts";
import { printError, type Terminal } from "../lib/cli/terminal.ts";
import { Client } from "../lib/client/client.ts";
import { stateOf } from "../lib/base/failures.ts";
import { ownFlags as brokerFlags } from "./broker.ts";
import { ownFlags as managerFlags } from "./manager.ts";

const HOST = "127.0.0.1";
const BROKERS_FROM = 100;
/** A manager's HTTP API is this far above its port. */
const HTTP_FROM = 200;
const READY_MS = 60_000;
/** Time for one look at whether the cluster is ready. */
const REFRESH_MS = 2_000;
/** A start that takes longer says what it waits for. */
const REPORT_AFTER_MS = 2_000;
const STOP_GRACE_MS = 5_000;
const RESTART_PAUSE_MS = 500;

const { advertise: _, ...sharedFlags } = nodeFlags;

/** Flags of managers and brokers that are passed on to them. */
export const passedFlags = { ...managerFlags, ...brokerFlags, ...sharedFlags } as const;

export interface Server extends ChildSpec {
  readonly role: "manager" | "broker";
  readonly address: string;
  /** Of a manager's HTTP API. */
  readonly http: string | null;
}

export interface Plan {
  readonly managers: readonly Server[];
  readonly brokers: readonly Server[];
  /** Addresses of all managers. */
  readonly bootstrap: readonly string[];
}

export interface PlanFlags {
  readonly data: string;
  readonly managers: number;
  readonly brokers: number;
  readonly basePort: number;
}

/** The servers that the flags ask for; `given`: flags to pass on, as they were typed. */
export function planCluster(flags: PlanFlags, given: Readonly<Record<string, string>>): Plan {
  ensureDirSync(join(flags.data, "logs"));
  const managers = named("m", flags.managers, flags.basePort);
  const brokers = named("b", flags.brokers, flags.basePort + BROKERS_FROM);
  const bootstrap = managers.map(({ address }) => address);
  const peers = managers.map(({ id, address }) => `${id}=${address}`).join(",");
  const server = (
    role: Server["role"],
    { id, address, http }: Named,
    more: string[],
  ): Server => {
    const data = join(flags.data, id);
    const words = [role, "--id", id, "--listen", address, "--data", data, ...more];
    if (http !== undefined) words.push("--http", http);
    const logFile = join(flags.data, "logs", `${id}.log`);
    return { role, id, address, http: http ?? null, words, logFile };
  };
  const managerWords = passedOn(given, { ...managerFlags, ...sharedFlags });
  const brokerWords = passedOn(given, { ...brokerFlags, ...sharedFlags });
  return {
    managers: managers.map((named, at) => {
      const http = `${HOST}:${flags.basePort + HTTP_FROM + at + 1}`;
      return server("manager", { ...named, http }, ["--peers", peers, ...managerWords]);
    }),
    brokers: brokers.map((named) =>
      server("broker", named, ["--managers", bootstrap.join(","), ...brokerWords])
    ),
    bootstrap,
  };
}

interface Named {
  readonly id: string;
  readonly address: string;
  readonly http?: string;
}

function named(prefix: string, count: number, port: number): Named[] {
  return Array.from({ length: count }, (_, at) => ({
    id: `${prefix}${at + 1}`,
    address: `${HOST}:${port + at + 1}`,
  }));
}

/** The words for those of `names` that were given. */
function passedOn(given: Readonly<Record<string, string>>, names: object): string[] {
  return Object.entries(given).filter(([name]) => Object.hasOwn(names, name))
    .map(([name, text]) => `--${flagName(name)}=${text}`);
}

/** The processes that run, and what to do about those that die. */
export class LocalCluster {
  private readonly children = new Map<string, Child>();
  private stopping = false;

  constructor(private readonly terminal: Terminal, private readonly restart: boolean) {}

  pidOf(id: string): number {
    return this.children.get(id)?.pid ?? 0;
  }

  /** kill -9 of one server. */
  kill(id: string): void {
    this.children.get(id)?.kill();
  }

  /** Resolves when all of them listen; where that takes long, `report` gets what is missing. */
  async start(
    servers: readonly Server[],
    report: (text: string) => void = () => {},
  ): Promise<void> {
    const missing = new Set(servers.map(({ id }) => id));
    const timer = systemClock.after(REPORT_AFTER_MS, () => {
      report(`waiting: ${listed([...missing])} not listening yet`);
    });
    try {
      await Promise.all(servers.map(async (server) => {
        await this.startOne(server);
        missing.delete(server.id);
      }));
    } finally {
      timer.cancel();
    }
  }

  async stop(): Promise<void> {
    this.stopping = true;
    const children = [...this.children.values()];
    await Promise.all(children.map((child) => child.stop(systemClock, STOP_GRACE_MS)));
  }

  private async startOne(server: Server): Promise<void> {
    if (this.stopping) return;
    const child = new Child(server);
    this.children.set(server.id, child);
    const listening = child.listening();
    await listening;
    void child.ended.then(({ code, signal }) => this.died(server, signal ?? `status ${code}`));
  }

  private died(server: Server, how: string): void {
    if (this.stopping) return;
    printError(this.terminal, `${server.id} has ended (${how}); its log: ${server.logFile}`);
    if (!this.restart) {
      printError(this.terminal, `start it again: ${commandLine(server)}`);
      return;
    }
    const again = () =>
      this.startOne(server).then(
        () => printError(this.terminal, `${server.id} is back: process ${this.pidOf(server.id)}`),
        (error) => {
          printError(this.terminal, String(error instanceof Error ? error.message : error));
          this.died(server, "it did not start");
        },
      );
    systemClock.after(RESTART_PAUSE_MS, () => void again());
  }
}

/**
 * Resolves when the managers have a leader and every broker is registered and alive. Where that
 * takes long from `startedMs` on, `report` gets what is missing, once for each change.
 */
export async function whenReady(
  plan: Plan,
  token: string,
  report: (text: string) => void = () => {},
  startedMs: number = systemClock.monotonicMs(),
): Promise<void> {
  const client = Client.unconnected({ bootstrap: plan.bootstrap, token });
  let reported = "";
  try {
    for (;;) {
      const missing = await missingServers(client, plan);
      if (missing === null) return;
      const tookMs = systemClock.monotonicMs() - startedMs;
      if (tookMs > READY_MS) {
        throw new TrilogError("unavailable", `Cannot bring the cluster up: ${missing}`);
      }
      if (tookMs > REPORT_AFTER_MS && missing !== reported) {
        report(`waiting: ${missing}`);
        reported = missing;
      }
      await sleep(systemClock, 50);
    }
  } finally {
    client.close();
  }
}

/** What keeps the cluster from being ready, for people; null: nothing. */
async function missingServers(client: Client, plan: Plan): Promise<string | null> {
  try {
    const { brokers } = await client.refresh(REFRESH_MS);
    const alive = new Set(brokers.filter((broker) => broker.alive).map(({ id }) => id));
    const missing = plan.brokers.filter(({ id }) => !alive.has(id)).map(({ id }) => id);
    return missing.length === 0 ? null : `${listed(missing)} not registered yet`;
  } catch (thrown) {
    const error = toTrilogError(thrown);
    if (!error.retryable) throw error;
    return stateOf(error);
  }
}
