/**
 * All replicas of one process. One ticker, one transport and one disk serve every group; what
 * arrives in one turn of the event loop is stepped into the cores first and carried out after, so
 * that a group makes one write and shares one sync however many messages came.
 */

import type { Clock } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Random } from "../base/prng.ts";
import type { PeerHandler, PeerTransport } from "../net/transport.ts";
import { messageFromWire, messageToWire } from "../raft/message.ts";
import type { Membership, Message, NodeInfo, ReplicaId } from "../raft/types.ts";
import { Beats } from "./beats.ts";
import {
  beatCodec,
  chunkCodec,
  claimCodec,
  entriesCodec,
  FrameKind,
  offerCodec,
  PROCESS_GROUP,
  rangeCodec,
  refusedCodec,
  restCodec,
  wantedCodec,
} from "./frames.ts";
import { Lateness } from "./lateness.ts";
import { Replica } from "./replica.ts";
import type { ReplicaContext } from "./replica_context.ts";
import type { ReplicaOptions } from "./replica_types.ts";
import { SteadyTime } from "./stamps.ts";
import { SCRUB, Scrub, type ScrubOptions } from "./scrub.ts";
import { SnapshotTransfers } from "./snapshots.ts";
import { SyncPacer } from "./sync_pacer.ts";

export interface HostOptions {
  readonly self: ReplicaId;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly transport: PeerTransport;
  /** Time between Raft heartbeats and between beats, in milliseconds. */
  readonly heartbeatMs: number;
  readonly electionTimeoutMs: number;
  /**
   * Groups in which nothing happened for this long stop ticking; default four heartbeats. A crowd
   * of consumers wakes many groups for one claim each: their heartbeats would be most of the load.
   */
  readonly restAfterMs?: number;
  /** How closed segments are read in the background; default {@link SCRUB}. */
  readonly scrub?: ScrubOptions;
  /** Told once, when this process must not go on: a failed sync, a broken invariant. */
  readonly onFatal: (error: unknown) => void;
  /**
   * Told when the files of one group proved to have rotted, after the group was closed: the others
   * go on. Without it that ends the process.
   */
  readonly onCorrupt?: (group: string, error: TrilogError) => void;
  /**
   * Where a member is dialled from here, the likeliest address first; its address in the membership
   * by default.
   */
  readonly addressesOf?: (id: ReplicaId, node: NodeInfo) => readonly string[];
  /** A membership was committed and applied here; `previous` is the one applied before it. */
  readonly onMembership?: (group: string, membership: Membership, previous: Membership) => void;
}

export class Host implements PeerHandler {
  readonly self: ReplicaId;
  private readonly groups = new Map<string, Replica>();
  /** Replicas that tick: all that are not at rest. */
  private readonly active = new Set<Replica>();
  private readonly dirty = new Set<Replica>();
  private readonly unsynced = new Set<Replica>();
  private readonly beats: Beats;
  private readonly transfers: SnapshotTransfers;
  private readonly pacer: SyncPacer;
  private readonly context: ReplicaContext;
  /** When each peer's process last sent a frame, and when this one started. */
  private readonly heardMs = new Map<ReplicaId, number>();
  private readonly startedMs: number;
  private readonly tickMs: number;
  private readonly lateness: Lateness;
  private turnScheduled = false;
  private markedAtMs = -Infinity;
  private stopped = false;
  /** Frames for groups that are not here, and frames that made no sense. */
  readonly refused = { unknownGroup: 0, malformed: 0 };

  constructor(private readonly options: HostOptions) {
    this.self = options.self;
    const { clock, logger, transport } = options;
    const send = (to: ReplicaId, group: string, body: Packable) => transport.send(to, group, body);
    this.startedMs = clock.monotonicMs();
    this.tickMs = Math.max(MIN_TICK_MS, options.heartbeatMs / TICKS_PER_HEARTBEAT);
    const longestPatienceMs = PATIENCE_TIMEOUTS * options.electionTimeoutMs;
    this.lateness = new Lateness(this.tickMs, longestPatienceMs, this.startedMs);
    this.pacer = new SyncPacer(clock);
    const fatal = (error: unknown) => this.fatal(error);
    this.transfers = new SnapshotTransfers({ self: this.self, clock, logger, send, fatal });
    this.beats = new Beats(this.self, {
      logger,
      nowMs: () => clock.monotonicMs(),
      send,
      replica: (group) => this.groups.get(group),
      activate: (replica) => this.active.add(replica),
      deactivate: (replica) => this.active.delete(replica),
    }, {
      beatMs: options.heartbeatMs,
      timeoutMs: options.electionTimeoutMs,
      restAfterMs: options.restAfterMs ?? REST_HEARTBEATS * options.heartbeatMs,
    });
    this.context = this.replicaContext();
    transport.setHandler(this);
    this.tickLater();
    const { scrub = SCRUB } = options;
    new Scrub(clock, logger, this.groups, scrub, () => this.stopped).start();
  }

  /** Starts a group's replica on an opened store; see `openSegmentLog`. */
  open(options: ReplicaOptions): Replica {
    if (this.groups.has(options.group)) {
      throw new TrilogError("internal", `Cannot open group ${options.group}: it is open already`);
    }
    const replica = new Replica(this.context, options);
    this.groups.set(options.group, replica);
    this.active.add(replica);
    this.context.markDirty(replica);
    return replica;
  }

  /**
   * Closes a group's replica and its store; its files stay. The members that depend on it hear of
   * it: those that it led, or its leader, need not wait for a timeout. Where the group itself ends
   * (`groupEnds`), they must not elect another leader for it.
   */
  close(group: string, groupEnds: boolean = false): void {
    const replica = this.groups.get(group);
    if (replica === undefined) return;
    if (!groupEnds) this.announceGone(replica);
    this.groups.delete(group);
    this.active.delete(replica);
    this.dirty.delete(replica);
    this.unsynced.delete(replica);
    this.beats.forgetGroup(replica);
    this.transfers.forgetGroup(replica);
    replica.close();
  }

  private announceGone({ group, raft: { leader, membership } }: Replica): void {
    const led = leader === this.self || leader === null;
    for (const id of led ? Object.keys(membership.nodes) : [leader]) {
      if (id !== this.self) this.sendGone(id, group);
    }
  }

  private sendGone(to: ReplicaId, group: string): void {
    this.options.transport.send(to, group, [FrameKind.gone, null]);
  }

  replica(group: string): Replica | undefined {
    return this.groups.get(group);
  }

  replicas(): IterableIterator<Replica> {
    return this.groups.values();
  }

  /** Hands every leadership over to a voter that is up to date, as far as there is one. */
  handOverLeaderships(): void {
    for (const replica of this.groups.values()) {
      if (!replica.isLeader) continue;
      const { progress, membership, last } = replica.status();
      const best = progress
        .filter(({ id }) => id !== this.self && membership.voters.includes(id))
        .sort((left, right) => right.match - left.match)[0];
      if (best !== undefined && last.index - best.match < HAND_OVER_LAG) {
        replica.transferLeadership(best.id);
      }
    }
  }

  /** Closes every group. The transport is its owner's. */
  stop(): void {
    this.stopped = true;
    for (const group of [...this.groups.keys()]) this.closeAnyhow(group);
  }

  /**
   * What a log could not make durable when it was closed was never acknowledged. A disk that has
   * failed says so again here, when the reason is known already and the other groups wait.
   */
  private closeAnyhow(group: string): void {
    try {
      this.close(group);
    } catch (thrown) {
      const reason = String(thrown);
      this.options.logger.warn("a group did not close cleanly", { group, reason });
    }
  }

  // What the network brings.

  frame(from: ReplicaId, group: string, body: Packable): void {
    if (this.stopped) return;
    const nowMs = this.options.clock.monotonicMs();
    this.heardMs.set(from, nowMs);
    try {
      // What follows is judged after the time in which this process did not run is discounted.
      if (this.lateness.isLate(nowMs)) this.tick();
      if (group === PROCESS_GROUP) this.takeProcessFrame(from, body);
      else this.takeGroupFrame(from, group, body);
    } catch (error) {
      if (!(error instanceof TrilogError)) {
        this.fatal(error);
      } else if (error.code === "malformed") {
        this.refused.malformed += 1;
        this.options.logger.warn("refused a frame", { from, group, reason: error.message });
      } else if (error.code === "disk_full") {
        this.options.logger.warn("no room for what was received", { from, group });
      } else this.guarded(() => this.groupFailed(group, error));
    }
  }

  connected(peer: ReplicaId): void {
    this.options.logger.debug("connected", { peer });
  }

  unreachable(peer: ReplicaId): void {
    if (this.stopped) return;
    this.options.logger.debug("unreachable", { peer });
    this.beats.wakeAllWith(peer);
    for (const replica of this.groups.values()) {
      if (replica.raft.leader === peer) replica.step({ kind: "peer_unreachable", peer });
    }
  }

  private takeProcessFrame(from: ReplicaId, body: Packable): void {
    const [kind, content] = split(body);
    const nowMs = this.options.clock.monotonicMs();
    if (kind === FrameKind.beat) {
      this.beats.onBeat(from, beatCodec.decode(content, "beat"), nowMs);
    } else if (kind === FrameKind.beatReply) {
      this.beats.onBeatReply(from, beatCodec.decode(content, "beat reply"), nowMs);
    } else throw new TrilogError("malformed", `Cannot route frame: unknown kind ${kind}`);
  }

  private takeGroupFrame(from: ReplicaId, group: string, body: Packable): void {
    const replica = this.groups.get(group);
    const [kind, content] = split(body);
    if (replica === undefined) {
      this.refused.unknownGroup += 1;
      if (kind === FrameKind.rest) this.sendGone(from, group);
      return;
    }
    switch (kind) {
      case FrameKind.raft:
        replica.step({ kind: "message", message: messageFromWire(from, this.self, content) });
        break;
      case FrameKind.rest:
        this.beats.onRest(
          from,
          replica,
          restCodec.decode(content, "rest"),
          this.options.clock.monotonicMs(),
        );
        break;
      case FrameKind.gone:
        if (replica.isLeader || replica.raft.leader === from) {
          replica.step({ kind: "peer_unreachable", peer: from });
        }
        break;
      case FrameKind.opened:
        replica.questions.answer(from);
        break;
      case FrameKind.acknowledged:
        replica.questions.take(from, claimCodec.decode(content, "acknowledgement"));
        break;
      case FrameKind.entriesWanted:
        replica.repair.answer(from, rangeCodec.decode(content, "wanted entries"));
        break;
      case FrameKind.entries: {
        const { first, entries } = entriesCodec.decode(content, "entries");
        replica.repair.take(from, first, entries);
        break;
      }
      case FrameKind.wake:
        this.beats.wake(replica);
        break;
      case FrameKind.snapshotOffer:
        this.transfers.onOffer(from, replica, offerCodec.decode(content, "snapshot offer"));
        break;
      case FrameKind.snapshotWanted:
        this.transfers.onWanted(from, replica, wantedCodec.decode(content, "snapshot position"));
        break;
      case FrameKind.snapshotChunk:
        this.transfers.onChunk(from, replica, chunkCodec.decode(content, "snapshot chunk"));
        break;
      case FrameKind.snapshotRefused:
        this.transfers.onRefused(from, replica, refusedCodec.decode(content, "snapshot refusal"));
        break;
      default:
        throw new TrilogError("malformed", `Cannot route frame: unknown kind ${kind}`);
    }
  }

  // Turns and ticks.

  private replicaContext(): ReplicaContext {
    const { clock, random, logger, transport } = this.options;
    return {
      self: this.self,
      clock,
      time: new SteadyTime(clock),
      random,
      logger,
      sendMessage: (group: string, message: Message) =>
        transport.send(message.to, group, [FrameKind.raft, messageToWire(message)]),
      sendFrame: (to, group, body) => transport.send(to, group, body),
      markDirty: (replica) => {
        this.dirty.add(replica);
        this.scheduleTurn();
      },
      markUnsynced: (replica) => {
        this.unsynced.add(replica);
        this.scheduleTurn();
      },
      wake: (replica) => this.beats.wake(replica),
      startSnapshotTransfer: (replica, to) => this.transfers.start(replica, to),
      membershipChanged: (membership) => this.noteAddresses(membership),
      membershipCommitted: (replica, membership, previous) =>
        this.options.onMembership?.(replica.group, membership, previous),
      addressOf: (id, node) => this.addressOf(id, node),
      silentMs: (id) => clock.monotonicMs() - (this.heardMs.get(id) ?? this.startedMs),
      failed: (replica, error) => this.guarded(() => this.groupFailed(replica.group, error)),
      fatal: (error) => this.fatal(error),
    };
  }

  /** Where a member is dialled from here. */
  addressOf(id: ReplicaId, node: NodeInfo): string {
    return this.options.addressesOf?.(id, node)[0] ?? node.address;
  }

  private noteAddresses(membership: Membership): void {
    for (const [id, node] of Object.entries(membership.nodes)) {
      if (id === this.self) continue;
      const [address, ...others] = this.options.addressesOf?.(id, node) ?? [node.address];
      this.options.transport.setAddress(id, address, others);
    }
  }

  private scheduleTurn(): void {
    if (this.turnScheduled || this.stopped) return;
    this.turnScheduled = true;
    this.options.clock.nextTurn(() => {
      this.turnScheduled = false;
      this.guarded(() => this.turn());
    });
  }

  /**
   * Carries out what the cores want and starts one sync per group that wrote. After a stretch the
   * rest is left to the next turn, so that what was queued leaves, frames are read and ticks come.
   */
  private turn(): void {
    const { clock } = this.options;
    const endMs = clock.monotonicMs() + STRETCH_MS;
    do {
      for (const replica of [...this.dirty]) {
        this.dirty.delete(replica);
        this.process(replica);
        if (clock.monotonicMs() < endMs || this.dirty.size === 0) continue;
        this.startSyncs();
        return this.scheduleTurn();
      }
      if (this.dirty.size === 0) this.startSyncs();
    } while (this.dirty.size > 0);
  }

  private process(replica: Replica): void {
    try {
      replica.process();
    } catch (error) {
      this.groupFailed(replica.group, error);
    }
  }

  /** Rot, and files that were put back, concern one group; anything else is about the whole process. */
  private groupFailed(group: string, error: unknown): void {
    const { onCorrupt } = this.options;
    const rotted = error instanceof TrilogError &&
      (error.code === "corrupt" || error.code === "rolled_back");
    if (!rotted || onCorrupt === undefined) throw error;
    this.closeAnyhow(group);
    onCorrupt(group, error);
  }

  private startSyncs(): void {
    const waiting = [...this.unsynced].filter((replica) => replica.wantsSync);
    this.unsynced.clear();
    if (waiting.length === 1 && this.pacer.maySyncNow()) this.syncAfterSending(waiting[0]);
    else for (const replica of waiting) this.pacer.track(replica.syncLater());
  }

  /**
   * Waits for the disk only when what this turn has to say is on its way: the followers' disks
   * must work at the same time as this one, not after it.
   */
  private syncAfterSending(replica: Replica): void {
    this.options.clock.nextTurn(() => {
      if (this.stopped || !replica.wantsSync) return;
      this.guarded(() => this.pacer.timed(() => replica.syncNow()));
    });
  }

  private tickLater(): void {
    this.options.clock.after(this.tickMs, () => {
      if (this.stopped) return;
      this.guarded(() => this.tick());
      this.tickLater();
    });
  }

  /** A leader's heartbeats leave within the tick, before the bulk work of the next turn. */
  private tick(): void {
    const nowMs = this.options.clock.monotonicMs();
    this.markLogs(nowMs);
    const starvation = this.lateness.tick(nowMs);
    for (const replica of this.active) {
      const quiet = !this.dirty.has(replica);
      if (quiet && this.beats.tryRest(replica, nowMs)) continue;
      replica.step({ kind: "tick", starvation });
      if (!quiet || !this.dirty.delete(replica)) continue;
      this.process(replica);
    }
    this.beats.tick(nowMs, starvation);
  }

  /** Groups at rest marked theirs when they fell to rest. */
  private markLogs(nowMs: number): void {
    if (nowMs - this.markedAtMs < MARK_EVERY_MS) return;
    this.markedAtMs = nowMs;
    for (const replica of this.active) replica.store.mark();
  }

  private guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.fatal(error);
    }
  }

  private fatal(error: unknown): void {
    if (this.stopped) return;
    this.stopped = true;
    this.options.onFatal(error);
  }
}

/** Quiet for so many heartbeats, a group falls to rest. */
const REST_HEARTBEATS = 4;
/** Longest time that a turn keeps the process from reading, sending and ticking. */
const STRETCH_MS = 10;
/** Timeouts grow by at most this many election timeouts while the processor is short. */
const PATIENCE_TIMEOUTS = 2;
const MIN_TICK_MS = 2;
const TICKS_PER_HEARTBEAT = 5;
/** How often the logs of groups that are not at rest are marked: see `LogStore.mark`. */
const MARK_EVERY_MS = 1_000;
/** A voter that lacks more entries than this is not handed the leadership. */
const HAND_OVER_LAG = 1_000;

function split(body: Packable): [kind: Packable, content: Packable] {
  if (!Array.isArray(body) || body.length !== 2) {
    throw new TrilogError("malformed", "Cannot route frame: not a kind and a content");
  }
  return [body[0], body[1]];
}
