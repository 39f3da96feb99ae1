/**
 * Commands and questions to a replicated machine from any of its nodes. A command goes to the
 * leader wherever that is, under this node's own session, so repeating it after a lost answer or a
 * change of leader is harmless; a question is answered as the {@link ReadMode} says.
 *
 * Every call ends within its deadline. `unavailable` promises that nothing happened and nothing
 * will; `outcome_unknown` says that the command was handed to a leader whose answer is missing.
 */

import { binary, record } from "../base/codec.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Random } from "../base/prng.ts";
import type { Caller } from "../net/rpc_client.ts";
import type { ReplicaId } from "../raft/types.ts";
import type { Replica } from "./replica.ts";
import {
  openedSession,
  openSessionCommand,
  sessionAnswer,
  sessionCommand,
  type SessionId,
} from "./sessions.ts";
import { SessionWindow } from "./session_window.ts";

/**
 * How questions are answered. `index`: by any node, after asking the leader for a read index.
 * `lease`: by the leader only, from its state and clock alone while it holds the lease, else as by
 * `index`; other nodes name the leader. `stale`: by any node as it stands.
 */
export type ReadMode = "index" | "lease" | "stale";

export interface GroupServiceOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly caller: Caller;
  /** The group's replica here; null while the node has not joined a cluster yet. */
  readonly replica: () => Replica | null;
  /** What the node waits for while there is no replica. */
  readonly waitingFor?: () => string;
  /** Address to dial for a member of the group. */
  readonly addressOf: (id: ReplicaId) => string | undefined;
  /** Default: `index`. */
  readonly reads?: ReadMode | undefined;
}

/** Method by which a node hands an enveloped command to the leader's node. */
export const PROPOSE_METHOD = "group.propose";
const proposeCodec = record({ command: binary });

/** Wait before a repeat: drawn from this range and doubled up to the longest. */
const FIRST_BACKOFF_MS = 4;
const LONGEST_BACKOFF_MS = 60;
/** A leader that does not answer for this long is asked again, or another one is. */
const ATTEMPT_MS = 1_500;
/** Time for one command or question, all its repeats included: what was promised, less the way. */
const DEADLINE_MS = limits.answerMs - 500;

export class GroupService {
  private session: Promise<SessionId> | null = null;
  /** The session of the last opening that succeeded; null while none is usable. */
  private opened: SessionId | null = null;
  private readonly window: SessionWindow;

  constructor(private readonly options: GroupServiceOptions) {
    this.window = new SessionWindow(options.clock);
  }

  /**
   * Runs a command exactly once; resolves with the machine's answer. `deadlineMs` is the time for
   * it where that is not the usual one.
   */
  async command(command: Uint8Array, deadlineMs: number = DEADLINE_MS): Promise<Uint8Array> {
    const endMs = this.options.clock.monotonicMs() + deadlineMs;
    for (;;) {
      const session = await this.openSession(endMs);
      try {
        return await this.runInSession(session, command, endMs);
      } catch (thrown) {
        const error = toTrilogError(thrown);
        // The group forgot the session before this command was ever handed over under it.
        if (error.code !== "session_expired") throw error;
        if (this.opened === session) this.opened = this.session = null;
      }
    }
  }

  /** Answers a question about the state; `stale` takes whatever this node has. */
  async query(
    question: Uint8Array,
    stale: boolean = false,
    deadlineMs: number = DEADLINE_MS,
  ): Promise<Uint8Array> {
    const endMs = this.options.clock.monotonicMs() + deadlineMs;
    const reads = stale ? "stale" : this.options.reads ?? "index";
    try {
      if (reads === "lease") return await this.queryUnderLease(question, endMs);
      return await this.repeat(endMs, async () => {
        const replica = this.replica();
        if (reads === "index") await this.within(endMs, replica.readBarrier());
        return replica.machine.query(question);
      });
    } catch (thrown) {
      const error = toTrilogError(thrown);
      // Reading changes nothing: whatever the reason, it is certain that nothing happened.
      throw error.outcomeUnknown ? this.unavailable(error) : error;
    }
  }

  /** The lease is looked at and the question answered in one breath: no pause can come between. */
  private async queryUnderLease(question: Uint8Array, endMs: number): Promise<Uint8Array> {
    const answer = await this.repeat(endMs, () => this.leasedAnswer(question, endMs));
    if (answer instanceof Uint8Array) return answer;
    throw new TrilogError("not_leader", `Cannot read here: the leader is ${answer.leader}`, answer);
  }

  /** The answer, or who can give it. */
  private async leasedAnswer(
    question: Uint8Array,
    endMs: number,
  ): Promise<Uint8Array | { readonly leader: string }> {
    const replica = this.replica();
    if (replica.mayAnswerAlone) return replica.machine.query(question);
    if (replica.isLeader) {
      // A transfer that failed has given the lease up for the whole term: a quorum still answers.
      await this.within(endMs, replica.readBarrier());
      return replica.machine.query(question);
    }
    const leader = replica.leaderAddress();
    if (leader !== undefined) return { leader };
    throw new TrilogError("unavailable", "Cannot read: no leader is known");
  }

  /** Serves {@link PROPOSE_METHOD}: replicates a command that another node enveloped. */
  async servePropose(params: Packable): Promise<Packable> {
    const { command } = proposeCodec.decode(params, "proposal");
    const { answer } = await this.replica().propose(command);
    return answer;
  }

  private async openSession(endMs: number): Promise<SessionId> {
    const opening = this.session ??= this.submit(openSessionCommand(), endMs)
      .then((answer) => this.opened = openedSession(answer));
    try {
      return await opening;
    } catch (thrown) {
      if (this.session === opening) this.session = null;
      // A session opened twice does no harm, so the user's command certainly did not happen.
      throw this.unavailable(toTrilogError(thrown));
    }
  }

  private async runInSession(
    session: SessionId,
    command: Uint8Array,
    endMs: number,
  ): Promise<Uint8Array> {
    const sequence = await this.window.take(endMs);
    const lowestUnacknowledged = this.window.lowest;
    try {
      const envelope = sessionCommand({ session, sequence, lowestUnacknowledged, command });
      return await this.submit(envelope, endMs);
    } finally {
      this.window.release(sequence);
    }
  }

  /** Hands an enveloped command to whoever leads until it is applied or the time is over. */
  private async submit(command: Uint8Array, endMs: number): Promise<Uint8Array> {
    return await this.repeat(
      endMs,
      async () => sessionAnswer(await this.submitOnce(command, endMs)),
    );
  }

  private async submitOnce(command: Uint8Array, endMs: number): Promise<Uint8Array> {
    const replica = this.replica();
    if (replica.isLeader) return (await this.within(endMs, replica.propose(command))).answer;
    const { leader: id } = replica.raft;
    const leader = id === null ? undefined : this.options.addressOf(id);
    if (leader === undefined) {
      throw new TrilogError("unavailable", "Cannot reach the leader: none is known");
    }
    const deadlineMs = Math.min(ATTEMPT_MS, endMs - this.options.clock.monotonicMs());
    const params = proposeCodec.encode({ command });
    return await this.options.caller.call(leader, PROPOSE_METHOD, params, {
      deadlineMs,
    }) as Uint8Array;
  }

  /** Repeats what may be repeated; remembers whether any attempt may have had an effect. */
  private async repeat<T>(endMs: number, attempt: () => Promise<T>): Promise<T> {
    let backoffMs = FIRST_BACKOFF_MS;
    let mayHaveHappened = false;
    for (;;) {
      let error: TrilogError;
      try {
        return await attempt();
      } catch (thrown) {
        error = toTrilogError(thrown);
      }
      if (!error.retryable) throw mayHaveHappened ? this.unknown(error) : error;
      mayHaveHappened ||= error.outcomeUnknown;
      const waitMs = backoffMs * (0.5 + this.options.random.next() / 2);
      if (this.options.clock.monotonicMs() + waitMs >= endMs) {
        throw mayHaveHappened ? this.unknown(error) : this.unavailable(error);
      }
      await sleep(this.options.clock, waitMs);
      backoffMs = Math.min(backoffMs * 2, LONGEST_BACKOFF_MS);
    }
  }

  private within<T>(endMs: number, work: Promise<T>): Promise<T> {
    const leftMs = Math.max(0, endMs - this.options.clock.monotonicMs());
    return new Promise((resolve, reject) => {
      const timer = this.options.clock.after(leftMs, () => {
        reject(new TrilogError("deadline_exceeded", "Cannot complete request: no quorum answered"));
      });
      work.then(resolve, reject).finally(() => timer.cancel());
    });
  }

  private replica(): Replica {
    const replica = this.options.replica();
    if (replica !== null) return replica;
    const reason = this.options.waitingFor?.() ?? "it asks its peers";
    const state = `this node has not joined a cluster yet, ${reason}`;
    throw new TrilogError("unavailable", `Cannot serve: ${state}`);
  }

  private unavailable(cause: TrilogError): TrilogError {
    if (cause.code === "disk_full") return cause;
    const missing = this.options.replica()?.missingQuorum() ?? null;
    if (missing === null && cause.code === "unavailable") return cause;
    const message = `Cannot reach a quorum: ${missing ?? reason(cause)}`;
    return new TrilogError("unavailable", message, { cause });
  }

  private unknown(cause: TrilogError): TrilogError {
    const message = `Cannot determine the outcome of command: ${reason(cause)}`;
    return new TrilogError("outcome_unknown", message, { cause });
  }
}

/** The state part of an error's message. */
function reason(error: TrilogError): string {
  return error.message.slice(error.message.indexOf(": ") + 1).trim();
}
