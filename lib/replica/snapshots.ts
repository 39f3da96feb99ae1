/**
 * Sending a group's snapshot to a follower that the log no longer reaches (paper 7), in chunks.
 *
 * The leader offers; the follower answers with the offset it wants, which is where an interrupted
 * transfer of the same snapshot stopped; every chunk is answered with the next wanted offset, so
 * one chunk is under way and a slow follower is never flooded. When all bytes are stored the
 * follower's core is told, and the core's own acknowledgement waits for the disk like all others.
 * A lost frame is made good by the leader repeating its last one.
 */

import { assert } from "../base/assert.ts";
import { type Clock, type Timer } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import type { Packable } from "../base/msgpack.ts";
import type { ReplicaId, SnapshotMeta } from "../raft/types.ts";
import type { SnapshotReader, SnapshotWriter } from "../storage/store.ts";
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

export interface SnapshotContext {
  readonly self: ReplicaId;
  readonly clock: Clock;
  readonly logger: Logger;
  send(to: ReplicaId, group: string, body: Packable): void;
}

interface Outgoing {
  readonly replica: Replica;
  readonly to: ReplicaId;
  readonly reader: SnapshotReader;
  readonly term: number;
  /** The frame to repeat while nothing comes back. */
  lastFrame: Packable;
  repeats: number;
  timer: Timer;
}

const REPEAT_MS = 300;
const REPEATS_BEFORE_GIVING_UP = 20;

export class SnapshotTransfers {
  private readonly outgoing = new Map<string, Outgoing>();
  /** At most one incoming snapshot per group: a newer one replaces it. */
  private readonly incoming = new Map<string, SnapshotWriter>();

  constructor(private readonly context: SnapshotContext) {}

  /** Starts sending the group's base snapshot; ends with `snapshot_sent` into the core. */
  start(replica: Replica, to: ReplicaId): void {
    const key = keyOf(replica.group, to);
    if (this.outgoing.has(key)) return;
    const meta = replica.checkpoints.base();
    const reader = meta === null ? null : replica.store.openSnapshot(meta.last.index);
    if (meta === null || reader === null) {
      replica.step({ kind: "snapshot_sent", to, ok: false });
      return;
    }
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
    this.outgoing.set(key, { replica, to, reader, term, lastFrame: offer, repeats: 0, timer });
    this.context.send(to, replica.group, offer);
  }

  /** Ends every transfer of a group that leaves this process. */
  forgetGroup(replica: Replica): void {
    for (const [key, transfer] of this.outgoing) {
      if (transfer.replica === replica) this.end(key, null);
    }
    this.incoming.get(replica.group)?.abort();
    this.incoming.delete(replica.group);
  }

  /** A leader offers a snapshot to this replica. */
  onOffer(from: ReplicaId, replica: Replica, offer: Offer): void {
    const { term, meta, size } = offer;
    const index = meta.last.index;
    if (term < replica.raft.term) {
      const refused = refusedCodec.encode({ index });
      this.context.send(from, replica.group, [FrameKind.snapshotRefused, refused]);
      return;
    }
    if (replica.appliedIndex >= index) {
      // Already here, perhaps by an earlier transfer whose last answer was lost.
      this.answer(from, replica, { index, offset: size });
      this.tellCore(from, replica, term, meta);
      return;
    }
    let writer = this.incoming.get(replica.group);
    if (writer === undefined || !sameSnapshot(writer.meta, meta)) {
      writer?.abort();
      writer = replica.store.beginSnapshot(meta);
      this.incoming.set(replica.group, writer);
    }
    this.answer(from, replica, { index, offset: writer.size });
    if (writer.size === size) this.finishIncoming(from, replica, term, writer);
  }

  onChunk(from: ReplicaId, replica: Replica, chunk: Chunk): void {
    const writer = this.incoming.get(replica.group);
    if (writer === undefined || writer.meta.last.index !== chunk.index) return;
    if (chunk.term < replica.raft.term) return;
    if (chunk.offset === writer.size) writer.write(chunk.bytes);
    this.answer(from, replica, { index: chunk.index, offset: writer.size });
    if (writer.size === chunk.size) this.finishIncoming(from, replica, chunk.term, writer);
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
    const bytes = transfer.reader.read(offset, limits.snapshotChunkBytes);
    const { term, reader: { size } } = transfer;
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

  private finishIncoming(
    from: ReplicaId,
    replica: Replica,
    term: number,
    writer: SnapshotWriter,
  ): void {
    this.incoming.delete(replica.group);
    writer.commit();
    this.tellCore(from, replica, term, writer.meta);
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
    if (ok !== null) transfer.replica.step({ kind: "snapshot_sent", to: transfer.to, ok });
  }
}

function sameSnapshot(left: SnapshotMeta, right: SnapshotMeta): boolean {
  return left.last.index === right.last.index && left.last.term === right.last.term;
}

function keyOf(group: string, to: ReplicaId): string {
  return `${to} ${group}`;
}
