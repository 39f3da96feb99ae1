/**
 * One machine of a simulated deployment: disk, clocks and address outlive the processes that run
 * on it one after the other. What runs is what production runs: a whole `Node` with the manager
 * role on it, or a whole `Broker`.
 */

import { createLogger, type Logger, silentLogger } from "../../base/logger.ts";
import { hexOf } from "../../base/bytes.ts";
import type { Packable } from "../../base/msgpack.ts";
import type { Prng } from "../../base/prng.ts";
import type { Host } from "../../replica/host.ts";
import type { ProcessOptions, ServerProcess } from "../../replica/process.ts";
import { SimClock } from "../clock.ts";
import { type CrashKind, SimDisk } from "../disk.ts";
import type { Links } from "../links.ts";
import { frameText } from "../frame_text.ts";
import { type DiskOperation, type OperationHook, ProcessDisk } from "../process_disk.ts";
import { SimProcess } from "../process.ts";
import type { Scheduler } from "../scheduler.ts";
import type { SimStreams } from "../streams.ts";
import type { DeploymentOptions } from "./options.ts";
import { type Oracles, WatchedHost } from "./watched_host.ts";

/** From a promise to the fault that waited for it: shorter than any sync. */
const PROMISE_MS = 0.02;

/** What a machine shares with the rest of the simulation. */
export interface Surroundings {
  readonly scheduler: Scheduler;
  readonly streams: SimStreams;
  readonly links: Links;
  readonly options: DeploymentOptions;
  readonly oracles: Oracles;
  readonly machines: readonly Machine[];
  /** A machine's process ended by itself. */
  ended(machine: Machine, error: unknown): void;
  /** A machine ran: its replicas are to be checked. */
  touched(machine: Machine): void;
}

/** A running server: what a machine's program is made of. */
export interface Program {
  readonly server: ServerProcess;
  /** Ends as on SIGTERM. */
  stop(): Promise<void>;
}

/** An end of a process that waits for one of its disk operations. */
export interface CrashPoint {
  /** Only operations of this kind count; null: of any. */
  readonly operation: DiskOperation | null;
  /** So many are let pass. */
  readonly skip: number;
  readonly strike: (operation: DiskOperation, path: string) => void;
}

export abstract class Machine {
  readonly disk: SimDisk;
  process: SimProcess;
  clock: SimClock;
  private program: Program | null = null;
  /** Groups that a fault may have damaged, and `*` for everything on the disk. */
  readonly damaged = new Set<string>();
  /** Those of them whose files are there, with other bytes than were written. */
  readonly rotted = new Set<string>();
  /** How often a replica of each group that was ever open here began blank. */
  readonly lives = new Map<string, number>();
  /** Identity of the disk content when a process last ran on it. */
  lastReplicaId: string | null = null;
  /** `spare`: it has not joined yet. `leaving`: its broker may be removed. `gone`: it was. */
  part: "spare" | "member" | "leaving" | "gone" = "member";
  /** Starts that failed, one after the other, because of what the disk holds. */
  failedStarts = 0;
  /** Told of each disk operation of its processes; it may end the process. */
  onOperation: OperationHook | null = null;
  private onPromise: (() => void) | null = null;
  private crashPoint: CrashPoint | null = null;
  private passed = 0;
  private readonly clockRate: number;
  private wallOffsetMs: number;

  constructor(
    readonly name: string,
    readonly address: string,
    protected readonly world: Surroundings,
    protected readonly random: Prng,
  ) {
    const { options, scheduler } = world;
    this.clockRate = 1 + (2 * random.next() - 1) * options.clockError;
    this.wallOffsetMs = random.between(-5_000, 5_000);
    this.process = new SimProcess(scheduler, name);
    this.process.kill();
    this.disk = new SimDisk(this.process, random.fork(), {
      syncMs: options.syncMs,
      capacityBytes: null,
    });
    this.clock = this.newClock();
  }

  /** Starts the production program on what the process has; throws where it refuses to start. */
  protected abstract launch(options: ProcessOptions): Program;

  get running(): boolean {
    return this.program !== null && this.process.alive;
  }

  /** The process's server; null while it is down. */
  get server(): ServerProcess | null {
    return this.running ? this.program!.server : null;
  }

  get host(): Host | null {
    return this.server?.host ?? null;
  }

  /** Identity of the present disk content; null while the process is down. */
  get replicaId(): string | null {
    return this.server?.directory.replicaId ?? null;
  }

  start(): void {
    if (this.process.alive || this.part === "spare" || this.part === "gone") return;
    const { scheduler, links, streams } = this.world;
    this.onPromise = null;
    this.crashPoint = null;
    const process = new SimProcess(scheduler, this.name, (thrown) => this.exit(process, thrown));
    process.onRun(() => this.world.touched(this));
    this.process = process;
    this.disk.attach(process);
    this.clock = this.newClock();
    links.setUp(this.name, true);
    const sockets = streams.socketsOf(process);
    try {
      this.program = this.launch({
        ...this.timing(),
        name: this.name,
        listen: this.address,
        token: "",
        disk: new ProcessDisk(this.disk, process, (operation, path) => this.did(operation, path)),
        clock: this.clock,
        random: this.random.fork(),
        logger: this.logger(),
        newIdentity: () => identityFrom(this.random),
        sockets,
        onFatal: (error) => this.exit(process, error),
        newHost: (options) =>
          new WatchedHost(options, {
            oracles: this.world.oracles,
            promised: () => this.promised(),
            sending: (to, group, body) => this.noteFrame(to, group, body),
            mayHaveRotted: (group) => this.rotted.has("*") || this.rotted.has(group),
            opened: (group) => this.lives.set(group, this.lives.get(group) ?? 0),
            begunBlank: (group) => this.lives.set(group, (this.lives.get(group) ?? 0) + 1),
          }),
      });
      this.lastReplicaId = this.program.server.directory.replicaId;
      this.failedStarts = 0;
    } catch (thrown) {
      this.failedStarts += 1;
      // A process that was made to die while it started unwinds with whatever its disk said.
      this.exit(process, thrown);
    }
  }

  /** The process is gone; `power`: and so may be what it had not synced. */
  stop(kind: CrashKind): void {
    if (kind !== "kill") this.world.links.setUp(this.name, false);
    this.process.kill();
    this.program = null;
    this.disk.crash(kind);
  }

  /** The disk is a new one. Between processes only. */
  wipe(): void {
    this.disk.wipe();
    this.lastReplicaId = null;
    this.damaged.clear();
    this.rotted.clear();
  }

  /** Ends as on SIGTERM; the process is gone when that is over. */
  async stopGracefully(): Promise<void> {
    const { process, program } = this;
    if (program === null || !process.alive) return;
    await program.stop();
    if (process.alive) this.stop("kill");
  }

  /** Runs `fault` a moment after the machine next promised something, if it is the same process. */
  afterPromise(fault: () => void): void {
    this.onPromise = fault;
  }

  /** Has the process end at one of its next disk operations. */
  setCrashPoint(point: CrashPoint): void {
    this.crashPoint = point;
    this.passed = 0;
  }

  /** Takes back every fault that waits for the process to do something. */
  disarm(): void {
    this.onPromise = null;
    this.crashPoint = null;
  }

  jumpClock(byMs: number): void {
    this.wallOffsetMs += byMs;
    this.clock.jumpWall(byMs);
  }

  private timing() {
    const { heartbeatMs, electionTimeoutMs } = this.world.options;
    return { heartbeatMs, electionTimeoutMs };
  }

  private exit(process: SimProcess, error: unknown): void {
    if (!process.alive || process !== this.process) return;
    process.kill();
    this.program = null;
    this.world.ended(this, error);
  }

  private did(operation: DiskOperation, path: string): void {
    this.onOperation?.(operation, path);
    const point = this.crashPoint;
    if (point === null || (point.operation !== null && point.operation !== operation)) return;
    this.passed += 1;
    if (this.passed <= point.skip) return;
    this.crashPoint = null;
    point.strike(operation, path);
  }

  private promised(): void {
    const fault = this.onPromise;
    this.onPromise = null;
    if (fault !== null) this.process.after(PROMISE_MS, "fault after promise", fault);
  }

  /** Where a run is traced, every frame that leaves is part of the trace. */
  private noteFrame(to: string, group: string, body: Packable): void {
    const { scheduler, machines } = this.world;
    if (!scheduler.traced) return;
    const receiver = machines.find(({ lastReplicaId }) => lastReplicaId === to)?.name ?? to;
    scheduler.note(`send ${this.name}>${receiver} ${frameText(group, body)}`);
  }

  /** Where a run is traced, what the processes log is part of the trace. */
  private logger(): Logger {
    const { scheduler } = this.world;
    if (!scheduler.traced) return silentLogger;
    return createLogger({
      level: "debug",
      format: "text",
      clock: this.clock,
      write: (line) => scheduler.note(`log ${this.name} ${line.slice(LOG_TIME_CHARACTERS)}`),
    });
  }

  private newClock(): SimClock {
    return new SimClock(this.process, {
      rate: this.clockRate,
      wallOffsetMs: this.wallOffsetMs,
      turnMs: this.world.options.turnMs,
    });
  }
}

/** The date that begins a log line. */
const LOG_TIME_CHARACTERS = "2024-01-01T00:00:00.000Z ".length;

/** 16 hexadecimal digits, as `randomIdentity` gives them. */
export function identityFrom(random: Prng): string {
  return hexOf(Uint8Array.from({ length: 8 }, () => random.below(256)));
}
