/**
 * Sending a group's snapshot to a follower that the log no longer reaches (paper 7), in chunks.
 *
 * The leader offers; the follower answers with the offset it wants, which is where an interrupted
 * transfer of the same snapshot stopped; every chunk is answered with the next wanted offset, so
 * one chunk is under way and a slow follower is never flooded. When all bytes are stored the
 * follower's core is told, and the core's own acknowledgement waits for the disk like all others.
 * A lost frame is made good by the leader repeating its last one.
 *
 * Without room on its disk the follower drops what it has of the snapshot, since others need the
 * space, and refuses all offers for a while. The rest of the process goes on; the leader offers
 * again, and the transfer begins anew once there is room.
 */

import { assert } from "../base/assert.ts";
import { type Clock, type Timer } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import type { Packable } from "../base/msgpack.ts";
import type { ReplicaId, SnapshotMeta } from "../raft/types.ts";
import { isDiskFull } from "../storage/disk.ts";
import type { SnapshotReader } from "../storage/store.ts";
import {
  type Chunk,
  chunkCodec,
  FrameKind,
  type Offer,
  offerCodec,
  type Refused,
  refusedCodec,
  type Wanted,
  wantedCodec,
} from "./frames.ts";
import type { Replica } from "./replica.ts";
import { SnapshotTask } from "./snapshot_task.ts";

export interface SnapshotContext {
  readonly self: ReplicaId;
  readonly clock: Clock;
  readonly logger: Logger;
  send(to: ReplicaId, group: string, body: Packable): void;
  /** The disk has failed. */
  fatal(error: unknown): void;
}

/** A snapshot on its way here. */
interface Incoming {
  readonly task: SnapshotTask;
  /** The disk works on it: what comes meanwhile is ignored, and repeated by the leader. */
  busy: boolean;
}

interface Outgoing {
  readonly replica: Replica;
  readonly to: ReplicaId;
  readonly reader: SnapshotReader;
  readonly term: number;
  /** The log behind the snapshot may be trimmed again. */
  readonly release: () => void;
  /** The frame to repeat while nothing comes back. */
  lastFrame: Packable;
  repeats: number;
  timer: Timer;
}

const REPEAT_MS = 300;
const REPEATS_BEFORE_GIVING_UP = 20;
/** A group takes no snapshot for this long after the disk could not. */
const PAUSE_MS = 3_000;

export class SnapshotTransfers {
  private readonly outgoing = new Map<string, Outgoing>();
  /** At most one incoming snapshot per group: a newer one replaces it. */
  private readonly incoming = new Map<string, Incoming>();
  /** Groups whose snapshot found no room, and until when none is taken for them. */
  private readonly pausedUntilMs = new Map<string, number>();

  constructor(private readonly context: SnapshotContext) {}

  /** Starts sending the group's base snapshot; ends with `snapshot_sent` into the core. */
  start(replica: Replica, to: ReplicaId): void {
    const key = keyOf(replica.group, to);
    if (this.outgoing.has(key)) return;
    const reader = this.openBase(replica);
    if (reader === null) {
      replica.step({ kind: "snapshot_sent", to, ok: false });
      return;
    }
    const { meta } = reader;
    this.context.logger.info("sending a snapshot", {
      group: replica.group,
      to,
      index: meta.last.index,
      bytes: reader.size,
    });
    const term = replica.raft.term;
    const offer = [
      FrameKind.snapshotOffer,
      offerCodec.encode({ term, meta, size: reader.size }),
    ];
    const timer = this.repeatLater(key);
    const release = replica.checkpoints.hold();
    const lastFrame = offer;
    this.outgoing.set(key, { replica, to, reader, term, release, lastFrame, repeats: 0, timer });
    this.context.send(to, replica.group, offer);
  }

  /**
   * The state that a follower needs; null: there is none, it has rotted and is not needed, or it
   * cannot be opened at the moment.
   */
  private openBase({ checkpoints, store }: Replica): SnapshotReader | null {
    const meta = checkpoints.base();
    if (meta === null) return null;
    try {
      return checkpoints.unlessRotted(meta, () => store.openSnapshot(meta.last.index));
    } catch (thrown) {
      if (!isDiskFull(thrown)) throw thrown;
      return null;
    }
  }

  /** Ends every transfer of a group that leaves this process. */
  forgetGroup(replica: Replica): void {
    for (const [key, transfer] of this.outgoing) {
      if (transfer.replica === replica) this.end(key, null);
    }
    this.dropIncoming(replica);
    this.pausedUntilMs.delete(replica.group);
  }

  /** A leader offers a snapshot to this replica. */
  onOffer(from: ReplicaId, replica: Replica, offer: Offer): void {
    const { term, meta, size } = offer;
    const index = meta.last.index;
    if (term < replica.raft.term) {
      this.refuse(from, replica, index);
      return;
    }
    if (replica.appliedIndex >= index) {
      // Already here, perhaps by an earlier transfer whose last answer was lost.
      this.answer(from, replica, { index, offset: size });
      this.tellCore(from, replica, term, meta);
      return;
    }
    if (this.isPaused(replica)) return this.refuse(from, replica, index);
    let incoming = this.incoming.get(replica.group);
    if (incoming?.busy) return;
    this.whereRoom(from, replica, index, async () => {
      if (incoming === undefined || !sameSnapshot(incoming.task.writer.meta, meta)) {
        this.dropIncoming(replica);
        const task = new SnapshotTask(replica.store.beginSnapshot(meta), this.context.clock);
        incoming = { task, busy: false };
        this.incoming.set(replica.group, incoming);
      }
      await this.goOn(from, replica, incoming, { term, size });
    });
  }

  onChunk(from: ReplicaId, replica: Replica, chunk: Chunk): void {
    const incoming = this.incoming.get(replica.group);
    const { index, offset, bytes, term } = chunk;
    if (incoming === undefined || incoming.busy) return;
    if (incoming.task.writer.meta.last.index !== index || term < replica.raft.term) return;
    this.whereRoom(from, replica, index, async () => {
      if (offset === incoming.task.writer.size) incoming.task.write(bytes);
      await this.goOn(from, replica, incoming, chunk);
    });
  }

  /** Asks for the next chunk, or stores the snapshot that is complete and tells the core. */
  private async goOn(
    from: ReplicaId,
    replica: Replica,
    incoming: Incoming,
    { term, size }: { readonly term: number; readonly size: number },
  ): Promise<void> {
    const { task } = incoming;
    const { meta } = task.writer;
    const complete = task.writer.size === size;
    if (complete || task.wantsSync) {
      incoming.busy = true;
      if (!await (complete ? task.store() : task.sync())) return;
      incoming.busy = false;
    }
    this.answer(from, replica, { index: meta.last.index, offset: task.writer.size });
    if (!complete) return;
    this.incoming.delete(replica.group);
    this.tellCore(from, replica, term, meta);
  }

  /**
   * Takes in a part of a snapshot. A full disk drops all of it and ends the transfer for now; so
   * does a file that does not read back as it was written.
   */
  private whereRoom(
    from: ReplicaId,
    replica: Replica,
    index: number,
    take: () => Promise<void>,
  ): void {
    take().catch((error) => {
      const { clock, logger, fatal } = this.context;
      const code = error instanceof TrilogError ? error.code : "internal";
      if (code !== "disk_full" && code !== "corrupt") return fatal(error);
      const { group } = replica;
      const { message: reason } = error;
      logger.warn("a snapshot is refused for now", { group, index, reason });
      this.dropIncoming(replica);
      this.pausedUntilMs.set(group, clock.monotonicMs() + PAUSE_MS);
      this.refuse(from, replica, index);
    });
  }

  private isPaused({ group }: Replica): boolean {
    const untilMs = this.pausedUntilMs.get(group);
    if (untilMs === undefined) return false;
    if (this.context.clock.monotonicMs() < untilMs) return true;
    this.pausedUntilMs.delete(group);
    return false;
  }

  private refuse(to: ReplicaId, replica: Replica, index: number): void {
    const refused = refusedCodec.encode({ index });
    this.context.send(to, replica.group, [FrameKind.snapshotRefused, refused]);
  }

  private dropIncoming({ group }: Replica): void {
    this.incoming.get(group)?.task.cancel();
    this.incoming.delete(group);
  }

  /** The follower says which byte it wants next; the end means it has all. */
  onWanted(from: ReplicaId, replica: Replica, { index, offset }: Wanted): void {
    const key = keyOf(replica.group, from);
    const transfer = this.outgoing.get(key);
    if (transfer === undefined || transfer.reader.meta.last.index !== index) return;
    if (replica.raft.role !== "leader" || replica.raft.term !== transfer.term) {
      this.end(key, false);
      return;
    }
    if (offset >= transfer.reader.size) {
      this.end(key, true);
      return;
    }
    const { reader } = transfer;
    const bytes = replica.checkpoints.unlessRotted(
      reader.meta,
      () => reader.read(offset, limits.snapshotChunkBytes),
    );
    if (bytes === null) return this.end(key, false);
    const { term } = transfer;
    const { size } = reader;
    const chunk = chunkCodec.encode({ term, index, offset, bytes, size });
    transfer.lastFrame = [FrameKind.snapshotChunk, chunk];
    transfer.repeats = 0;
    transfer.timer.cancel();
    transfer.timer = this.repeatLater(key);
    this.context.send(from, replica.group, transfer.lastFrame);
  }

  onRefused(from: ReplicaId, replica: Replica, { index }: Refused): void {
    const key = keyOf(replica.group, from);
    if (this.outgoing.get(key)?.reader.meta.last.index === index) this.end(key, false);
  }

  private answer(to: ReplicaId, replica: Replica, wanted: Wanted): void {
    const body = [FrameKind.snapshotWanted, wantedCodec.encode(wanted)];
    this.context.send(to, replica.group, body);
  }

  private tellCore(from: ReplicaId, replica: Replica, term: number, meta: SnapshotMeta): void {
    const to = this.context.self;
    replica.step({
      kind: "message",
      message: { kind: "snapshot_installed", from, to, term, meta },
    });
  }

  private repeatLater(key: string): Timer {
    return this.context.clock.after(REPEAT_MS, () => this.repeat(key));
  }

  private repeat(key: string): void {
    const transfer = this.outgoing.get(key);
    assert(transfer !== undefined, "a transfer's timer ends with it");
    transfer.repeats += 1;
    const { replica } = transfer;
    const deposed = replica.raft.role !== "leader" || replica.raft.term !== transfer.term;
    if (deposed || transfer.repeats > REPEATS_BEFORE_GIVING_UP) {
      this.end(key, false);
      return;
    }
    transfer.timer = this.repeatLater(key);
    this.context.send(transfer.to, replica.group, transfer.lastFrame);
  }

  /** `ok` null: the group is gone and its core is not told. */
  private end(key: string, ok: boolean | null): void {
    const transfer = this.outgoing.get(key);
    if (transfer === undefined) return;
    this.outgoing.delete(key);
    transfer.timer.cancel();
    transfer.reader.close();
    transfer.release();
    if (ok !== null) transfer.replica.step({ kind: "snapshot_sent", to: transfer.to, ok });
  }
}

function sameSnapshot(left: SnapshotMeta, right: SnapshotMeta): boolean {
  return left.last.index === right.last.index && left.last.term === right.last.term;
}

function keyOf(group: string, to: ReplicaId): string {
  return `${to} ${group}`;
}
