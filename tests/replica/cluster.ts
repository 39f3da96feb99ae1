/** A few hosts on virtual time, network and disks, with a register as their machine. */

import { concatBytes, utf8 } from "../../lib/base/bytes.ts";
import { silentLogger } from "../../lib/base/logger.ts";
import { Prng } from "../../lib/base/prng.ts";
import type { Membership } from "../../lib/raft/types.ts";
import type { Compaction } from "../../lib/replica/checkpoints.ts";
import { Host } from "../../lib/replica/host.ts";
import { raftOptions } from "../../lib/replica/raft_options.ts";
import type { Replica } from "../../lib/replica/replica.ts";
import type { StateMachine } from "../../lib/replica/state_machine.ts";
import type { ReplicaObserver } from "../../lib/replica/story.ts";
import { exactClock, SimClock } from "../../lib/sim/clock.ts";
import { SimDisk } from "../../lib/sim/disk.ts";
import { SimNetwork } from "../../lib/sim/network.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";
import { openSegmentLog } from "../../lib/storage/segment_log.ts";

export const TIMING = { heartbeatMs: 50, electionTimeoutMs: 300 };

/** Remembers how many commands it applied, and the last one. */
export class Register implements StateMachine {
  applied = 0;
  value: Uint8Array = new Uint8Array(0);
  apply(command: Uint8Array): Uint8Array {
    this.applied += 1;
    this.value = command.slice();
    return utf8(String(this.applied));
  }
  query(): Uint8Array {
    return this.value;
  }
  snapshot(): Uint8Array {
    return concatBytes([utf8(`${this.applied}\n`), this.value]);
  }
  restore(snapshot: Uint8Array): void {
    const end = snapshot.indexOf(10);
    this.applied = Number(new TextDecoder().decode(snapshot.subarray(0, end)));
    this.value = snapshot.slice(end + 1);
  }
}

export interface Node {
  readonly id: string;
  readonly address: string;
  clock: SimClock;
  /** Frames that it sent to peers. */
  framesSent: number;
  readonly disk: SimDisk;
  process: SimProcess;
  host: Host;
  fatal: unknown;
}

export class TestCluster {
  readonly scheduler = new Scheduler();
  readonly random: Prng;
  readonly network: SimNetwork;
  readonly nodes: Node[] = [];
  readonly membership: Membership;
  /** Leases of every group, set before the nodes are started; none by default. */
  readonly lease: Parameters<typeof raftOptions>[1];
  readonly newMachine: () => StateMachine;
  readonly sliceBytes: number | undefined;
  /** Watches the replicas of a node. */
  observer: ((node: Node) => ReplicaObserver) | undefined;
  segmentBytes = 64 * 1024;
  restAfterMs = 1_000;
  compaction: Compaction = "previous";
  /** How far the wall clocks of nodes are ahead when they start; 0 where it is not given. */
  readonly wallOffsetMs = new Map<string, number>();

  constructor(
    size: number,
    readonly groups: readonly string[] = ["g"],
    seed = 1,
    options: Partial<
      Pick<
        TestCluster,
        | "lease"
        | "observer"
        | "segmentBytes"
        | "restAfterMs"
        | "newMachine"
        | "compaction"
        | "sliceBytes"
      >
    > = {},
  ) {
    this.newMachine = options.newMachine ?? (() => new Register());
    this.compaction = options.compaction ?? this.compaction;
    this.sliceBytes = options.sliceBytes;
    this.lease = options.lease;
    this.observer = options.observer;
    this.segmentBytes = options.segmentBytes ?? this.segmentBytes;
    this.restAfterMs = options.restAfterMs ?? this.restAfterMs;
    this.random = new Prng(seed);
    this.network = new SimNetwork(this.scheduler, this.random.fork());
    const ids = Array.from({ length: size }, (_, at) => `n${at + 1}`);
    this.membership = {
      voters: ids,
      outgoing: [],
      learners: [],
      learnersNext: [],
      nodes: Object.fromEntries(ids.map((id) => [id, { name: id, address: `${id}:1` }])),
    };
    for (const id of ids) this.add(id);
  }

  /** Starts a node that none of the groups has as a member yet, with an empty membership. */
  add(id: string, address = `${id}:1`): Node {
    const process = new SimProcess(this.scheduler, id);
    const disk = new SimDisk(process, this.random.fork());
    const started = { clock: undefined!, host: undefined! };
    const node: Node = { id, address, disk, process, ...started, framesSent: 0, fatal: null };
    this.nodes.push(node);
    this.start(node);
    return node;
  }

  start(node: Node): void {
    const { process } = node;
    const wallOffsetMs = this.wallOffsetMs.get(node.id) ?? 0;
    const clock = new SimClock(process, { ...exactClock, wallOffsetMs });
    node.clock = clock;
    const transport = this.network.listen(process, node.id, node.address);
    const send = transport.send.bind(transport);
    transport.send = (to, group, body) => {
      node.framesSent += 1;
      send(to, group, body);
    };
    for (const id of this.membership.voters) transport.setAddress(id, `${id}:1`);
    node.host = new Host({
      self: node.id,
      clock,
      random: this.random.fork(),
      logger: silentLogger,
      transport,
      ...TIMING,
      restAfterMs: this.restAfterMs,
      onFatal: (error) => {
        node.fatal = error;
      },
    });
    for (const [at, group] of this.groups.entries()) {
      const founder = this.membership.voters.includes(node.id);
      const empty = { voters: [], outgoing: [], learners: [], learnersNext: [], nodes: {} };
      const store = openSegmentLog(node.disk, {
        identity: { cluster: "00000000000000c1", group },
        directory: `g${at}`,
        bootstrap: founder ? this.membership : empty,
        segmentBytes: this.segmentBytes,
      });
      const machine = this.newMachine();
      const raft = raftOptions(TIMING, this.lease);
      const { compaction, sliceBytes } = this;
      const observer = this.observer?.(node);
      node.host.open({ group, machine, store, raft, compaction, sliceBytes, observer });
    }
  }

  kill(node: Node, kind: "kill" | "power" = "kill"): void {
    node.process.kill();
    node.disk.crash(kind);
  }

  restart(node: Node): void {
    node.process = new SimProcess(this.scheduler, node.id);
    node.disk.attach(node.process);
    this.start(node);
  }

  replica(node: Node, group = "g"): Replica {
    return node.host.replica(group)!;
  }

  machine(node: Node, group = "g"): Register {
    return this.replica(node, group).machine as Register;
  }

  get running(): Node[] {
    return this.nodes.filter((node) => node.process.alive);
  }

  leader(group = "g"): Node | undefined {
    return this.running.filter((node) => this.replica(node, group)?.isLeader)
      .sort((left, right) =>
        this.replica(right, group).raft.term - this.replica(left, group).raft.term
      )[0];
  }

  /** Runs until `done`; throws when that takes more than `withinMs` of virtual time. */
  async until(what: string, done: () => boolean, withinMs = 10_000): Promise<void> {
    const ended = await this.scheduler.runUntil(this.scheduler.nowMs + withinMs, done);
    for (const node of this.nodes) if (node.fatal !== null) throw node.fatal;
    if (!ended) throw new Error(`not within ${withinMs} ms of virtual time: ${what}`);
  }

  async run(forMs: number): Promise<void> {
    await this.scheduler.runUntil(this.scheduler.nowMs + forMs);
    for (const node of this.nodes) if (node.fatal !== null) throw node.fatal;
  }

  /** The result of a promise that needs virtual time to pass. */
  async settle<T>(promise: Promise<T>, withinMs = 10_000): Promise<T> {
    let settled = false;
    promise.then(() => settled = true, () => settled = true);
    await this.until("a promise settles", () => settled, withinMs);
    return await promise;
  }

  async elected(group = "g"): Promise<Node> {
    await this.until("a leader is elected", () => {
      const leader = this.leader(group);
      return leader !== undefined && this.replica(leader, group).status().readReady;
    });
    return this.leader(group)!;
  }

  /** Waits until every running node has applied the same index. */
  async level(group = "g"): Promise<void> {
    await this.until("all have applied the same", () => {
      const leader = this.leader(group);
      if (leader === undefined) return false;
      const last = this.replica(leader, group).raft.lastIndex;
      return this.running.every((node) => this.replica(node, group).appliedIndex === last);
    });
  }
}
