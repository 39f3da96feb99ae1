/**
 * Some servers of the Raft module on one network, and what every scenario demands of them at any
 * moment: one leader in a term, the same command at an index everywhere, no index left out.
 */

import { assert, fail } from "@std/assert";
import { textOf, utf8 } from "../../lib/base/bytes.ts";
import {
  type ApplyMessage,
  make,
  MemoryPersister,
  Network,
  type Persister,
  type RaftServer,
} from "../../lib/module/mod.ts";
import type { World } from "./world.ts";

/** T of the scenarios: twice that is long enough for anything that is going to happen. */
export const T_MS = 1000;
/** `one` takes no longer. */
const AGREEMENT_MS = 10_000;
/** Commands between two snapshots, where the servers take any. */
export const SNAPSHOT_INTERVAL = 10;

export interface Committed {
  /** Servers that applied the index. */
  readonly count: number;
  readonly command: string | null;
}

interface Member {
  raft: RaftServer | null;
  persister: MemoryPersister;
  connected: boolean;
  /** What it applied, from command 1 at position 0; a snapshot brings the commands before it. */
  applied: string[];
  /** Snapshots of other servers that it was given. */
  installed: number;
}

export interface ClusterOptions {
  readonly snapshots?: boolean;
  readonly reliable?: boolean;
}

export class RaftCluster {
  readonly network: Network;
  readonly members: Member[] = [];
  readonly size: number;
  private readonly leaders = new Map<number, number>();
  /** Every command that any server ever applied. */
  private readonly history: string[] = [];
  private nextAsked = 0;

  constructor(
    readonly world: World,
    size: number,
    private readonly options: ClusterOptions = {},
  ) {
    this.size = size;
    this.network = new Network({ clock: world.clock, random: world.random.fork() });
    this.network.longDelays = true;
    this.network.reliable = options.reliable ?? true;
    for (let id = 0; id < size; id += 1) {
      const persister = new MemoryPersister();
      this.members.push({ raft: null, persister, connected: false, applied: [], installed: 0 });
    }
    for (const id of this.ids) {
      this.start(id);
      this.connect(id);
    }
    world.watch(() => this.checkLeaders());
    world.onClose(() => this.ids.forEach((id) => this.crash(id)));
  }

  get ids(): number[] {
    return this.members.map((_, id) => id);
  }

  raft(id: number): RaftServer {
    return this.members[id].raft ?? fail(`server ${id} is down`);
  }

  isUp(id: number): boolean {
    return this.members[id].raft !== null;
  }

  /** Starts a server, or starts it again with what its last life left; it is not yet connected. */
  start(id: number): void {
    this.crash(id);
    const member = this.members[id];
    const persister: Persister = member.persister;
    const peers = this.ids.map((other) => this.network.end(`${id}`, `${other}`));
    member.applied = [];
    let first = true;
    const raft = make(peers, id, persister, (message) => {
      this.world.guard(() => this.apply(id, message, first));
      first = false;
      this.takeSnapshot(id, message);
    }, { clock: this.world.clock, random: this.world.random.fork() });
    member.raft = raft;
    this.network.serve(`${id}`, (request) => raft.handle(request));
  }

  crash(id: number): void {
    const member = this.members[id];
    this.disconnect(id);
    this.network.remove(`${id}`);
    member.raft?.kill();
    member.raft = null;
    member.persister = member.persister.copy();
  }

  connect(id: number): void {
    this.members[id].connected = true;
    this.updateLinks(id);
  }

  disconnect(id: number): void {
    this.members[id].connected = false;
    this.updateLinks(id);
  }

  isConnected(id: number): boolean {
    return this.members[id].connected;
  }

  private updateLinks(id: number): void {
    for (const other of this.ids) {
      const both = this.isConnected(id) && this.isConnected(other);
      this.network.enable(`${id}`, `${other}`, both);
      this.network.enable(`${other}`, `${id}`, both);
    }
  }

  private apply(id: number, message: ApplyMessage, first: boolean): void {
    const member = this.members[id];
    if (message.kind === "snapshot") {
      const commands = JSON.parse(textOf(message.snapshot)) as string[];
      assert(commands.length === message.index, `server ${id}: a snapshot of another index`);
      assert(message.index > member.applied.length, `server ${id} goes back to ${message.index}`);
      if (!first) member.installed += 1;
      member.applied = commands;
      commands.forEach((command, at) => this.checkCommand(id, at + 1, command));
      return;
    }
    const { index } = message;
    const command = textOf(message.command);
    const previous = member.applied.length;
    assert(index === previous + 1, `server ${id} applies ${index} after ${previous}`);
    member.applied.push(command);
    this.checkCommand(id, index, command);
  }

  private checkCommand(id: number, index: number, command: string): void {
    this.history[index - 1] ??= command;
    const known = this.history[index - 1];
    assert(known === command, `server ${id} applies ${command} at ${index}, others ${known}`);
  }

  private takeSnapshot(id: number, message: ApplyMessage): void {
    if (this.options.snapshots !== true || message.kind !== "command") return;
    if (message.index % SNAPSHOT_INTERVAL !== 0) return;
    const { raft, applied } = this.members[id];
    raft!.snapshot(message.index, utf8(JSON.stringify(applied)));
  }

  /** Two leaders in one term fail any scenario, connected or not. */
  private checkLeaders(): void {
    for (const id of this.ids) {
      const state = this.members[id].raft?.getState();
      if (state === undefined || !state.isLeader) continue;
      const known = this.leaders.get(state.term);
      assert(known === undefined || known === id, `term ${state.term} has two leaders`);
      this.leaders.set(state.term, id);
    }
  }

  /** The leader of the newest term among the connected servers; it must show within 5 s. */
  async checkOneLeader(): Promise<number> {
    for (let tries = 0; tries < 10; tries += 1) {
      await this.world.sleep(450 + this.world.random.below(100));
      const leaders = new Map<number, number[]>();
      for (const id of this.ids) {
        if (!this.isConnected(id) || !this.isUp(id)) continue;
        const { term, isLeader } = this.raft(id).getState();
        if (isLeader) leaders.set(term, [...leaders.get(term) ?? [], id]);
      }
      const newest = Math.max(...leaders.keys());
      for (const [term, ids] of leaders) {
        assert(ids.length === 1, `term ${term} has ${ids.length} leaders`);
      }
      if (leaders.size > 0) return leaders.get(newest)![0];
    }
    return fail("no leader within 5 s");
  }

  checkNoLeader(): void {
    for (const id of this.ids) {
      if (!this.isConnected(id)) continue;
      assert(!this.raft(id).getState().isLeader, `server ${id} leads without a majority`);
    }
  }

  /** The term that all connected servers are in. */
  checkTerms(): number {
    const terms = this.ids.filter((id) => this.isConnected(id))
      .map((id) => this.raft(id).getState().term);
    assert(terms.every((term) => term === terms[0]), `the servers' terms are ${terms.join()}`);
    return terms[0];
  }

  /** How many servers applied a command at `index`, and which. */
  committed(index: number): Committed {
    let count = 0;
    for (const { applied } of this.members) {
      if (applied.length >= index) count += 1;
    }
    return { count, command: this.history[index - 1] ?? null };
  }

  checkNotCommitted(index: number): void {
    const { count } = this.committed(index);
    assert(count === 0, `${count} servers committed ${index} without a majority`);
  }

  /** Starts a command at a server that must lead, and checks the index that it gets. */
  startAt(id: number, command: string, ...expected: number[]): number {
    const { index, isLeader } = this.raft(id).start(utf8(command));
    assert(isLeader, `server ${id} refuses a command`);
    assert(
      expected.length === 0 || expected.includes(index),
      `the command got index ${index} instead of ${expected.join(" or ")}`,
    );
    return index;
  }

  /** Starts a command at whichever connected server takes it; 0 where none does. */
  private startAnywhere(command: string): number {
    for (let tries = 0; tries < this.size; tries += 1) {
      this.nextAsked = (this.nextAsked + 1) % this.size;
      if (!this.isConnected(this.nextAsked) || !this.isUp(this.nextAsked)) continue;
      const { index, isLeader } = this.raft(this.nextAsked).start(utf8(command));
      if (isLeader) return index;
    }
    return 0;
  }

  /**
   * Within 10 s, `servers` of them apply `command`; returns its index. With `retry`, a command
   * that got lost with its leader is started again.
   */
  async one(command: string, servers: number, retry = false): Promise<number> {
    const { world } = this;
    const deadlineMs = world.nowMs + AGREEMENT_MS;
    while (world.nowMs < deadlineMs) {
      const index = this.startAnywhere(command);
      if (index === 0) {
        await world.sleep(50);
        continue;
      }
      const patienceMs = world.nowMs + 2 * T_MS;
      while (world.nowMs < patienceMs) {
        const { count, command: found } = this.committed(index);
        if (count >= servers && found === command) return index;
        await world.sleep(20);
      }
      if (!retry) break;
    }
    return fail(`no agreement on ${command} by ${servers} servers`);
  }

  /** A new command that no other is equal to. */
  anyCommand(): string {
    return `${this.world.random.nextUint32()}`;
  }

  /** What `servers` of them applied at `index`; null where `term` ended before. */
  async wait(index: number, servers: number, term: number | null = null): Promise<string | null> {
    let delayMs = 10;
    for (let tries = 0; tries < 30; tries += 1) {
      const { count, command } = this.committed(index);
      if (count >= servers) return command;
      await this.world.sleep(delayMs);
      delayMs = Math.min(T_MS, 2 * delayMs);
      const moved = this.members.some(({ raft }) =>
        term !== null && raft !== null && raft.getState().term > term
      );
      if (moved) return null;
    }
    return fail(`index ${index} was not applied by ${servers} servers`);
  }

  /** The largest persistent Raft state of any server. */
  get stateBytes(): number {
    return Math.max(...this.members.map(({ persister }) => persister.stateBytes));
  }

  get installed(): number {
    return this.members.reduce((sum, { installed }) => sum + installed, 0);
  }
}
