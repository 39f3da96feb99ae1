/**
 * Clients of the store and of the bank that record what they do, for `trilog check`: the invocation
 * before the request is sent, its outcome after the answer.
 *
 * Commands that the checker's models do not have (lists, histories, members) are not recorded. A
 * command with a request id of the user's own may repeat an earlier one, so its outcome is recorded
 * as unknown.
 */

import { textOf } from "../lib/base/bytes.ts";
import type { ErrorCode } from "../lib/base/errors.ts";
import { formatCents } from "../lib/atm/amounts.ts";
import { AtmClient, type AtmClientOptions } from "../lib/atm/client.ts";
import type { Request as AtmRequest } from "../lib/atm/language.ts";
import type { Outcome as AtmOutcome } from "../lib/atm/results.ts";
import type { Value } from "../lib/check/values.ts";
import { KvClient, type KvClientOptions } from "../lib/kv/client.ts";
import type { Request as KvRequest } from "../lib/kv/language.ts";
import type { Outcome as KvOutcome } from "../lib/kv/results.ts";
import type { RecordFile } from "./record_file.ts";

/** An operation in the words of a model. */
interface Recordable {
  readonly f: string;
  readonly key?: string;
  readonly value?: Value;
}

type Known = { readonly type: "ok"; readonly value: Value } | {
  readonly type: "fail";
  /** Null: a comparison failed. */
  readonly error: string | null;
};

/** One client in a history; it has one operation under way at a time. */
class RecordedClient {
  private name: string;

  constructor(private readonly file: RecordFile) {
    this.name = file.newClient();
  }

  /** `known`: null where the outcome is not known. */
  async record<Outcome>(
    operation: Recordable,
    run: () => Promise<Outcome>,
    known: (outcome: Outcome) => Known | null,
  ): Promise<Outcome> {
    const open = this.file.recorder.invoke({ process: this.name, ...operation });
    const outcome = await run();
    const told = known(outcome);
    if (told === null) {
      open.info();
      // Its operation may still take effect: what follows is done by another client.
      this.name = this.file.newClient();
    } else if (told.type === "ok") open.ok(told.value);
    else open.fail(told.error ?? undefined);
    return outcome;
  }
}

type KvAsked = Exclude<KvRequest, { op: "watch" }>;

export class RecordedKvClient extends KvClient {
  private readonly client: RecordedClient;

  constructor(options: KvClientOptions, file: RecordFile) {
    super(options);
    this.client = new RecordedClient(file);
  }

  override async run(request: KvAsked): Promise<KvOutcome> {
    if ("ttlMs" in request && request.ttlMs !== null) return expiring(request);
    const operation = kvOperation(request);
    if (operation === null) return await super.run(request);
    const repeats = "requestId" in request && request.requestId !== null;
    return await this.client.record(
      operation,
      () => super.run(request),
      (outcome) => repeats ? null : kvOutcome(request, outcome),
    );
  }
}

function kvOperation(request: KvAsked): Recordable | null {
  switch (request.op) {
    case "get":
    case "delete":
      return { f: request.op, key: valueText(request.key) };
    case "set":
    case "cas": {
      const value = valueText(request.value);
      const key = valueText(request.key);
      if (request.op === "set") return { f: "set", key, value };
      const old = request.old === null ? null : valueText(request.old);
      return { f: "cas", key, value: [old, value] };
    }
    default:
      return null;
  }
}

function expiring({ op }: KvAsked): KvOutcome {
  const message = `Cannot record ${op}: the checker does not know --ttl`;
  return { ok: false, failure: { op, code: "invalid_argument", message } };
}

function kvOutcome({ op }: KvAsked, outcome: KvOutcome): Known | null {
  if (outcome.ok) {
    const { result } = outcome;
    if (result.op === "get") return { type: "ok", value: valueText(result.entry.value) };
    return { type: "ok", value: result.op === "delete" ? result.existed : null };
  }
  const { code } = outcome.failure;
  if (code === "no_such_key" && op === "get") return { type: "ok", value: null };
  return failure(code, ["value_differs", "no_such_key", "key_exists"].includes(code));
}

/** Bytes as text; different bytes are different texts. */
function valueText(bytes: Uint8Array): string {
  const base64 = () => `base64:${bytes.toBase64()}`;
  try {
    const text = textOf(bytes);
    return text.startsWith("base64:") ? base64() : text;
  } catch {
    return base64();
  }
}

export class RecordedAtmClient extends AtmClient {
  private readonly client: RecordedClient;

  constructor(options: AtmClientOptions, file: RecordFile) {
    super(options);
    this.client = new RecordedClient(file);
  }

  override async run(request: AtmRequest): Promise<AtmOutcome> {
    const operation = atmOperation(request);
    if (operation === null) return await super.run(request);
    const repeats = "requestId" in request && request.requestId !== null;
    return await this.client.record(
      operation,
      () => super.run(request),
      (outcome) => repeats ? null : atmOutcome(outcome),
    );
  }
}

function atmOperation(request: AtmRequest): Recordable | null {
  switch (request.op) {
    case "deposit":
    case "withdraw":
      return { f: request.op, key: request.account, value: formatCents(request.cents) };
    case "transfer": {
      const { from, to, cents } = request;
      return { f: "transfer", value: { from, to, amount: formatCents(cents) } };
    }
    case "balance":
      return { f: "balance", key: request.account };
    default:
      return null;
  }
}

function atmOutcome(outcome: AtmOutcome): Known | null {
  if (!outcome.ok) return failure(outcome.failure.code, false);
  const { result } = outcome;
  switch (result.op) {
    case "deposit":
    case "withdraw":
      return { type: "ok", value: { balance: formatCents(result.balanceCents) } };
    case "transfer": {
      const { fromCents, toCents } = result;
      const fromBalance = formatCents(fromCents);
      return { type: "ok", value: { fromBalance, toBalance: formatCents(toCents) } };
    }
    case "balance":
      return { type: "ok", value: formatCents(result.balanceCents) };
    default:
      return null;
  }
}

function failure(code: ErrorCode, compared: boolean): Known | null {
  if (code === "outcome_unknown") return null;
  return { type: "fail", error: compared ? null : code };
}
