/**
 * Servers whose service is a list of what was applied, and what every scenario demands of them at
 * any moment: the same command at an index everywhere, no index left out.
 */

import { assert, fail } from "@std/assert";
import { textOf, utf8 } from "../../lib/base/bytes.ts";
import type { ApplyMessage } from "../../lib/module/mod.ts";
import { Fleet, T_MS } from "./fleet.ts";
import type { World } from "./world.ts";

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
  /** What it applied, from command 1 at position 0; a snapshot brings the commands before it. */
  applied: string[];
  /** Snapshots of other servers that it was given. */
  installed: number;
}

export interface ClusterOptions {
  readonly snapshots?: boolean;
  readonly reliable?: boolean;
}

export class RaftCluster extends Fleet {
  readonly members: Member[];
  /** Every command that any server ever applied. */
  private readonly history: string[] = [];
  private nextAsked = 0;

  constructor(world: World, size: number, private readonly options: ClusterOptions = {}) {
    super(world, size, options.reliable ?? true);
    this.members = this.ids.map(() => ({ applied: [], installed: 0 }));
    for (const id of this.ids) {
      this.start(id);
      this.connect(id);
    }
  }

  /** Starts a server, or starts it again with what its last life left; it is not yet connected. */
  start(id: number): void {
    this.crash(id);
    this.members[id].applied = [];
    let first = true;
    this.launch(id, (message) => {
      this.world.guard(() => this.apply(id, message, first));
      first = false;
      this.takeSnapshot(id, message);
    });
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
    const { applied } = this.members[id];
    this.raft(id).snapshot(message.index, utf8(JSON.stringify(applied)));
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
      const moved = this.ids.some((id) =>
        term !== null && this.isUp(id) && this.raft(id).getState().term > term
      );
      if (moved) return null;
    }
    return fail(`index ${index} was not applied by ${servers} servers`);
  }

  get installed(): number {
    return this.members.reduce((sum, { installed }) => sum + installed, 0);
  }
}
