/**
 * Entries of a replica's own log that can no longer be read are asked for from the other members
 * and written again in their places, while the replica goes on: it leads, commits and serves what
 * is whole. A follower that needs the damaged entries waits for them.
 *
 * Any member may answer. An entry of the same index and term is the same entry in every log (log
 * matching, paper 5.3), and the terms of the whole log are in memory, so an answer is checked
 * against them and need not be committed.
 *
 *   whole      nothing is known to be damaged
 *   asking     a member has been asked for the first damaged entries; the next one is asked when it
 *              has none of them, or is silent
 *   given up   every member has answered in one round that it has none of them: `corrupt`, and the
 *              replica is quarantined. While a member is silent it may still have them.
 */

import type { Timer } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Entry, Index, ReplicaId } from "../raft/types.ts";
import type { Damage, LogStore } from "../storage/store.ts";
import { entriesCodec, FrameKind, rangeCodec } from "./frames.ts";
import type { Replica } from "./replica.ts";
import type { ReplicaContext } from "./replica_context.ts";

const PART_BYTES = 256 * 1024;
const ASK_EVERY_MS = 500;

export class Repair {
  private damage: Damage | null = null;
  /** An entry that could not be read, while it is not known yet how much is damaged. */
  private unread: Index | null = null;
  private error: TrilogError | null = null;
  private asked: ReplicaId | null = null;
  /** Members that were asked in this round, and those of them that have none of the entries. */
  private readonly inRound = new Set<ReplicaId>();
  private readonly without = new Set<ReplicaId>();
  private waiting: (() => void)[] = [];
  private timer: Timer | null = null;
  private closed = false;

  constructor(
    private readonly context: ReplicaContext,
    private readonly replica: Replica,
    private readonly store: LogStore,
    private readonly logger: Logger,
  ) {}

  /** Whether entries of the log are known to be damaged. */
  get underWay(): boolean {
    return this.damage !== null || this.unread !== null;
  }

  /**
   * The entries that `store.read` gives from `from` on. Where they have rotted, null: a repair is
   * under way, and `later`, if given, is called at its end. Throws `corrupt` where no other member
   * could help.
   */
  read(from: Index, maxBytes: number, later?: () => void): Entry[] | null {
    try {
      return this.store.read(from, maxBytes);
    } catch (thrown) {
      const error = toTrilogError(thrown);
      if (error.code !== "corrupt" || this.others().length === 0) throw thrown;
      if (later !== undefined) this.waiting.push(later);
      this.begin(from, error);
      return null;
    }
  }

  /** Ends: the replica is closed. */
  close(): void {
    this.closed = true;
    this.timer?.cancel();
    this.waiting = [];
  }

  /** A member asks for entries of its own that have rotted. */
  answer(peer: ReplicaId, { first, last }: { first: Index; last: Index }): void {
    const entries = (this.read(first, PART_BYTES) ?? []).filter(({ index }) => index <= last);
    const answer = entriesCodec.encode({ first, entries });
    this.context.sendFrame(peer, this.replica.group, [FrameKind.entries, answer]);
  }

  /** A member has answered. Throws `corrupt` when every member has, and none could help. */
  take(peer: ReplicaId, first: Index, entries: readonly Entry[]): void {
    const { damage } = this;
    if (damage === null || first !== damage.first) return;
    const fitting = this.fitting(damage, entries);
    if (fitting.length === 0) {
      this.without.add(peer);
      if (this.others().every((id) => this.without.has(id))) throw this.error!;
      if (peer === this.asked) this.ask(damage);
      return;
    }
    this.startRound();
    this.goOn(this.store.mend(damage, fitting));
  }

  private others(): ReplicaId[] {
    const members = Object.keys(this.replica.raft.membership.nodes);
    return members.filter((id) => id !== this.context.self);
  }

  private begin(from: Index, error: TrilogError): void {
    if (this.underWay) return;
    this.error = error;
    this.unread = from;
    this.logger.error("entries have rotted: they are repaired from another replica", {
      from,
      reason: error.message,
    });
    // Not within the read: a caller may be in the middle of its own step.
    this.after(0, () => this.locate());
  }

  private locate(): void {
    const from = this.unread;
    if (from === null) return;
    try {
      const damage = this.store.findDamage(from);
      // A read that failed once may succeed now; one that fails again is beyond repair.
      if (damage === null) this.store.read(from, 1);
      this.unread = null;
      this.goOn(damage);
    } catch (thrown) {
      // Closing the newest segment needs room.
      if (toTrilogError(thrown).code !== "disk_full") throw thrown;
      this.after(ASK_EVERY_MS, () => this.locate());
    }
  }

  /** Entries from the first damaged one on, as far as they are those of this log. */
  private fitting(damage: Damage, entries: readonly Entry[]): readonly Entry[] {
    const end = entries.findIndex(({ index, term }, at) =>
      index !== damage.first + at || index > damage.last || term !== this.store.termAt(index)
    );
    return end < 0 ? entries : entries.slice(0, end);
  }

  private goOn(damage: Damage | null): void {
    this.damage = damage;
    if (damage === null) return this.end();
    // Nothing of the log was there, only records that count no more.
    if (damage.last < damage.first) return this.goOn(this.store.mend(damage, []));
    this.ask(damage);
  }

  private startRound(): void {
    this.inRound.clear();
    this.without.clear();
  }

  private ask(damage: Damage): void {
    const others = this.others();
    // A member that had none of them, or was silent, may have them by the next round.
    if (others.every((id) => this.inRound.has(id))) this.startRound();
    const next = others.find((id) => !this.inRound.has(id));
    if (next === undefined) return;
    this.asked = next;
    this.inRound.add(next);
    const range = rangeCodec.encode({ first: damage.first, last: damage.last });
    this.context.sendFrame(next, this.replica.group, [FrameKind.entriesWanted, range]);
    this.after(ASK_EVERY_MS, () => {
      if (this.damage === damage) this.ask(damage);
    });
  }

  private end(): void {
    this.timer?.cancel();
    this.timer = null;
    this.asked = null;
    this.startRound();
    this.logger.info("rotted entries are repaired");
    for (const later of this.waiting.splice(0)) later();
  }

  private after(delayMs: number, run: () => void): void {
    this.timer?.cancel();
    this.timer = this.context.clock.after(delayMs, () => {
      if (this.closed) return;
      try {
        run();
      } catch (thrown) {
        this.context.failed(this.replica, thrown);
      }
    });
  }
}
