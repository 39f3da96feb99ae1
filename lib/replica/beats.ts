/**
 * Groups at rest cost nothing. A group whose members all hold the same committed log and in which
 * nothing happens is put to rest: its leader and followers stop ticking and heartbeating, and one
 * beat between the two processes replaces the heartbeats of all such groups.
 *
 * A leader's process sends `rest(term, last index)` to every member and forgets the group's timers;
 * a follower that agrees does the same. Every beat carries a digest of the groups that the sender
 * holds at rest as leader together with the receiver; the receiver's reply carries its digest of
 * those it holds at rest under that leader. Digests differ when a frame was lost or a group
 * moved on: then both sides wake what they share, and Raft's own heartbeats sort it out.
 *
 * Only a beat vouches for a leader, and only a reply for a follower: other frames show that the
 * process lives, not that its replica of a group does. A process that gets no beats wakes its
 * followers, one that gets no replies wakes its leaders: so neither elections nor check-quorum are
 * ever later than a beat timeout behind an awake group's. DESIGN.md has the states and windows.
 */

import type { Logger } from "../base/logger.ts";
import type { Packable } from "../base/msgpack.ts";
import type { ReplicaId, Starvation } from "../raft/types.ts";
import { type Beat, beatCodec, FrameKind, PROCESS_GROUP, type Rest, restCodec } from "./frames.ts";
import type { Replica } from "./replica.ts";

export interface BeatContext {
  readonly logger: Logger;
  /** Monotonic time. */
  nowMs(): number;
  send(to: ReplicaId, group: string, body: Packable): void;
  replica(group: string): Replica | undefined;
  /** The replica ticks again. */
  activate(replica: Replica): void;
  /** The replica ticks no more. */
  deactivate(replica: Replica): void;
}

export interface BeatTiming {
  readonly beatMs: number;
  /** Without a sign of life for this long, what rests with that process wakes. */
  readonly timeoutMs: number;
  /** A group rests when nothing happened in it for this long. */
  readonly restAfterMs: number;
}

/** What one process shares with another, as known here. */
interface PeerProcess {
  /** When it last vouched for the groups that it leads: by a beat, or by asking for rest. */
  lastBeatMs: number;
  /** When it last answered a beat, or when beats to it began. */
  lastReplyMs: number;
  lastSentMs: number;
  sequence: number;
  /** Groups at rest that are led here, and the digest of them. */
  readonly led: Map<string, number>;
  ledDigest: number;
  /** Groups at rest that are led there, and the digest of them. */
  readonly followed: Map<string, number>;
  followedDigest: number;
  /** The digest that went out with the latest beat. */
  sentDigest: number;
}

export class Beats {
  private readonly peers = new Map<ReplicaId, PeerProcess>();

  constructor(
    private readonly self: ReplicaId,
    private readonly context: BeatContext,
    private readonly timing: BeatTiming,
  ) {}

  /**
   * Puts a quiet leader's group to rest where every member's replica has answered since the group
   * was last awake; returns whether it did. Only for a replica whose core has nothing left to send:
   * what followed would wake others.
   */
  tryRest(replica: Replica, nowMs: number): boolean {
    if (nowMs - replica.lastActiveMs < this.timing.restAfterMs) return false;
    const raft = replica.raft;
    if (raft.role !== "leader" || !raft.isIdle) return false;
    const sinceMs = Math.max(nowMs - this.timing.timeoutMs, replica.awakeSinceMs);
    if (!raft.heardAllSince(sinceMs)) return false;
    for (const other of membersBut(replica, this.self)) {
      const peer = this.peer(other);
      if (peer.led.size === 0) peer.lastReplyMs = nowMs;
      peer.ledDigest = put(peer.led, peer.ledDigest, replica.group, raft.term);
      const rest = restCodec.encode({ term: raft.term, lastIndex: raft.lastIndex });
      this.context.send(other, replica.group, [FrameKind.rest, rest]);
    }
    this.setResting(replica);
    return true;
  }

  /** A leader asks for rest: agreed only where this replica sees exactly the same. */
  onRest(from: ReplicaId, replica: Replica, { term, lastIndex }: Rest, nowMs: number): void {
    const raft = replica.raft;
    const agreed = raft.role === "follower" && raft.term === term && raft.leader === from &&
      raft.lastIndex === lastIndex && raft.isIdle;
    if (!agreed) {
      this.context.send(from, replica.group, [FrameKind.wake, null]);
      return;
    }
    const peer = this.peer(from);
    peer.lastBeatMs = nowMs;
    peer.followedDigest = put(peer.followed, peer.followedDigest, replica.group, term);
    this.setResting(replica);
  }

  /** Input arrived for a resting replica, or its rest is over for another reason. */
  wake(replica: Replica): void {
    if (!replica.resting) return;
    replica.resting = false;
    replica.awakeSinceMs = this.context.nowMs();
    for (const peer of this.peers.values()) {
      peer.ledDigest = take(peer.led, peer.ledDigest, replica.group);
      peer.followedDigest = take(peer.followed, peer.followedDigest, replica.group);
    }
    this.context.activate(replica);
    replica.step({ kind: "resume" });
  }

  /** A process is most likely gone: nothing may rest on it. */
  wakeAllWith(peer: ReplicaId): void {
    const shared = this.peers.get(peer);
    if (shared === undefined) return;
    this.wakeGroups(shared.led);
    this.wakeGroups(shared.followed);
  }

  /** A group leaves this process. */
  forgetGroup(replica: Replica): void {
    for (const peer of this.peers.values()) {
      peer.ledDigest = take(peer.led, peer.ledDigest, replica.group);
      peer.followedDigest = take(peer.followed, peer.followedDigest, replica.group);
    }
  }

  /** Sends what is due and notices silent peers; call it every tick. */
  tick(nowMs: number, starvation?: Starvation): void {
    const { logger } = this.context;
    const timeoutMs = this.timing.timeoutMs + (starvation?.patienceMs ?? 0);
    if (starvation !== undefined) this.discount(starvation.lateMs, nowMs);
    for (const [id, peer] of this.peers) {
      if (peer.followed.size > 0 && nowMs - peer.lastBeatMs > timeoutMs) {
        logger.debug("no beats: waking the groups that it led", { peer: id });
        this.wakeGroups(peer.followed);
      }
      if (peer.led.size > 0 && nowMs - peer.lastReplyMs > timeoutMs) {
        logger.debug("no replies to beats: waking the groups led here", { peer: id });
        this.wakeGroups(peer.led);
      }
      if (peer.led.size > 0 && nowMs - peer.lastSentMs >= this.timing.beatMs) {
        peer.lastSentMs = nowMs;
        peer.sequence += 1;
        peer.sentDigest = peer.ledDigest;
        const beat = beatCodec.encode({ sequence: peer.sequence, digest: peer.ledDigest });
        this.context.send(id, PROCESS_GROUP, [FrameKind.beat, beat]);
      }
    }
  }

  /** Time in which this process did not run is no silence of the others. */
  private discount(lateMs: number, nowMs: number): void {
    for (const peer of this.peers.values()) {
      peer.lastBeatMs = Math.min(peer.lastBeatMs + lateMs, nowMs);
      peer.lastReplyMs = Math.min(peer.lastReplyMs + lateMs, nowMs);
    }
  }

  onBeat(from: ReplicaId, { sequence, digest }: Beat, nowMs: number): void {
    const peer = this.peer(from);
    peer.lastBeatMs = nowMs;
    const reply = beatCodec.encode({ sequence, digest: peer.followedDigest });
    this.context.send(from, PROCESS_GROUP, [FrameKind.beatReply, reply]);
    if (digest === peer.followedDigest) return;
    this.wakeGroups(peer.followed);
  }

  onBeatReply(from: ReplicaId, { sequence, digest }: Beat, nowMs: number): void {
    const peer = this.peer(from);
    peer.lastReplyMs = nowMs;
    // Only the answer to the latest beat can be compared, and only while nothing changed since.
    if (sequence !== peer.sequence || peer.ledDigest !== peer.sentDigest) return;
    if (digest === peer.ledDigest) return;
    this.wakeGroups(peer.led);
  }

  private wakeGroups(groups: ReadonlyMap<string, number>): void {
    for (const group of [...groups.keys()]) {
      const replica = this.context.replica(group);
      if (replica !== undefined) this.wake(replica);
    }
  }

  private setResting(replica: Replica): void {
    replica.store.mark();
    replica.resting = true;
    this.context.deactivate(replica);
  }

  private peer(id: ReplicaId): PeerProcess {
    let peer = this.peers.get(id);
    if (peer === undefined) {
      peer = {
        lastBeatMs: -Infinity,
        lastReplyMs: -Infinity,
        lastSentMs: -Infinity,
        sequence: 0,
        led: new Map(),
        ledDigest: 0,
        followed: new Map(),
        followedDigest: 0,
        sentDigest: 0,
      };
      this.peers.set(id, peer);
    }
    return peer;
  }
}

/** Everybody in a replica's membership, learners included, but `self`. */
function membersBut(replica: Replica, self: ReplicaId): ReplicaId[] {
  return Object.keys(replica.raft.membership.nodes).filter((id) => id !== self);
}

function put(groups: Map<string, number>, digest: number, group: string, term: number): number {
  const removed = take(groups, digest, group);
  const hash = hashOf(group, term);
  groups.set(group, hash);
  return (removed ^ hash) >>> 0;
}

function take(groups: Map<string, number>, digest: number, group: string): number {
  const hash = groups.get(group);
  if (hash === undefined) return digest;
  groups.delete(group);
  return (digest ^ hash) >>> 0;
}

/** FNV-1a over the group's name and its term. */
function hashOf(group: string, term: number): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < group.length; at += 1) {
    hash = Math.imul(hash ^ group.charCodeAt(at), 0x01000193);
  }
  hash = Math.imul(hash ^ (term >>> 0), 0x01000193);
  hash = Math.imul(hash ^ Math.floor(term / 2 ** 32), 0x01000193);
  return (hash ^ (hash >>> 15)) >>> 0;
}
