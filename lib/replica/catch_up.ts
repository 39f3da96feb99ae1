/**
 * Notices when a replica that was away has the entries again that it missed: after a start, a
 * change of leader or a silence of its leader. It only watches; see `ReplicaObserver`.
 */

import type { Raft } from "../raft/raft.ts";
import type { AppendRequest, Index, Input, Ready, ReplicaId } from "../raft/types.ts";
import type { ReplicaObserver } from "./story.ts";

export interface CaughtUp {
  /** Entries that it had missed, those in a snapshot included. */
  readonly entries: number;
  /** Name of the leader that sent them. */
  readonly from: string;
  /** Monotonic time in milliseconds. */
  readonly atMs: number;
}

/** A leader that was not heard for this long may have gone on without this replica. */
const SILENCE_MS = 1_000;

export class CatchUp implements ReplicaObserver {
  /** The last time; null: it never had to. */
  last: CaughtUp | null = null;
  /** The highest index received so far; null before the first input. */
  private received: Index | null = null;
  private missed = 0;
  private leader: ReplicaId | null = null;
  private heardMs = -Infinity;
  /** Whether the replica may have missed something. */
  private uncertain = true;

  constructor(private readonly onCaughtUp: (caughtUp: CaughtUp) => void) {}

  stepped(input: Input, raft: Raft, nowMs: number): void {
    this.received ??= raft.lastIndex;
    if (input.kind !== "message") return;
    const { message } = input;
    if (message.kind === "snapshot_installed") this.receive(message.meta.last.index, true);
    else if (message.kind === "append_request") this.append(message, raft, nowMs);
    else if (message.kind === "heartbeat_request") this.hear(message.from, nowMs);
  }

  ready(_ready: Ready, _raft: Raft): void {}

  private append(message: AppendRequest, raft: Raft, nowMs: number): void {
    const { prev, entries, commit, from, term } = message;
    if (term !== raft.term) return;
    this.hear(from, nowMs);
    const last = prev.index + entries.length;
    // An entry that is on its way to all members is not committed yet when it is sent.
    this.receive(Math.min(last, raft.lastIndex), last <= commit);
    if (!this.uncertain || raft.commitIndex < commit) return;
    this.uncertain = false;
    const { missed } = this;
    this.missed = 0;
    if (missed === 0) return;
    const name = raft.membership.nodes[from]?.name ?? from;
    this.last = { entries: missed, from: name, atMs: nowMs };
    this.onCaughtUp(this.last);
  }

  private hear(from: ReplicaId, nowMs: number): void {
    if (from !== this.leader || nowMs - this.heardMs > SILENCE_MS) this.uncertain = true;
    this.leader = from;
    this.heardMs = nowMs;
  }

  private receive(last: Index, isOld: boolean): void {
    const news = last - this.received!;
    if (news <= 0) return;
    this.received = last;
    if (isOld) this.missed += news;
  }
}

/** Several observers as one. */
export class Observers implements ReplicaObserver {
  constructor(private readonly observers: readonly ReplicaObserver[]) {}

  get logsLeadership(): boolean {
    return this.observers.some(({ logsLeadership }) => logsLeadership === true);
  }

  stepped(input: Input, raft: Raft, nowMs: number): void {
    for (const observer of this.observers) observer.stepped(input, raft, nowMs);
  }

  ready(ready: Ready, raft: Raft): void {
    for (const observer of this.observers) observer.ready(ready, raft);
  }
}
