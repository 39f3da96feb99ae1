/**
 * A key-value service on the Raft module, in memory: every request, reads too, is a command, and
 * sessions make each take effect exactly once, however often a client asks.
 */

import type { Clock } from "../../../lib/base/clock.ts";
import { textOf, utf8 } from "../../../lib/base/bytes.ts";
import type { ApplyMessage, Persister, RaftServer } from "../../../lib/module/mod.ts";

export interface KvRequest {
  readonly client: string;
  /** Number of the request within the client, from 1: a repeat has the same. */
  readonly sequence: number;
  readonly kind: "get" | "put" | "append";
  readonly key: string;
  readonly value: string;
}

/** Null: this server cannot tell; ask another, or again. */
export interface KvAnswer {
  readonly value: string | null;
  readonly done: boolean;
}

const RETRY: KvAnswer = { value: null, done: false };
/** How often a server looks whether it may still hope for what it started. */
const PATIENCE_MS = 100;
/** Commands between two snapshots: what is not yet applied keeps the log long after one. */
const SNAPSHOT_MIN_COMMANDS = 10;

interface Waiting {
  readonly term: number;
  readonly request: KvRequest;
  readonly answer: (answer: KvAnswer) => void;
}

/** The state: what is stored, and each client's latest request with its answer. */
interface KvState {
  data: Record<string, string>;
  sessions: Record<string, readonly [sequence: number, value: string | null]>;
}

export class KvServer {
  private state: KvState = { data: {}, sessions: {} };
  /** Requests that wait for the command of an index to be applied. */
  private readonly waiting = new Map<number, Waiting>();
  private raft!: RaftServer;
  /** The command that the newest snapshot ends with. */
  private snapshotIndex = 0;

  /** With `snapshotAtBytes`, a log that has grown so large is replaced by a snapshot. */
  constructor(
    private readonly clock: Clock,
    private readonly persister: Persister,
    private readonly snapshotAtBytes: number | null,
  ) {}

  serve(raft: RaftServer): void {
    this.raft = raft;
  }

  apply(message: ApplyMessage): void {
    if (message.kind === "snapshot") {
      this.state = JSON.parse(textOf(message.snapshot));
      this.snapshotIndex = message.index;
      return;
    }
    const request: KvRequest = JSON.parse(textOf(message.command));
    const answer = this.execute(request);
    const waiting = this.waiting.get(message.index);
    this.waiting.delete(message.index);
    waiting?.answer(isSame(waiting.request, request) ? answer : RETRY);
    this.takeSnapshot(message.index);
  }

  private takeSnapshot(index: number): void {
    if (this.snapshotAtBytes === null || this.persister.stateBytes < this.snapshotAtBytes) return;
    if (index < this.snapshotIndex + SNAPSHOT_MIN_COMMANDS) return;
    this.snapshotIndex = index;
    this.raft.snapshot(index, utf8(JSON.stringify(this.state)));
  }

  private execute({ client, sequence, kind, key, value }: KvRequest): KvAnswer {
    const { data, sessions } = this.state;
    const [last, first] = sessions[client] ?? [0, null];
    // A repeat gets the first answer; the client has gone on from what is older than that.
    if (sequence <= last) return { value: first, done: sequence === last };
    const before = data[key] ?? "";
    if (kind !== "get") data[key] = kind === "append" ? before + value : value;
    const answer = kind === "get" ? before : null;
    sessions[client] = [sequence, answer];
    return { value: answer, done: true };
  }

  /** Answers a client's call when its command is applied, or when it may have been lost. */
  handle(bytes: Uint8Array): Promise<Uint8Array> {
    const { index, term, isLeader } = this.raft.start(bytes);
    return new Promise((resolve) => {
      const answer = (answer: KvAnswer) => resolve(utf8(JSON.stringify(answer)));
      if (!isLeader) return answer(RETRY);
      this.waiting.get(index)?.answer(RETRY);
      this.waiting.set(index, { term, request: JSON.parse(textOf(bytes)), answer });
      this.watch(index, term);
    });
  }

  /** Gives a request up once this server does not lead in its term any more. */
  private watch(index: number, term: number): void {
    this.clock.after(PATIENCE_MS, () => {
      const waiting = this.waiting.get(index);
      if (waiting === undefined || waiting.term !== term) return;
      const state = this.raft.getState();
      if (state.isLeader && state.term === term) return this.watch(index, term);
      this.waiting.delete(index);
      waiting.answer(RETRY);
    });
  }
}

function isSame(left: KvRequest, right: KvRequest): boolean {
  return left.client === right.client && left.sequence === right.sequence;
}
