/**
 * Servers of the Raft module on one network: their lives, their disks and who can reach whom. At
 * any moment, two leaders in one term fail any scenario.
 */

import { assert, fail } from "@std/assert";
import {
  type ApplyMessage,
  make,
  MemoryPersister,
  Network,
  type RaftServer,
} from "../../lib/module/mod.ts";
import type { World } from "./world.ts";

/** T of the scenarios: twice that is long enough for anything that is going to happen. */
export const T_MS = 1000;

interface Machine {
  raft: RaftServer | null;
  persister: MemoryPersister;
  /** Machines of one group reach each other; null: reaches nobody. */
  group: number | null;
}

export class Fleet {
  readonly network: Network;
  private readonly machines: Machine[];
  private readonly leaders = new Map<number, number>();

  constructor(readonly world: World, readonly size: number, reliable: boolean) {
    this.network = new Network({ clock: world.clock, random: world.random.fork() });
    this.network.longDelays = true;
    this.network.reliable = reliable;
    this.machines = Array.from(
      { length: size },
      () => ({ raft: null, persister: new MemoryPersister(), group: null }),
    );
    world.watch(() => this.checkLeaders());
    world.onClose(() => this.ids.forEach((id) => this.crash(id)));
  }

  get ids(): number[] {
    return this.machines.map((_, id) => id);
  }

  raft(id: number): RaftServer {
    return this.machines[id].raft ?? fail(`server ${id} is down`);
  }

  isUp(id: number): boolean {
    return this.machines[id].raft !== null;
  }

  isConnected(id: number): boolean {
    return this.machines[id].group !== null;
  }

  persister(id: number): MemoryPersister {
    return this.machines[id].persister;
  }

  /** Starts a server, with what its last life left; links stay as they are. */
  protected launch(id: number, apply: (message: ApplyMessage) => void): RaftServer {
    const peers = this.ids.map((other) => this.network.end(`${id}`, `${other}`));
    const random = this.world.random.fork();
    const raft = make(peers, id, this.persister(id), apply, { clock: this.world.clock, random });
    this.machines[id].raft = raft;
    this.network.serve(`${id}`, (request) => raft.handle(request));
    return raft;
  }

  crash(id: number): void {
    const machine = this.machines[id];
    this.disconnect(id);
    this.network.remove(`${id}`);
    machine.raft?.kill();
    machine.raft = null;
    machine.persister = machine.persister.copy();
  }

  connect(id: number): void {
    this.join(id, 0);
  }

  disconnect(id: number): void {
    this.join(id, null);
  }

  /** Moves a server to a group: it reaches the others of that group, and nobody else. */
  join(id: number, group: number | null): void {
    this.machines[id].group = group;
    for (const other of this.ids) {
      const linked = group !== null && this.machines[other].group === group;
      this.network.enable(`${id}`, `${other}`, linked);
      this.network.enable(`${other}`, `${id}`, linked);
    }
  }

  private checkLeaders(): void {
    for (const [id, { raft }] of this.machines.entries()) {
      const state = raft?.getState();
      if (state === undefined || !state.isLeader) continue;
      const known = this.leaders.get(state.term);
      assert(known === undefined || known === id, `term ${state.term} has two leaders`);
      this.leaders.set(state.term, id);
    }
  }

  /** The connected server that leads in the newest term, or null. */
  leader(): number | null {
    let newest: { readonly id: number; readonly term: number } | null = null;
    for (const id of this.ids) {
      if (!this.isConnected(id) || !this.isUp(id)) continue;
      const { term, isLeader } = this.raft(id).getState();
      if (isLeader && term > (newest?.term ?? 0)) newest = { id, term };
    }
    return newest?.id ?? null;
  }

  /** The same; a leader must show within 5 s. */
  async checkOneLeader(): Promise<number> {
    for (let tries = 0; tries < 10; tries += 1) {
      await this.world.sleep(450 + this.world.random.below(100));
      const leader = this.leader();
      if (leader !== null) return leader;
    }
    return fail("no leader within 5 s");
  }

  /** The largest persistent Raft state of any server. */
  get stateBytes(): number {
    return Math.max(...this.machines.map(({ persister }) => persister.stateBytes));
  }

  get snapshotBytes(): number {
    return Math.max(...this.machines.map(({ persister }) => persister.snapshotBytes));
  }
}
