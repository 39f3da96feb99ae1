/** The servers of a bank or a key-value store: one Raft group, a terminal at each of its nodes. */

import { sleep } from "../e2e/harness.ts";
import type { Fleet } from "./fleet.ts";
import { Terminal } from "./terminal.ts";
import type { Scene } from "./workload.ts";

/** Small, so that logs are trimmed and laggards get snapshots. */
const SEGMENT_BYTES = "256KiB";
/** A leader that is not found in this time is not aimed at. */
const LEADER_MS = 500;
/** Entries that a node may lack while clients go on. */
const LAG = 100;
const HEARD_MS = 1_000;
const PATIENCE_MS = 60_000;

interface Status {
  readonly id: string;
  readonly role: string;
  readonly term: number;
  readonly members: readonly Member[];
}

/** A node as the leader knows it; of itself it knows neither lag nor when it heard it. */
interface Member {
  readonly name: string;
  readonly role: string;
  readonly lag: number | null;
  readonly heardMs: number | null;
}

function isWhole({ name, role, lag, heardMs }: Member, leader: string): boolean {
  if (role !== "voter") return false;
  return name === leader || (lag !== null && lag < LAG && heardMs !== null && heardMs < HEARD_MS);
}

export class GroupServers {
  private constructor(
    private readonly fleet: Fleet,
    /** One at each node, in the order of the nodes. */
    readonly terminals: readonly Terminal[],
    private readonly anywhere: Terminal,
  ) {}

  static async start(
    { harness, fleet, nodes }: Scene,
    command: "atm" | "kv",
  ): Promise<GroupServers> {
    const letter = command[0];
    const places = Array.from({ length: nodes }, (_, at) => fleet.place(`${letter}${at + 1}`));
    const peers = places.map(({ name, advertised }) => `${name}=${advertised}`).join(",");
    for (const place of places) {
      const { name, address, advertised, data } = place;
      const own = ["--id", name, "--listen", address, "--advertise", advertised, "--data", data];
      const serve = command === "atm" ? ["--serve"] : [];
      const rest = ["--peers", peers, "--segment-bytes", SEGMENT_BYTES, ...serve];
      await fleet.launch(place, [command, ...own, ...rest]);
    }
    await Promise.all(fleet.servers.map((server) => fleet.listening(server)));
    const addresses = places.map(({ address }) => address);
    const terminals = addresses.map((address) => new Terminal(harness, command, [address]));
    return new GroupServers(fleet, terminals, new Terminal(harness, command, addresses));
  }

  async leader(): Promise<string | null> {
    const told = this.anywhere.ask("status").then(({ leader }) => leader ?? null);
    return await Promise.race([told, sleep(LEADER_MS).then(() => null)]);
  }

  /**
   * Waits until the leader hears every node as a voter that lacks no more than a little. Clients
   * must be at work: in a group at rest nobody is heard.
   */
  async whole(): Promise<void> {
    await this.fleet.eventually("all servers to be voters", async () => {
      const told = await Promise.all(this.terminals.map((terminal) => terminal.ask("status")));
      const leaders = (told as Status[]).filter(({ role }) => role === "leader");
      const leader = leaders.sort((left, right) => right.term - left.term)[0];
      if (leader === undefined) throw new Error("nobody leads");
      const fine = leader.members.filter((member) => isWhole(member, leader.id));
      if (fine.length === this.terminals.length) return true;
      throw new Error(JSON.stringify(leader.members));
    }, PATIENCE_MS);
  }

  /** Waits until every node has applied the same entries and follows the same leader. */
  async level(): Promise<void> {
    await this.fleet.eventually("all servers to be level", async () => {
      const all = await Promise.all(this.terminals.map((terminal) => terminal.ask("status")));
      const stands = all.map(({ applied, leader }) => `${leader} ${applied}`);
      if (all[0].leader !== null && new Set(stands).size === 1) return true;
      throw new Error(stands.join(", "));
    }, PATIENCE_MS);
  }
}
