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
    // In half of the runs the replicas of a broker that is away are soon rebuilt elsewhere.
    const impatient = dice.chance(0.5) ? ["--time-to-dead", "2s", "--replace-after", "1s"] : [];
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

  /**
   * Waits until all brokers are alive, all partitions have all their replicas, and every replica
   * that rotted was made anew.
   */
  async whole(): Promise<void> {
    await this.fleet.eventually("a whole cluster", async () => {
      const { brokers, partitions } = await this.status();
      const alive = brokers.filter((broker) => broker.alive).length;
      const states = partitions.map(({ state }) => state);
      const rotten = this.fleet.servers.filter(({ process }) => isRotten(process)).length;
      const fine = rotten === 0 && states.every((state) => state === "ok");
      if (alive === this.brokers && fine) return true;
      throw new Error(`${alive} brokers live, partitions are ${states}, rot at ${rotten} servers`);
    }, COMMAND_MS);
  }

  async leader(): Promise<string | null> {
    const told = this.status().then(({ partitions }) => partitions[0].leader, () => null);
    return await Promise.race([told, sleep(LEADER_MS).then(() => null)]);
  }

  private async status(): Promise<Status> {
    // The exit status says how the cluster is.
    const { stdout, stderr } = await this.run("cluster", "status", "--json");
    if (stdout === "") throw new Error(`there is no status: ${stderr}`);
    return JSON.parse(stdout);
  }
}

/** Whether a broker has told of rot and not of a new replica in its stead. */
function isRotten(process: Running): boolean {
  const told = process.lines("stderr").filter((line) =>
    /a replica has rotted|hosting a new/.test(line)
  );
  const rotted = told.filter((line) => line.includes("rotted")).length;
  const first = told.findIndex((line) => line.includes("rotted"));
  return first >= 0 && told.length - first < 2 * rotted;
}

function ownWords({ name, address, advertised, data }: Place): string[] {
  return ["--id", name, "--listen", address, "--advertise", advertised, "--data", data];
}
