/** Managers and brokers of one run, with a topic. */

import { type Finished, type Harness, type Running, sleep } from "../e2e/harness.ts";
import type { Fleet, Place } from "./fleet.ts";
import type { Scene } from "./workload.ts";

const MANAGERS = 3;
const SEGMENT_BYTES = "256KiB";
/** A leader that is not found in this time is not aimed at. */
const LEADER_MS = 1_000;
/** A client command may have to wait for servers that are away. */
const COMMAND_MS = 90_000;

interface Status {
  readonly brokers: readonly { readonly alive: boolean }[];
  readonly partitions: readonly { readonly state: string; readonly leader: string | null }[];
}

export class QueueServers {
  private constructor(
    private readonly harness: Harness,
    private readonly fleet: Fleet,
    private readonly brokers: number,
    private readonly bootstrap: string,
  ) {}

  static async start({ harness, fleet, dice, nodes }: Scene): Promise<QueueServers> {
    const managers = Array.from({ length: MANAGERS }, (_, at) => fleet.place(`m${at + 1}`));
    const peers = managers.map(({ name, advertised }) => `${name}=${advertised}`).join(",");
    // In half of the runs a broker that is away for a moment counts as dead.
    const impatient = dice.chance(0.5) ? ["--time-to-dead", "2s"] : [];
    for (const place of managers) {
      await fleet.launch(place, ["manager", ...ownWords(place), "--peers", peers, ...impatient]);
    }
    const known = managers.map(({ advertised }) => advertised).join(",");
    for (let at = 1; at <= nodes; at += 1) {
      const place = fleet.place(`b${at}`);
      const rest = ["--managers", known, "--segment-bytes", SEGMENT_BYTES];
      await fleet.launch(place, ["broker", ...ownWords(place), ...rest]);
    }
    const bootstrap = managers.map(({ address }) => address).join(",");
    const servers = new QueueServers(harness, fleet, nodes, bootstrap);
    await servers.whole();
    return servers;
  }

  /** Starts a client command that goes on. */
  start(...words: string[]): Running {
    return this.harness.start(...words, "--bootstrap", this.bootstrap);
  }

  /** Runs a client command to its end. */
  async run(...words: string[]): Promise<Finished> {
    const process = this.start(...words);
    await process.endInput();
    const code = await process.status(COMMAND_MS);
    return { code, stdout: process.text("stdout"), stderr: process.text("stderr") };
  }

  /** Runs a client command that must succeed; gives what it printed. */
  async done(...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...words);
    if (code !== 0) throw new Error(`trilog ${words.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  }

  /** Waits until all brokers are alive and all partitions have all their replicas. */
  async whole(): Promise<void> {
    await this.fleet.eventually("a whole cluster", async () => {
      const { brokers, partitions } = await this.status();
      const alive = brokers.filter((broker) => broker.alive).length;
      const states = partitions.map(({ state }) => state);
      if (alive === this.brokers && states.every((state) => state === "ok")) return true;
      throw new Error(`${alive} brokers are alive, partitions are ${states}`);
    }, COMMAND_MS);
  }

  async leader(): Promise<string | null> {
    const told = this.status().then(({ partitions }) => partitions[0].leader, () => null);
    return await Promise.race([told, sleep(LEADER_MS).then(() => null)]);
  }

  private async status(): Promise<Status> {
    return JSON.parse(await this.done("cluster", "status", "--json"));
  }
}

function ownWords({ name, address, advertised, data }: Place): string[] {
  return ["--id", name, "--listen", address, "--advertise", advertised, "--data", data];
}
