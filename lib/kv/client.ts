/**
 * A client of the key-value store: turns requests into bytes for the machine, repeats them while
 * that is safe, follows the leader that a node names, and says no more than it knows:
 * `unavailable` only where certainly nothing was changed.
 */

import { binary } from "../base/codec.ts";
import type { Clock } from "../base/clock.ts";
import { type ErrorCode, type TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { Attempts, SHORTEST_CALL_MS } from "../replica/attempts.ts";
import { type Backend, RemoteBackend } from "../replica/backends.ts";
import { changeMember } from "../replica/member_words.ts";
import { ticketedRequestId } from "../replica/requests.ts";
import {
  type Answer,
  type Command,
  decodeAnswer,
  encodeCommand,
  encodeQuestion,
  type KeyValue,
  type Question,
  type WatchedChange,
} from "./codec.ts";
import { keyText, type Mutation, type Request } from "./language.ts";
import type { Outcome, Result } from "./results.ts";
import { WATCH_METHOD, watchCodec } from "./watching.ts";

/** One way to the store. */
export interface KvBackend extends Backend {
  /** Waits for changes after a revision, at most for about `timeoutMs`; the machine's answer. */
  watch(prefix: Uint8Array, after: number, timeoutMs: number): Promise<Uint8Array>;
}

/** The store over a connection to one of several nodes. */
export class KvRemoteBackend extends RemoteBackend implements KvBackend {
  async watch(prefix: Uint8Array, after: number, timeoutMs: number): Promise<Uint8Array> {
    const deadlineMs = this.timeThere(timeoutMs);
    const params = watchCodec.encode({ prefix, after, deadlineMs });
    return await this.call(
      WATCH_METHOD,
      params,
      deadlineMs,
      (answer) => binary.decode(answer, "changes"),
    );
  }
}

export interface KvClientOptions {
  readonly backend: KvBackend;
  readonly clock: Clock;
  /** A text of [a-z0-9] that nobody made before, such as 16 random digits. */
  readonly unique: () => string;
  /** Time for one request, all its repeats included; at least {@link SHORTEST_TIMEOUT_MS}. */
  readonly timeoutMs: number;
}

export const DEFAULT_TIMEOUT_MS = limits.answerMs;
/** Less time than this is no time for a single try. */
export const SHORTEST_TIMEOUT_MS = SHORTEST_CALL_MS;

/** The requests that are answered at once. */
type Asked = Exclude<Request, { op: "watch" }>;

export class KvClient {
  constructor(private readonly options: KvClientOptions) {}

  /** Carries out a request; never rejects. */
  async run(request: Asked): Promise<Outcome> {
    const attempts = this.attempts();
    switch (request.op) {
      case "set":
      case "delete":
      case "cas":
        return await this.mutate(request, attempts);
      case "get": {
        const answer = await this.ask(request, attempts);
        return outcomeOf(request, answer, attempts);
      }
      case "list":
        return await this.list(request, attempts);
      case "member":
        return await this.changeMember(request, attempts);
      case "members":
      case "status": {
        const status = await attempts.run((timeoutMs) => this.options.backend.status(timeoutMs));
        if (status === null) return notAnswered(request, attempts);
        return { ok: true, result: { op: request.op, status } };
      }
      default:
        return { ok: true, result: { op: request.op } };
    }
  }

  /**
   * Hands changes to `take` as they come, until it returns false or `signal` aborts. Rejects when
   * nobody answers at the beginning, and when changes were missed. Later it waits for as long as
   * it takes.
   */
  async watch(
    { prefix, after }: Extract<Request, { op: "watch" }>,
    take: (change: WatchedChange) => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const request = { op: "watch", prefix } as const;
    let seen = after;
    while (!signal.aborted) {
      const attempts = this.attempts();
      const answer = seen === null
        ? await this.ask({ op: "revision" }, attempts)
        : await this.changesAfter(prefix, seen, attempts);
      if (answer === null) {
        if (seen === null || attempts.error?.retryable === false) {
          return notAnswered(request, attempts);
        }
      } else if (answer.kind === "revision") seen = answer.revision;
      else if (answer.kind === "changes") {
        seen = answer.upTo;
        for (const change of answer.changes) {
          if (!await take(change)) return { ok: true, result: { op: "watch" } };
        }
      } else return refused(request, answer);
    }
    return { ok: true, result: { op: "watch" } };
  }

  private async changesAfter(
    prefix: Uint8Array,
    after: number,
    attempts: Attempts,
  ): Promise<Answer | null> {
    const { backend } = this.options;
    const bytes = await attempts.run((timeoutMs) => backend.watch(prefix, after, timeoutMs));
    return bytes === null ? null : decodeAnswer(bytes);
  }

  private attempts(): Attempts {
    const { clock, timeoutMs } = this.options;
    return new Attempts(clock, clock.monotonicMs() + timeoutMs, "the store");
  }

  private async mutate(request: Mutation, attempts: Attempts): Promise<Outcome> {
    const given = request.requestId;
    // A replica that lags behind counts too few requests: then the store itself is asked.
    for (const stale of [true, false]) {
      const id = given ?? await this.newRequestId(attempts, stale);
      if (id === null) return notAnswered(request, attempts);
      const command = encodeCommand({ ...request, requestId: id } as Command);
      const { backend } = this.options;
      const bytes = await attempts.run((timeoutMs) => backend.command(command, timeoutMs));
      // Under an id of the user's own an earlier call may have changed what this one did not.
      const certain = attempts.certain && given === null;
      if (bytes === null) return notAnswered(request, attempts, certain ? null : id);
      const answer = decodeAnswer(bytes);
      const forgotten = answer.kind === "refused" && answer.code === "session_expired";
      if (!forgotten) return outcomeOf(request, answer, attempts);
      if (!certain) return notAnswered(request, attempts, id);
    }
    return notAnswered(request, attempts);
  }

  /** An id with a ticket: with the count of the nearest replica as it stands, or the store's own. */
  private async newRequestId(attempts: Attempts, stale: boolean): Promise<string | null> {
    const answer = await this.ask({ op: "requests" }, attempts, stale);
    if (answer === null) return null;
    attempts.forgetDoubt();
    const requests = answer.kind === "requests" ? answer.requests : 0;
    return ticketedRequestId(requests, this.options.unique());
  }

  /** All pages; each is one moment of the store. */
  private async list(
    request: Extract<Request, { op: "list" }>,
    attempts: Attempts,
  ): Promise<Outcome> {
    const entries: KeyValue[] = [];
    for (let more = true; more;) {
      const after = entries.at(-1)?.key ?? new Uint8Array(0);
      const page = await this.ask({ op: "list", prefix: request.prefix, after }, attempts);
      if (page?.kind !== "entries") return outcomeOf(request, page, attempts);
      for (const entry of page.entries) entries.push(entry);
      more = page.more;
    }
    return { ok: true, result: { op: "list", entries } };
  }

  private async changeMember(
    request: Extract<Request, { op: "member" }>,
    attempts: Attempts,
  ): Promise<Outcome> {
    const { op, change } = request;
    const state = await changeMember(attempts, this.options.backend, change);
    return state === null
      ? notAnswered(request, attempts)
      : { ok: true, result: { op, change, state } };
  }

  private async ask(
    question: Question,
    attempts: Attempts,
    stale: boolean = false,
  ): Promise<Answer | null> {
    const bytes = encodeQuestion(question);
    const { backend } = this.options;
    const answer = await attempts.run((timeoutMs) => backend.query(bytes, stale, timeoutMs));
    return answer === null ? null : decodeAnswer(answer);
  }
}

function outcomeOf(
  request: Exclude<Asked, { op: "member" }>,
  answer: Answer | null,
  attempts: Attempts,
): Outcome {
  if (answer === null) return notAnswered(request, attempts);
  if (answer.kind === "refused") return refused(request, answer);
  const result = resultOf(request, answer);
  if (result !== null) return { ok: true, result };
  return refused(request, { kind: "refused", code: "unsupported_version" });
}

/** The result that an answer is to a request, or null where the two do not go together. */
function resultOf(request: Exclude<Asked, { op: "member" }>, answer: Answer): Result | null {
  switch (request.op) {
    case "set":
    case "cas":
      if (answer.kind !== "set") return null;
      return { op: request.op, key: request.key, revision: answer.revision };
    case "delete":
      if (answer.kind !== "deleted") return null;
      return { op: "delete", key: request.key, existed: answer.existed };
    case "get":
      return answer.kind === "value" ? { op: "get", entry: answer.entry } : null;
    default:
      return null;
  }
}

type Named = Request | { readonly op: "watch"; readonly prefix: Uint8Array };

/** `set "color"`, to follow "Cannot". */
function requestText(request: Named): string {
  if (request.op === "member") return `${request.change.action} member ${request.change.name}`;
  if ("key" in request) return `${request.op} ${keyText(request.key)}`;
  return "prefix" in request ? `${request.op} ${keyText(request.prefix)}` : request.op;
}

const STATES: Partial<Record<ErrorCode, string>> = {
  no_such_key: "there is no such key",
  key_exists: "the key is there already",
  value_differs: "its value is another one",
  invalid_argument: "its request id was used for another command",
  changes_forgotten: "changes since then are forgotten; begin anew from a list",
  storage_full: "the store is full; delete keys or write smaller values",
  unsupported_version: "the store speaks another version",
};

function refused(request: Named, answer: Answer): Outcome {
  const code = answer.kind === "refused" ? answer.code : "unsupported_version";
  const message = `Cannot ${requestText(request)}: ${STATES[code] ?? `it was refused (${code})`}`;
  return { ok: false, failure: { op: request.op, code, message } };
}

/** `requestId`: under it the command may have taken effect; null: certainly not. */
function notAnswered(
  request: Named,
  attempts: Attempts,
  requestId: string | null = null,
): Outcome {
  const { op } = request;
  const { error, reason } = attempts;
  const leader = error?.leader === undefined ? {} : { leader: error.leader };
  if (requestId !== null) {
    const message = `Cannot determine the outcome of ${requestText(request)}: ${reason}`;
    return { ok: false, failure: { op, code: "outcome_unknown", message, requestId } };
  }
  const message = `Cannot ${requestText(request)}: ${reason}`;
  return { ok: false, failure: { op, code: codeOf(error), message, ...leader } };
}

/** A refusal keeps its code; that nobody answered is `unavailable`, whatever the last try met. */
function codeOf(error: TrilogError | null): ErrorCode {
  return error === null || error.retryable ? "unavailable" : error.code;
}
