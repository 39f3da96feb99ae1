/**
 * Whole nodes (identity, log, sessions, joins) on virtual time, network and disks. Each disk
 * operation of one of them is counted, and the process may be ended right after any.
 */

import { assertEquals } from "@std/assert";
import { textOf, utf8 } from "../../lib/base/bytes.ts";
import { toTrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import type { NodeInfo } from "../../lib/raft/types.ts";
import { Node } from "../../lib/replica/node.ts";
import type { ProcessOptions } from "../../lib/replica/process.ts";
import type { StateMachine } from "../../lib/replica/state_machine.ts";
import { deploymentOptionsOf } from "../../lib/sim/deployment/options.ts";
import { Machine, type Program, type Surroundings } from "../../lib/sim/deployment/machine.ts";
import { MICROTASK_TURNS } from "../../lib/sim/deployment/simulation.ts";
import { Oracles } from "../../lib/sim/deployment/watched_host.ts";
import type { CrashKind, DiskState } from "../../lib/sim/disk.ts";
import { goodLinks, Links } from "../../lib/sim/links.ts";
import type { DiskOperation } from "../../lib/sim/process_disk.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";
import { SimStreams } from "../../lib/sim/streams.ts";
import { verifyDirectory } from "../../lib/storage/inspect.ts";
import type { Operation } from "./sweep.ts";

export const GROUP = "ledger";
export const FOUNDERS = ["k1", "k2", "k3"];
const SPARE = "k4";
const SEGMENT_BYTES = 700;
const PATIENCE_MS = 20_000;
const RESTART_MS = 50;

/** Remembers every command, in order. */
class Ledger implements StateMachine {
  lines: string[] = [];
  apply(command: Uint8Array): Uint8Array {
    this.lines.push(textOf(command));
    return utf8(String(this.lines.length));
  }
  query(): Uint8Array {
    return this.snapshot();
  }
  snapshot(): Uint8Array {
    return utf8(this.lines.join("\n"));
  }
  restore(snapshot: Uint8Array): void {
    this.lines = snapshot.length === 0 ? [] : textOf(snapshot).split("\n");
  }
}

const infoOf = (name: string): NodeInfo => ({ name, address: `${name}:7000` });

class LedgerMachine extends Machine {
  node: Node | null = null;

  protected override launch(options: ProcessOptions): Program {
    const node = Node.start({
      ...options,
      group: GROUP,
      machine: () => new Ledger(),
      peers: FOUNDERS.map(infoOf),
      segmentBytes: SEGMENT_BYTES,
      takeoverMs: 5_000,
    });
    this.node = node;
    return { server: node.process, stop: () => node.stop() };
  }

  get lines(): readonly string[] {
    return (this.node!.machine as Ledger).lines;
  }
}

export interface CrashPlan {
  /** Name of the node whose operations are counted. */
  readonly victim: string;
  /** Its process ends after so many operations; null: never. */
  readonly after: number | null;
  readonly how: CrashKind;
}

/** The planned crash happened: the rest of a script is not played. */
export class Crashed extends Error {}

export class CrashWorld implements Surroundings {
  readonly scheduler = new Scheduler(MICROTASK_TURNS);
  readonly oracles = new Oracles();
  readonly options = deploymentOptionsOf(1, {
    heartbeatMs: 50,
    electionTimeoutMs: 300,
    links: goodLinks,
    clockError: 0,
    turnMs: 0.1,
    syncMs: [0.2, 0.8],
  });
  readonly links: Links;
  readonly streams: SimStreams;
  readonly machines: readonly LedgerMachine[];
  /** Operations of the victim so far. */
  readonly operations: Operation[] = [];
  /** Commands that were acknowledged, in that order. */
  readonly acknowledged: string[] = [];
  /** Nodes that refused to start on what their disk held, and were given an empty one. */
  readonly replaced = new Set<string>();
  crashed = false;
  stage = "founding";
  private sent = 0;
  private failure: unknown = null;
  private readonly expectedToEnd = new Set<string>();

  constructor(readonly plan: CrashPlan, seed = 7) {
    const random = new Prng(seed);
    this.links = new Links(random.fork(), goodLinks);
    this.streams = new SimStreams(this.links, random.fork());
    this.machines = [...FOUNDERS, SPARE].map((name) =>
      new LedgerMachine(name, infoOf(name).address, this, random.fork())
    );
    this.machine(plan.victim).onOperation = (operation, path) => this.did(operation, path);
    this.scheduler.afterEachStep(() => this.check());
  }

  machine(name: string): LedgerMachine {
    return this.machines.find((machine) => machine.name === name)!;
  }

  get members(): LedgerMachine[] {
    return FOUNDERS.map((name) => this.machine(name));
  }

  // What the machines report.

  ended(machine: Machine, error: unknown): void {
    machine.stop("kill");
    const { code } = toTrilogError(error);
    if (this.expectedToEnd.delete(machine.name) && code === "superseded") return;
    const mayBe = code === "corrupt" && machine.rotted.size > 0;
    if (!mayBe) this.failure ??= error;
    // Where the identity itself cannot be read, the operator replaces the disk.
    else if (machine.failedStarts > 0) {
      machine.wipe();
      this.replaced.add(machine.name);
    }
    this.startLater(machine);
  }

  touched(machine: Machine): void {
    for (const replica of machine.host?.replicas() ?? []) {
      this.oracles.of(replica.group).check(replica);
    }
  }

  private check(): void {
    this.oracles.throwIfBroken();
    if (this.failure !== null) throw this.failure;
  }

  private did(operation: DiskOperation, path: string): void {
    const { after, how, victim } = this.plan;
    this.operations.push({ stage: this.stage, operation, path });
    if (this.crashed || this.operations.length !== after) return;
    this.crashed = true;
    const machine = this.machine(victim);
    machine.stop(how);
    this.startLater(machine);
  }

  private startLater(machine: Machine): void {
    this.scheduler.after(RESTART_MS, `start ${machine.name}`, () => machine.start());
  }

  // What a script does.

  /** Runs until something holds. Throws {@link Crashed} where the planned crash comes first. */
  async until(what: string, holds: () => boolean, withinMs = PATIENCE_MS): Promise<void> {
    const before = this.crashed;
    const stop = () => (this.crashed && !before) || holds();
    const ended = await this.scheduler.runUntil(this.scheduler.nowMs + withinMs, stop);
    if (this.crashed && !before) throw new Crashed();
    if (!ended) throw new Error(`not within ${withinMs} ms of virtual time: ${what}\n${this}`);
  }

  async settle<T>(what: string, promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise.then(done, done);
    await this.until(what, () => settled);
    return await promise;
  }

  /** Sends commands through a node, one after the other; each is acknowledged. */
  async send(count: number, through: string): Promise<void> {
    for (let at = 0; at < count; at += 1) {
      this.sent += 1;
      const line = `${String(this.sent).padStart(4, "0")} ${"x".repeat(60)}`;
      const { service } = this.machine(through).node!;
      await this.settle(`${line} is acknowledged`, service.command(utf8(line), PATIENCE_MS));
      this.acknowledged.push(line);
    }
  }

  get leader(): LedgerMachine | undefined {
    return this.machines.filter((machine) => {
      const replica = machine.running ? machine.node?.replica : null;
      return replica?.isLeader && replica.status().readReady;
    }).sort((left, right) => right.node!.replica!.raft.term - left.node!.replica!.raft.term)[0];
  }

  /** Has a node lead, whichever led before. */
  async lead(name: string): Promise<void> {
    await this.until(`${name} leads`, () => {
      const { leader } = this;
      if (leader?.name === name) return true;
      const id = this.machine(name).replicaId;
      if (id !== null && leader?.node?.replica?.status().transferTo === null) {
        leader.node.replica.transferLeadership(id);
      }
      return false;
    });
  }

  /** Cuts a node off from the others, both ways. */
  isolate(name: string): void {
    for (const { name: other } of this.machines) {
      if (other === name) continue;
      this.links.cut(name, other);
      this.links.cut(other, name);
    }
  }

  startAll(): void {
    for (const machine of this.members) machine.start();
  }

  /** Waits until all three members vote and have applied the leader's whole log. */
  async level(): Promise<void> {
    await this.until("all three are level", () => {
      const replica = this.leader?.node?.replica;
      if (!replica) return false;
      const { voters, outgoing } = replica.raft.membership;
      const last = replica.raft.lastIndex;
      return outgoing.length === 0 && this.members.every((machine) => {
        const id = machine.replicaId;
        return id !== null && voters.includes(id) &&
          machine.node?.replica?.appliedIndex === last;
      });
    }, 3 * PATIENCE_MS);
  }

  /** A member of another name is added, joins, and is removed again. */
  async addAndRemove(): Promise<void> {
    const spare = this.machine(SPARE);
    const change = { name: SPARE, address: spare.address, replaces: null };
    const members = () => Object.values(this.leader!.node!.replica!.raft.membership.nodes);
    const { membership } = this.leader!.node!;
    await this.settle("added", membership.change({ ...change, action: "add" }, PATIENCE_MS));
    spare.start();
    await this.until("the spare votes", () => {
      const voters = this.leader?.node?.replica?.raft.membership.voters ?? [];
      return spare.replicaId !== null && voters.includes(spare.replicaId);
    });
    this.expectedToEnd.add(SPARE);
    await this.settle("removed", membership.change({ ...change, action: "remove" }, PATIENCE_MS));
    await this.until("the spare is out", () => !members().some(({ name }) => name === SPARE));
  }

  // What must hold.

  /**
   * After the script, or a crash in it: links heal, and whatever was acknowledged is on all three,
   * once and in one order; then again after a power loss of all three that keeps no unsynced byte.
   */
  async proveWhole(): Promise<void> {
    this.stage = "after the script";
    this.links.heal();
    this.expectedToEnd.add(SPARE);
    await this.proveLevel();
    for (const machine of this.members) machine.stop("lost");
    for (const machine of this.members) {
      const faults = verifyDirectory(machine.disk).filter(({ harmless }) => !harmless);
      assertEquals(faults, [], `what verify finds at ${machine.name}`);
      machine.start();
    }
    await this.proveLevel();
  }

  private async proveLevel(): Promise<void> {
    await this.until("a leader is there", () => this.leader !== undefined, 2 * PATIENCE_MS);
    await this.send(1, this.leader!.name);
    await this.level();
    const [first, ...others] = this.members.map(({ lines }) => lines);
    for (const other of others) assertEquals(other, first, "machines are equal");
    assertEquals(new Set(first).size, first.length, "each command is there once");
    const there = first.filter((line) => this.acknowledged.includes(line));
    assertEquals(there, this.acknowledged, "what was acknowledged is there, in order");
  }

  // What a medium may do.

  /** Contents of all disks; the processes have ended. */
  states(): ReadonlyMap<string, DiskState> {
    return new Map(this.members.map((machine) => [machine.name, machine.disk.snapshotState()]));
  }

  /** Puts contents on the disks, before anything was started. */
  restore(states: ReadonlyMap<string, DiskState>, acknowledged: readonly string[]): void {
    for (const [name, state] of states) this.machine(name).disk.restoreState(state);
    this.acknowledged.push(...acknowledged);
    this.sent = acknowledged.length + 100;
  }

  toString(): string {
    return this.machines.map(({ name, running, node, replicaId }) => {
      if (!running || node === null) return `${name} is down`;
      const { role, term, commit, applied, lastIndex } = node.status();
      return `${name} (${replicaId}) ${role} term ${term} commit ${commit} applied ${applied} ` +
        `last ${lastIndex}`;
    }).join("\n");
  }
}
