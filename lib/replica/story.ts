/**
 * The story that a node's log tells of its consensus: elections, heartbeats and leases, what was
 * appended and committed. It only watches what goes into the core and what comes out. Changes of
 * state are a line each at info; what happens with every request or heartbeat is written at most
 * once a second for each kind, with a count, and one by one at debug (`paced_log.ts`).
 */

import type { Clock } from "../base/clock.ts";
import type { LogFields, Logger } from "../base/logger.ts";
import { PacedLog } from "../base/paced_log.ts";
import type { Raft } from "../raft/raft.ts";
import {
  type Entry,
  EntryKind,
  type Input,
  type Membership,
  type Message,
  type Ready,
  type ReplicaId,
  type Role,
} from "../raft/types.ts";
import { commandOf } from "./sessions.ts";

/** Sees everything that a replica's core takes in and gives out, in order. */
export interface ReplicaObserver {
  /** Whether it logs that the replica became leader, so that the replica need not. */
  readonly logsLeadership?: boolean;
  /** The core has taken `input`. */
  stepped(input: Input, raft: Raft, nowMs: number): void;
  /** The replica is about to carry this out. */
  ready(ready: Ready, raft: Raft): void;
}

/** How a system words its own requests; text without line breaks. */
export interface StoryWords {
  command(command: Uint8Array): string;
  question(question: Uint8Array): string;
}

export interface StoryOptions {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly words: StoryWords;
  readonly heartbeatMs: number;
}

/** A follower that was not heard for this many heartbeats did not answer. */
const SILENT_HEARTBEATS = 2;

export class Story implements ReplicaObserver {
  readonly logsLeadership = true;
  private role: Role = "follower";
  private term = 0;
  private nowMs = 0;
  private lastRound = 0;
  /** Since when this leader has been sending heartbeats. */
  private speakingSinceMs = 0;
  /** When each member last answered this leader, and when its silence was last told of. */
  private readonly heardMs = new Map<ReplicaId, number>();
  private readonly toldSilentMs = new Map<ReplicaId, number>();

  /** What happens often. */
  private readonly paced: PacedLog;

  constructor(private readonly options: StoryOptions) {
    this.paced = new PacedLog(options.logger, options.clock);
  }

  stepped(input: Input, raft: Raft, nowMs: number): void {
    this.nowMs = nowMs;
    if (input.kind === "message") this.heardMs.set(input.message.from, nowMs);
    else if (input.kind === "resume") this.speakingSinceMs = nowMs;
    else if (input.kind === "peer_unreachable") {
      this.tellFailure(nameOf(raft, input.peer), "unreachable");
    }
    if (raft.role === this.role && raft.term === this.term) return;
    const before = { role: this.role, term: this.term };
    this.role = raft.role;
    this.term = raft.term;
    if (before.role === "leader") this.tellStepDown(input, before.term);
    if (raft.role === "leader") this.tellLeadership(raft);
  }

  ready(ready: Ready, raft: Raft): void {
    this.tellCampaign(ready);
    this.tellHeartbeat(ready.messages, raft);
    for (const message of ready.messages) this.tellAnswer(message, raft);
    for (const message of ready.messagesAfterSync) this.tellAnswer(message, raft);
    for (const entry of ready.committed) this.tellCommit(entry);
  }

  private tellStepDown(input: Input, ledTerm: number): void {
    if (this.term > ledTerm) {
      this.tell("stepping down: there is a newer term", { led: ledTerm, term: this.term });
    } else if (input.kind === "tick" || input.kind === "read") {
      this.tell("could not renew the lease, stepping down", { term: this.term });
    } else this.tell("stepping down: no longer a voter", { term: this.term });
  }

  private tellLeadership(raft: Raft): void {
    this.lastRound = 0;
    this.speakingSinceMs = this.nowMs;
    this.tell("became leader", { term: this.term });
    const waitMs = (raft.leaseWaitUntilMs ?? 0) - this.nowMs;
    if (waitMs <= 0) return;
    this.tell("waiting for the old leader's lease", { term: this.term, ms: Math.ceil(waitMs) });
  }

  private tellCampaign({ messages, messagesAfterSync }: Ready): void {
    const asked = messages.find(isVoteRequest);
    if (asked !== undefined) {
      this.tell("the election timer ran out, asking for pre-votes", { term: asked.term });
    }
    const campaign = messagesAfterSync.find(isVoteRequest);
    if (campaign !== undefined) this.tell("asking for votes", { term: campaign.term });
  }

  private tellHeartbeat(messages: readonly Message[], raft: Raft): void {
    const beats = messages.filter((message) =>
      message.kind === "heartbeat_request" && message.round > this.lastRound
    ) as Extract<Message, { kind: "heartbeat_request" }>[];
    if (beats.length === 0) return;
    const [{ round, leaseMs }] = beats;
    this.lastRound = round;
    const { membership } = raft;
    const to = () => beats.map((beat) => nameIn(membership, beat.to)).join(",");
    if (leaseMs > 0) {
      this.paced.write(
        "sending a heartbeat and renewing the lease",
        () => ({ to: to(), round, leaseMs }),
      );
    } else this.paced.write("sending a heartbeat", () => ({ to: to(), round }));
    for (const beat of beats) this.tellSilence(beat.to, raft);
  }

  /** A message has no answer of its own: a follower that says nothing for long has failed. */
  private tellSilence(to: ReplicaId, raft: Raft): void {
    const silentMs = this.nowMs - Math.max(this.heardMs.get(to) ?? 0, this.speakingSinceMs);
    if (silentMs < SILENT_HEARTBEATS * this.options.heartbeatMs) return;
    const toldMs = this.toldSilentMs.get(to) ?? -Infinity;
    if (this.nowMs - toldMs < this.options.heartbeatMs) return;
    this.toldSilentMs.set(to, this.nowMs);
    this.tellFailure(nameOf(raft, to), `no answer for ${Math.round(silentMs)} ms`);
  }

  private tellFailure(to: string, reason: string): void {
    this.paced.write("an RPC failed", () => ({ to, reason }), to);
  }

  private tellAnswer(message: Message, raft: Raft): void {
    const to = nameOf(raft, message.to);
    switch (message.kind) {
      case "vote_response": {
        const what = message.preVote ? "pre-vote" : "vote";
        const answer = message.granted ? "granted" : "denied";
        return this.tell(`${what} ${answer}`, { for: to, term: message.requestTerm });
      }
      case "append_response":
        if (message.match === null) {
          const after = message.prevIndex;
          return this.paced.write("AppendEntries rejected", () => ({ from: to, after }));
        }
        return this.paced.write(
          "AppendEntries accepted",
          () => ({ from: to, upTo: message.match }),
          "entries",
        );
      case "heartbeat_response": {
        const answer = raft.leader === message.to ? "accepted" : "rejected";
        return this.paced.write(
          `AppendEntries ${answer}`,
          () => ({ from: to, heartbeat: message.round }),
          "heartbeat",
        );
      }
    }
  }

  private tellCommit(entry: Entry): void {
    const as = this.role === "leader" ? "leader" : "follower";
    const { index, term } = entry;
    this.paced.write(
      `entry committed as ${as}`,
      () => ({ index, term, entry: this.wordsOf(entry) }),
    );
  }

  private wordsOf({ kind, data }: Entry): string {
    if (kind === EntryKind.noop) return "no-op";
    if (kind === EntryKind.membership) return "membership";
    const command = commandOf(data);
    return command === null ? "session" : this.options.words.command(command);
  }

  private tell(message: string, fields: LogFields): void {
    this.options.logger.info(message, fields);
  }
}

function isVoteRequest(message: Message): message is Extract<Message, { kind: "vote_request" }> {
  return message.kind === "vote_request";
}

/** A member's name; the identity where it is no member. */
function nameOf(raft: Raft, id: ReplicaId): string {
  return nameIn(raft.membership, id);
}

function nameIn({ nodes }: Membership, id: ReplicaId): string {
  return nodes[id]?.name ?? id;
}
