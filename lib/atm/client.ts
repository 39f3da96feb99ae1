/**
 * A customer at an ATM: turns a request into bytes for the bank, repeats it while that is safe,
 * and words what came of it. It answers within its time limit whatever the network does, and
 * never claims more than it knows: `unavailable` only where certainly nothing moved.
 */

import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { limits } from "../base/limits.ts";
import { Attempts, SHORTEST_CALL_MS } from "../replica/attempts.ts";
import type { Backend } from "../replica/backends.ts";
import { changeMember } from "../replica/member_words.ts";
import { ticketedRequestId } from "../replica/requests.ts";
import { type Answer, type Command, decodeAnswer, encodeCommand, encodeQuestion } from "./codec.ts";
import type { Question } from "./codec.ts";
import { type Mutation, parseLine, parseWords, type Request } from "./language.ts";
import type { Outcome, Result } from "./results.ts";
import { refusalText, requestText } from "./wording.ts";

export interface AtmClientOptions {
  readonly backend: Backend;
  readonly clock: Clock;
  /** A text of [a-z0-9] that nobody made before, such as 16 random digits. */
  readonly unique: () => string;
  /**
   * Milliseconds for one request, all its repeats and the printing included; at least
   * {@link SHORTEST_TIMEOUT_MS}. Default: `limits.answerMs`.
   */
  readonly timeoutMs?: number;
}

/** What is left of the promised time for printing the answer and for a busy machine. */
const MARGIN_MS = 750;
/** Less time than this is no time for a single try. */
export const SHORTEST_TIMEOUT_MS = MARGIN_MS + SHORTEST_CALL_MS;
assert(SHORTEST_TIMEOUT_MS < limits.answerMs, "there is time to ask");

export class AtmClient {
  private readonly backend: Backend;
  private readonly clock: Clock;
  private readonly unique: () => string;
  private readonly timeoutMs: number;

  constructor({ backend, clock, unique, timeoutMs = limits.answerMs }: AtmClientOptions) {
    this.backend = backend;
    this.clock = clock;
    this.unique = unique;
    this.timeoutMs = timeoutMs;
  }

  /** What a typed line brings; null for a line of blanks. */
  async line(line: string): Promise<Outcome | null> {
    const parsed = parseLine(line);
    if (parsed === null) return null;
    return parsed.ok ? await this.run(parsed.request) : parsed;
  }

  /** What a command given as words brings. */
  async words(words: readonly string[]): Promise<Outcome> {
    const parsed = parseWords(words);
    return parsed.ok ? await this.run(parsed.request) : parsed;
  }

  /** Carries out a request; never rejects. */
  async run(request: Request): Promise<Outcome> {
    const deadlineMs = this.clock.monotonicMs() + this.timeoutMs - MARGIN_MS;
    switch (request.op) {
      case "deposit":
      case "withdraw":
      case "transfer":
        return await this.mutate(request, deadlineMs);
      case "help":
      case "quit":
        return { ok: true, result: { op: request.op } };
      default:
        return await this.read(request, deadlineMs);
    }
  }

  private async mutate(request: Mutation, deadlineMs: number): Promise<Outcome> {
    const attempts = new Attempts(this.clock, deadlineMs, "the bank");
    const given = request.requestId;
    // A replica that lags behind counts too few requests: then the bank itself is asked.
    for (const stale of [true, false]) {
      const id = given ?? await this.newRequestId(attempts, stale);
      if (id === null) return unavailable(request, attempts.reason);
      const answer = await this.submit(request, id, attempts);
      // Under an id of the user's own an earlier call may have moved what this one did not.
      const certain = attempts.certain && given === null;
      if (answer === null) {
        if (certain) return unavailable(request, attempts.reason);
        return unknown(request, id, attempts.reason);
      }
      const expired = answer.kind === "refused" && answer.code === "session_expired";
      if (!expired) return outcomeOf(request, answer);
      if (!certain) return unknown(request, id, "the bank no longer remembers that request");
    }
    return unavailable(request, "the bank is too busy to recognise repeats");
  }

  private async submit(
    request: Mutation,
    requestId: string,
    attempts: Attempts,
  ): Promise<Answer | null> {
    const command = encodeCommand({ ...request, requestId } as Command);
    const bytes = await attempts.run((timeoutMs) => this.backend.command(command, timeoutMs));
    return bytes === null ? null : decodeAnswer(bytes);
  }

  /** An id with a ticket: with the count of the nearest replica as it stands, or the bank's own. */
  private async newRequestId(attempts: Attempts, stale: boolean): Promise<string | null> {
    const question = encodeQuestion({ op: "requests" });
    const bytes = await attempts.run((timeoutMs) => this.backend.query(question, stale, timeoutMs));
    if (bytes === null) return null;
    attempts.forgetDoubt();
    const answer = decodeAnswer(bytes);
    return ticketedRequestId(answer.kind === "requests" ? answer.requests : 0, this.unique());
  }

  private async read(
    request: Exclude<Request, Mutation>,
    deadlineMs: number,
  ): Promise<Outcome> {
    const attempts = new Attempts(this.clock, deadlineMs, "the bank");
    if (request.op === "status" || request.op === "members") {
      const status = await attempts.run((timeoutMs) => this.backend.status(timeoutMs));
      if (status === null) return unavailable(request, attempts.reason);
      return { ok: true, result: { op: request.op, status } };
    }
    if (request.op === "member") return await this.changeMember(request, attempts);
    if (request.op === "accounts") return await this.accounts(request, attempts);
    const answer = await this.ask(request as Question, attempts);
    return answer === null ? unavailable(request, attempts.reason) : outcomeOf(request, answer);
  }

  /** All pages of the account list; each page is one moment of the bank. */
  private async accounts(request: Request, attempts: Attempts): Promise<Outcome> {
    const accounts: (readonly [string, number])[] = [];
    for (let more = true; more;) {
      const page = await this.ask({ op: "accounts", after: accounts.at(-1)?.[0] ?? "" }, attempts);
      if (page === null) return unavailable(request, attempts.reason);
      if (page.kind !== "accounts") return outcomeOf(request, page);
      for (const account of page.accounts) accounts.push(account);
      more = page.more;
    }
    return { ok: true, result: { op: "accounts", accounts } };
  }

  private async changeMember(
    request: Extract<Request, { op: "member" }>,
    attempts: Attempts,
  ): Promise<Outcome> {
    const { op, change } = request;
    const state = await changeMember(attempts, this.backend, change);
    if (state !== null) return { ok: true, result: { op, change, state } };
    const { error } = attempts;
    const code = error === null || error.retryable ? "unavailable" : error.code;
    return { ok: false, failure: { op, code, message: attempts.reason } };
  }

  private async ask(question: Question, attempts: Attempts): Promise<Answer | null> {
    const bytes = encodeQuestion(question);
    const answer = await attempts.run((timeoutMs) => this.backend.query(bytes, false, timeoutMs));
    return answer === null ? null : decodeAnswer(answer);
  }
}

function outcomeOf(request: Request, answer: Answer): Outcome {
  if (answer.kind === "refused") {
    const { code } = answer;
    return { ok: false, failure: { op: request.op, code, message: refusalText(request, answer) } };
  }
  const result = resultOf(request, answer);
  if (result !== null) return { ok: true, result };
  const message = `Cannot ${requestText(request)}: the answer is of a kind not known here`;
  return { ok: false, failure: { op: request.op, code: "unsupported_version", message } };
}

/** The result that an answer is to a request, or null where the two do not go together. */
function resultOf(request: Request, answer: Answer): Result | null {
  switch (request.op) {
    case "deposit":
    case "withdraw":
    case "balance": {
      if (answer.kind !== "balance") return null;
      const { account, balanceCents } = answer;
      return { op: request.op, account, balanceCents };
    }
    case "transfer": {
      if (answer.kind !== "transferred") return null;
      const { from, to, fromCents, toCents } = answer;
      return { op: "transfer", from, to, fromCents, toCents };
    }
    case "history":
      if (answer.kind !== "history") return null;
      return { op: "history", account: answer.account, entries: answer.entries };
    default:
      return null;
  }
}

function unavailable(request: Request, reason: string): Outcome {
  const message = `Cannot ${requestText(request)}: nothing moved; ${reason}`;
  return { ok: false, failure: { op: request.op, code: "unavailable", message } };
}

function unknown(request: Request, requestId: string, reason: string): Outcome {
  const message = `Cannot determine the outcome of "${requestText(request)}": ${reason}`;
  return { ok: false, failure: { op: request.op, code: "outcome_unknown", message, requestId } };
}
