/**
 * Some cores in one process. Nothing happens by itself: the test moves the time, delivers
 * messages, answers for the disk and for the state machine, and crashes nodes. Every step of
 * every test runs through here, with all invariants checked before and after.
 */

import { assert } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { Prng } from "../../lib/base/prng.ts";
import { ClusterInvariants } from "../../lib/raft/cluster_invariants.ts";
import { checkReady, checkState, checkTransition } from "../../lib/raft/invariants.ts";
import { Raft } from "../../lib/raft/raft.ts";
import type {
  Entry,
  Index,
  Input,
  MembershipTarget,
  Message,
  Outcome,
  RaftOptions,
  RaftStatus,
  Ready,
  ReplicaId,
  SnapshotMeta,
} from "../../lib/raft/types.ts";
import {
  blankDisk,
  type Durable,
  ELECTION_MS,
  initialOf,
  membershipOf,
  optionsOf,
  persist,
} from "./disks.ts";

export class TestNode {
  readonly id: ReplicaId;
  readonly options: RaftOptions;
  raft!: Raft;
  disk: Durable;
  /** Readys taken whose content is not yet durable, oldest first. */
  unsynced: Ready[] = [];
  /** Entries handed out and not yet reported as applied. */
  unapplied: Entry[] = [];
  fetches: Ready["fetches"][number][] = [];
  snapshotsToSend: ReplicaId[] = [];
  /** Everything ever applied by this incarnation, in order. */
  applied: Entry[] = [];
  outcomes: Outcome[] = [];
  alive = true;

  constructor(options: RaftOptions, disk: Durable) {
    this.id = options.id;
    this.options = options;
    this.disk = disk;
  }

  get status(): RaftStatus {
    return this.raft.status();
  }

  outcome(requestId: number): Outcome | undefined {
    return this.outcomes.findLast((outcome) => outcome.requestId === requestId);
  }
}

export interface ClusterOptions {
  readonly voters?: readonly ReplicaId[];
  readonly learners?: readonly ReplicaId[];
  /** Nodes that start blank, outside the membership. */
  readonly blanks?: readonly ReplicaId[];
  readonly options?: Partial<RaftOptions>;
  readonly optionsById?: Readonly<Record<ReplicaId, Partial<RaftOptions>>>;
  readonly seed?: number;
  readonly disks?: Readonly<Record<ReplicaId, Durable>>;
}

export class Cluster {
  nowMs = 0;
  readonly nodes: Map<ReplicaId, TestNode> = new Map();
  /** Messages under way, oldest first. */
  network: Message[] = [];
  readonly invariants = new ClusterInvariants();
  readonly random: Prng;
  /** Directed links that lose everything: `from>to`. */
  readonly cut: Set<string> = new Set();
  /** How fast nodes' clocks go, where not at the speed of `nowMs`. */
  readonly clockRates: Map<ReplicaId, number> = new Map();
  onReady: (node: TestNode, ready: Ready) => void = () => {};
  onDeliver: (message: Message) => void = () => {};
  private requests = 0;
  /** For every read asked for: the highest commit index that any node knew then. */
  private readonly floors: Map<number, Index> = new Map();

  constructor(setup: ClusterOptions = {}) {
    const voters = setup.voters ?? ["1", "2", "3"];
    const learners = setup.learners ?? [];
    const membership = membershipOf(voters, learners);
    this.random = new Prng(setup.seed ?? 1);
    for (const id of [...voters, ...learners, ...(setup.blanks ?? [])]) {
      const disk = setup.disks?.[id] ??
        blankDisk(setup.blanks?.includes(id) ? membershipOf([]) : membership);
      const options = optionsOf(id, { ...setup.options, ...setup.optionsById?.[id] });
      const node = new TestNode(options, disk);
      this.nodes.set(id, node);
      this.seedInvariants(node);
      this.boot(node);
    }
  }

  /** Logs that a test starts with were written by somebody: tell the observer. */
  private seedInvariants(node: TestNode): void {
    this.invariants.started(node.id, initialOf({ ...node.disk, entries: [] }));
    this.invariants.took(node.id, {
      sequence: 0,
      hardState: null,
      mustSync: true,
      snapshot: null,
      entries: node.disk.entries,
      messages: [],
      messagesAfterSync: [],
      committed: [],
      fetches: [],
      snapshotsToSend: [],
      outcomes: [],
    });
  }

  private boot(node: TestNode): void {
    const initial = initialOf(node.disk);
    node.raft = new Raft(node.options, initial, this.random.fork());
    this.invariants.started(node.id, initial);
    checkState(node.status);
  }

  node(id: ReplicaId): TestNode {
    return this.nodes.get(id)!;
  }

  status(id: ReplicaId): RaftStatus {
    return this.node(id).status;
  }

  /** One input to one node. */
  step(id: ReplicaId, input: Input): void {
    const node = this.node(id);
    if (!node.alive) return;
    const before = node.status;
    node.raft.step(input, this.nowMs * (this.clockRates.get(id) ?? 1));
    const after = node.status;
    checkState(after);
    checkTransition(before, after, input);
    this.invariants.observe(after);
  }

  /** Takes a node's Ready: messages go to the network, the rest waits for the test. */
  take(id: ReplicaId): Ready | null {
    const node = this.node(id);
    if (!node.alive) return null;
    const ready = node.raft.takeReady();
    if (ready === null) return null;
    const status = node.status;
    checkState(status);
    checkReady(ready, status);
    this.invariants.took(id, ready);
    this.invariants.observe(status);
    this.send(ready.messages);
    if (ready.mustSync) node.unsynced.push(ready);
    else {
      this.invariants.synced(id, ready);
      this.send(ready.messagesAfterSync);
    }
    if (ready.snapshot !== null) {
      node.unapplied = [];
      node.applied = [];
    }
    node.unapplied.push(...ready.committed);
    node.fetches.push(...ready.fetches);
    node.snapshotsToSend.push(...ready.snapshotsToSend);
    node.outcomes.push(...ready.outcomes);
    this.checkReads(ready.outcomes);
    this.onReady(node, ready);
    return ready;
  }

  /** A linearizable read sees everything that was committed when it was asked for. */
  private checkReads(outcomes: readonly Outcome[]): void {
    for (const outcome of outcomes) {
      if (outcome.kind !== "readable") continue;
      const floor = this.floors.get(outcome.requestId)!;
      assert(outcome.index >= floor, `a read at ${outcome.index} misses commit ${floor}`);
    }
  }

  private send(messages: readonly Message[]): void {
    for (const message of messages) {
      if (!this.cut.has(`${message.from}>${message.to}`)) this.network.push(message);
    }
  }

  /** The disk answers for the oldest `count` Readys. */
  sync(id: ReplicaId, count = Infinity): void {
    const node = this.node(id);
    const done = node.unsynced.splice(0, Math.min(count, node.unsynced.length));
    if (done.length === 0) return;
    for (const ready of done) {
      persist(node.disk, ready);
      this.invariants.synced(id, ready);
      this.send(ready.messagesAfterSync);
    }
    this.step(id, { kind: "synced", sequence: done[done.length - 1].sequence });
  }

  /** The state machine applies all it was given. */
  apply(id: ReplicaId): void {
    const node = this.node(id);
    const entries = node.unapplied.splice(0);
    if (entries.length === 0) return;
    node.applied.push(...entries);
    this.step(id, { kind: "applied", index: entries[entries.length - 1].index });
  }

  /** The store answers the fetches of a node. */
  fetch(id: ReplicaId): void {
    const node = this.node(id);
    for (const { to, from, maxBytes } of node.fetches.splice(0)) {
      const entries: Entry[] = [];
      let bytes = 0;
      for (const entry of node.disk.entries) {
        if (entry.index < from) continue;
        bytes += entry.data.length;
        if (entries.length > 0 && bytes > maxBytes) break;
        entries.push(entry);
      }
      this.step(id, { kind: "fetched", to, entries: entries[0]?.index === from ? entries : [] });
    }
  }

  /** Snapshots that a node was told to send arrive, or do not. */
  sendSnapshots(id: ReplicaId, ok = true): void {
    const node = this.node(id);
    for (const to of node.snapshotsToSend.splice(0)) {
      const { snapshot } = node.disk;
      const arrives = ok && snapshot !== null && (this.nodes.get(to)?.alive ?? false) &&
        !this.cut.has(`${id}>${to}`);
      if (arrives) {
        const { term } = node.status;
        this.step(to, {
          kind: "message",
          message: { kind: "snapshot_installed", from: id, to, term, meta: snapshot },
        });
      }
      this.step(id, { kind: "snapshot_sent", to, ok: arrives });
    }
  }

  deliver(message: Message): void {
    const node = this.nodes.get(message.to);
    if (node === undefined || this.cut.has(`${message.from}>${message.to}`)) return;
    if (!node.alive) return;
    this.onDeliver(message);
    this.step(message.to, { kind: "message", message });
  }

  /** Steps a message that the test made up. */
  receive(message: Message): void {
    this.invariants.promised(message);
    this.step(message.to, { kind: "message", message });
  }

  /** The terms of a node's durable log, from its first index on. */
  terms(id: ReplicaId): number[] {
    return this.node(id).disk.entries.map((entry) => entry.term);
  }

  /** Delivers the messages under way that `wanted` picks, in order; not what they cause. */
  deliverAll(wanted: (message: Message) => boolean = () => true): number {
    const now = this.network.filter(wanted);
    this.network = this.network.filter((message) => !wanted(message));
    for (const message of now) this.deliver(message);
    return now.length;
  }

  /** Loses the messages under way that `unwanted` picks. */
  drop(unwanted: (message: Message) => boolean = () => true): void {
    this.network = this.network.filter((message) => !unwanted(message));
  }

  /** Everything but time: Readys, disks, machines and messages, until nothing is left to do. */
  settle(ids: readonly ReplicaId[] = [...this.nodes.keys()]): void {
    const among = (message: Message) => ids.includes(message.to);
    for (let turn = 0; turn < 10_000; turn += 1) {
      let busy = false;
      for (const id of ids) {
        this.answer(id);
        while (this.take(id) !== null) {
          busy = true;
          this.answer(id);
        }
      }
      if (this.deliverAll(among) === 0 && !busy) return;
    }
    throw new Error("the cluster does not settle");
  }

  /** Everything that a node's host owes it. */
  private answer(id: ReplicaId): void {
    this.sync(id);
    this.apply(id);
    this.fetch(id);
    this.sendSnapshots(id);
  }

  /** Moves the time in steps of a tick, and settles after each. */
  advance(durationMs: number, ids?: readonly ReplicaId[], tickMs = 5): void {
    const end = this.nowMs + durationMs;
    while (this.nowMs < end) {
      this.nowMs = Math.min(end, this.nowMs + tickMs);
      for (const id of ids ?? this.nodes.keys()) this.step(id, { kind: "tick" });
      this.settle(ids);
    }
  }

  /** Makes a node leader by letting its timer run out first. */
  elect(id: ReplicaId): void {
    for (let tries = 0; tries < 100 && this.status(id).role !== "leader"; tries += 1) {
      this.nowMs += 2 * ELECTION_MS;
      this.step(id, { kind: "tick" });
      this.settle();
    }
    assert(this.status(id).role === "leader", `node ${id} becomes leader`);
  }

  leader(): TestNode | undefined {
    const leaders = [...this.nodes.values()].filter((node) =>
      node.alive && node.status.role === "leader"
    );
    return leaders.sort((left, right) => right.status.term - left.status.term)[0];
  }

  propose(id: ReplicaId, text: string): number {
    this.requests += 1;
    this.step(id, {
      kind: "propose",
      requestId: this.requests,
      data: utf8(text),
      timeMs: 1_000 + this.nowMs,
    });
    return this.requests;
  }

  read(id: ReplicaId): number {
    this.requests += 1;
    const commits = [...this.nodes.values()].map((node) => node.status.commit);
    this.floors.set(this.requests, Math.max(...commits));
    this.step(id, { kind: "read", requestId: this.requests });
    return this.requests;
  }

  change(id: ReplicaId, next: MembershipTarget): number {
    this.requests += 1;
    this.step(id, { kind: "change_members", requestId: this.requests, next, timeMs: 0 });
    return this.requests;
  }

  /** Cuts a node off from all others, both ways. */
  isolate(id: ReplicaId): void {
    for (const other of this.nodes.keys()) {
      if (other === id) continue;
      this.cut.add(`${id}>${other}`);
      this.cut.add(`${other}>${id}`);
    }
    this.drop((message) => message.from === id || message.to === id);
  }

  heal(): void {
    this.cut.clear();
  }

  /** Stops a node; what was not synced is gone. */
  crash(id: ReplicaId): void {
    const node = this.node(id);
    node.alive = false;
    node.unsynced = [];
    node.unapplied = [];
    node.applied = [];
    node.fetches = [];
    node.snapshotsToSend = [];
  }

  restart(id: ReplicaId): void {
    if (this.node(id).alive) this.crash(id);
    this.node(id).alive = true;
    this.boot(this.node(id));
  }

  /** Cuts a node's log up to an applied and durable index. */
  compact(id: ReplicaId, index: Index): void {
    const node = this.node(id);
    const at = node.disk.entries.findIndex((entry) => entry.index === index);
    assert(at >= 0 && index <= node.status.applied, "only what is durable and applied is cut");
    const { term, timeMs } = node.disk.entries[at];
    const { memberships, baseMembership } = initialOf(node.disk);
    const membership = memberships.findLast((change) => change.index <= index)?.membership ??
      baseMembership;
    const meta: SnapshotMeta = { last: { index, term }, timeMs, membership };
    node.disk.snapshot = meta;
    node.disk.entries = node.disk.entries.slice(at + 1);
    this.invariants.compacted(id, meta.last);
    this.step(id, { kind: "compacted", snapshot: meta });
  }
}
