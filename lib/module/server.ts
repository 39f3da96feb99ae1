/**
 * One server of a replicated service: the Raft core of lib/raft with a disk, a network and a
 * service around it. Everything happens within one synchronous step: an input goes into the core,
 * what it decided is made durable, sent and applied, and only then is the next input taken.
 */

import { assert } from "../base/assert.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { systemClock } from "../base/system_clock.ts";
import { systemRandom } from "../base/system_random.ts";
import { Raft } from "../raft/raft.ts";
import {
  type Entry,
  EntryKind,
  type Fetch,
  type HardState,
  type InitialState,
  type Input,
  type Membership,
  type Message,
  type Ready,
  type ReplicaId,
  type SnapshotMeta,
  type TermRun,
} from "../raft/types.ts";
import type { Base, NumberedLog } from "./numbered_log.ts";
import type { Persister } from "./persister.ts";
import type { ApplyMessage, Peer, ServerOptions, ServerState, StartResult } from "./types.ts";
import {
  decodeAnswer,
  decodeCall,
  decodeState,
  encodeAnswer,
  encodeCall,
  encodeRecord,
} from "./wire.ts";

/** How often the core is told that time passes. */
const TICK_MS = 10;
/** Superseded bytes of the state that are tolerated before it is written anew. */
const SLACK_BYTES = 1024;

/**
 * Makes server `me` of `peers.length`, and starts it. `persister` holds what this server wrote in
 * its earlier lives. `apply` gets the committed commands (and snapshots) in order; it is called
 * from within the server's step, so it must not throw, and may call `start` and `snapshot`.
 *
 * A server that starts with a snapshot applies it first. Throws `malformed` where the persister
 * holds something else than a server's state. README.md beside this file has a whole program.
 */
export function make(
  peers: readonly Peer[],
  me: number,
  persister: Persister,
  apply: (message: ApplyMessage) => void,
  options: ServerOptions = {},
): RaftServer {
  return new RaftServer(peers, me, persister, apply, options);
}

export class RaftServer {
  private readonly id: ReplicaId;
  private readonly clock: Clock;
  private readonly electionTimeoutMs: number;
  private readonly membership: Membership;
  private readonly raft: Raft;
  private readonly log: NumberedLog;
  private hard: HardState;
  /** Number of the last command that the service was given. */
  private applied: number;
  /** The service got the snapshot that this server started with, or there is none. */
  private restored: boolean;
  private ticker: Timer;
  private turnWanted = false;
  private applying = false;
  private killed = false;
  /** Size of the state when it was last written anew, and of what was appended since. */
  private replacedBytes = 0;
  private appendedBytes = 0;
  /** Answers to the call that is being handled. */
  private answers: Message[] = [];
  /** Snapshot of another server that is offered to the core. */
  private offered: { readonly base: Base; readonly bytes: Uint8Array } | null = null;
  /** Snapshot that the service took while it was applying. */
  private taken: { readonly index: number; readonly bytes: Uint8Array } | null = null;

  constructor(
    private readonly peers: readonly Peer[],
    me: number,
    private readonly persister: Persister,
    private readonly apply: (message: ApplyMessage) => void,
    options: ServerOptions,
  ) {
    const { electionTimeoutMs = 500, heartbeatMs = 65, random = systemRandom } = options;
    this.clock = options.clock ?? systemClock;
    this.electionTimeoutMs = electionTimeoutMs;
    this.id = String(me);
    this.membership = membershipOf(peers.length);
    ({ hard: this.hard, log: this.log } = decodeState(persister.readState()));
    this.applied = this.log.base.commands;
    this.restored = this.log.base.last.index === 0;
    this.raft = new Raft(
      {
        id: this.id,
        electionTimeoutMs,
        heartbeatMs,
        leaseMs: 0,
        clockErrorRatio: 0,
        maxAppendBytes: limits.appendBytes,
        maxInflightMessages: limits.inflightMessages,
        maxInflightBytes: limits.inflightBytes,
        maxUncommittedBytes: limits.uncommittedBytes,
        entryCacheBytes: limits.entryCacheBytes,
        diskStallMs: Infinity,
      },
      this.initialState(),
      random,
    );
    this.ticker = this.clock.after(0, () => this.tick());
  }

  /**
   * Asks for `command` to be committed, and returns at once: with the number that it will have,
   * or with `isLeader` false where this server is not the one to ask. It may still be lost when
   * the leadership is; then another command is applied under that number. Throws `overloaded`
   * while too much is waiting to be committed, and `shutting_down` after `kill`.
   */
  start(command: Uint8Array): StartResult {
    if (this.killed) throw new TrilogError("shutting_down", "Cannot start command: server killed");
    const { term, isLeader } = this.getState();
    if (!isLeader) return { index: 0, term, isLeader };
    const before = this.raft.lastIndex;
    const timeMs = this.clock.wallMs();
    this.step({ kind: "propose", requestId: 0, data: command, timeMs });
    if (this.raft.lastIndex === before) {
      throw new TrilogError("overloaded", "Cannot start command: too much is not yet committed");
    }
    this.wantTurn();
    // Whatever is not yet taken out of the core was started here since: commands, all of them.
    const index = this.log.commands + this.raft.lastIndex - this.log.last.index;
    return { index, term, isLeader };
  }

  getState(): ServerState {
    return { term: this.raft.term, isLeader: !this.killed && this.raft.role === "leader" };
  }

  /**
   * The service's state after command `index`, which it has applied: the log up to there is
   * dropped. Older than the present snapshot, it is ignored. Throws `invalid_argument` for a
   * command that was not applied, and `storage_full` for a state of more than
   * `limits.wholeSnapshotBytes`, since it is sent to other servers as one message.
   */
  snapshot(index: number, bytes: Uint8Array): void {
    if (index > this.applied) {
      const state = `command ${index} is not applied`;
      throw new TrilogError("invalid_argument", `Cannot take snapshot: ${state}`);
    }
    if (bytes.length > limits.wholeSnapshotBytes) {
      const state = `${bytes.length} bytes are more than ${limits.wholeSnapshotBytes}`;
      throw new TrilogError("storage_full", `Cannot take snapshot: ${state}`);
    }
    if (this.killed) return;
    this.taken = { index, bytes };
    if (!this.applying) this.settle();
  }

  /**
   * Answers a request that another server's {@link Peer.call} brought here. Throws `malformed`
   * on bytes that no server sends, and `shutting_down` after `kill`.
   */
  handle(request: Uint8Array): Uint8Array {
    if (this.killed) throw new TrilogError("shutting_down", "Cannot answer call: server killed");
    const call = decodeCall(this.id, request);
    this.answers = [];
    const { from } = call.kind === "message" ? call.message : call;
    if (call.kind === "message") this.step(call);
    else {
      const { term, base, bytes } = call;
      this.offered = { base, bytes };
      const meta = this.metaOf(base);
      this.step({
        kind: "message",
        message: { kind: "snapshot_installed", from, to: this.id, term, meta },
      });
    }
    this.settle();
    this.offered = null;
    return encodeAnswer(this.answers.find((answer) => answer.to === from));
  }

  /** Stops the server for good: nothing is applied, sent or written any more. */
  kill(): void {
    this.killed = true;
    this.ticker.cancel();
  }

  private tick(): void {
    this.ticker = this.clock.after(TICK_MS, () => this.tick());
    this.step({ kind: "tick" });
    this.settle();
  }

  /** Commands that are started within one turn travel together. */
  private wantTurn(): void {
    if (this.turnWanted) return;
    this.turnWanted = true;
    this.clock.nextTurn(() => {
      this.turnWanted = false;
      this.settle();
    });
  }

  private step(input: Input): void {
    this.raft.step(input, this.clock.monotonicMs());
  }

  /** Does all that the core has decided, and all that follows from that. */
  private settle(): void {
    if (this.killed) return;
    if (!this.restored) this.applySnapshot(this.persister.readSnapshot());
    this.cut();
    for (;;) {
      if (this.killed) return;
      const ready = this.raft.takeReady();
      if (ready === null) return;
      this.perform(ready);
    }
  }

  private perform(ready: Ready): void {
    this.persist(ready);
    for (const message of ready.messages) this.send(message);
    for (const message of ready.messagesAfterSync) this.send(message);
    for (const to of ready.snapshotsToSend) this.sendSnapshot(to);
    // Applied before the core learns of the sync: nothing but commands may enter the log while
    // the service can call `start`.
    if (ready.snapshot !== null) this.applySnapshot(this.persister.readSnapshot());
    this.applyEntries(ready.committed);
    if (ready.mustSync) this.step({ kind: "synced", sequence: ready.sequence });
    for (const fetch of ready.fetches) this.fetch(fetch);
    this.cut();
  }

  /** Makes durable what the Ready changes. */
  private persist(ready: Ready): void {
    const { hardState, snapshot, entries } = ready;
    if (hardState !== null) this.hard = hardState;
    if (snapshot !== null) {
      const { base, bytes } = this.offered!;
      assert(base.last.index === snapshot.last.index, "the snapshot adopted is the one offered");
      this.log.rebase(base);
      this.log.append(entries);
      this.rewrite(bytes);
      return;
    }
    this.log.append(entries);
    if (hardState === null && entries.length === 0) return;
    const bytes = encodeRecord(null, hardState, entries);
    if (this.appendedBytes + bytes.length > 2 * this.replacedBytes + SLACK_BYTES) {
      this.rewrite();
      return;
    }
    this.persister.append(bytes);
    this.appendedBytes += bytes.length;
  }

  /** Writes the whole state anew, without what was superseded. */
  private rewrite(snapshot?: Uint8Array): void {
    const bytes = encodeRecord(this.log.base, this.hard, this.log.entries);
    this.persister.replace(bytes, snapshot);
    this.replacedBytes = bytes.length;
    this.appendedBytes = 0;
  }

  private send(message: Message): void {
    switch (message.kind) {
      case "vote_response":
      case "append_response":
      case "heartbeat_response":
        this.answers.push(message);
        return;
      default:
        this.call(message.to, encodeCall({ kind: "message", message }));
    }
  }

  /** Calls a peer and takes its answer in; a call without an answer leaves no trace. */
  private async call(to: ReplicaId, request: Uint8Array): Promise<boolean> {
    const bytes = await this.peers[Number(to)].call(request);
    if (bytes === null || this.killed) return false;
    const message = decodeAnswer(to, this.id, bytes);
    if (message === null) return false;
    this.step({ kind: "message", message });
    this.settle();
    return true;
  }

  /** Sends the newest snapshot whole. A call may hang for long: the core does not wait for it. */
  private sendSnapshot(to: ReplicaId): void {
    const request = encodeCall({
      kind: "snapshot",
      from: this.id,
      term: this.raft.term,
      base: this.log.base,
      bytes: this.persister.readSnapshot(),
    });
    let open = true;
    const close = (ok: boolean) => {
      if (!open || this.killed) return;
      open = false;
      timer.cancel();
      this.step({ kind: "snapshot_sent", to, ok });
      this.settle();
    };
    const timer = this.clock.after(this.electionTimeoutMs, () => close(false));
    this.call(to, request).then(close);
  }

  private applySnapshot(snapshot: Uint8Array): void {
    const { commands, last } = this.log.base;
    this.restored = true;
    this.applied = commands;
    this.tell({ kind: "snapshot", index: commands, term: last.term, snapshot });
  }

  private applyEntries(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    for (const { index, term, kind, data } of entries) {
      if (kind !== EntryKind.command || this.killed) continue;
      this.applied += 1;
      assert(this.applied === this.log.commandsAt(index), "commands are applied in order");
      this.tell({ kind: "command", index: this.applied, term, command: data });
    }
    this.step({ kind: "applied", index: entries[entries.length - 1].index });
  }

  private tell(message: ApplyMessage): void {
    this.applying = true;
    try {
      this.apply(message);
    } finally {
      this.applying = false;
    }
  }

  /** Entries that left the core's memory. */
  private fetch({ to, from, maxBytes }: Fetch): void {
    const entries: Entry[] = [];
    let bytes = 0;
    for (let entry = this.log.entryAt(from); entry !== undefined;) {
      bytes += entry.data.length;
      if (entries.length > 0 && bytes > maxBytes) break;
      entries.push(entry);
      entry = this.log.entryAt(entry.index + 1);
    }
    this.step({ kind: "fetched", to, entries });
  }

  /** Drops the log that a snapshot of the service made superfluous. */
  private cut(): void {
    if (this.taken === null || this.killed) return;
    const { index, bytes } = this.taken;
    this.taken = null;
    const entry = this.log.commandEntry(index);
    if (entry === undefined) return;
    const { index: position, term, timeMs } = entry;
    const base = { last: { index: position, term }, timeMs, commands: index };
    this.log.rebase(base);
    this.rewrite(bytes);
    this.step({ kind: "compacted", snapshot: this.metaOf(base) });
  }

  private metaOf({ last, timeMs }: Base): SnapshotMeta {
    return { last, timeMs, membership: this.membership };
  }

  private initialState(): InitialState {
    const { base, entries, last } = this.log;
    const termRuns: TermRun[] = base.last.index > 0 ? [[base.last.term, base.last.index]] : [];
    for (const { term, index } of entries) {
      if (termRuns[termRuns.length - 1]?.[0] !== term) termRuns.push([term, index]);
    }
    return {
      hardState: this.hard,
      snapshot: base.last.index > 0 ? this.metaOf(base) : null,
      applied: base.last.index,
      last: { index: last.index, term: last.term },
      termRuns,
      lastTimeMs: entries[entries.length - 1]?.timeMs ?? base.timeMs,
      memberships: [],
      baseMembership: this.membership,
    };
  }
}

/** All servers vote; their ids are their positions. */
function membershipOf(count: number): Membership {
  const voters = Array.from({ length: count }, (_, position) => String(position));
  const nodes = Object.fromEntries(voters.map((id) => [id, { name: id, address: id }]));
  return { voters: voters.sort(), outgoing: [], learners: [], learnersNext: [], nodes };
}
