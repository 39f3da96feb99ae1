/**
 * Every failure a user or a script may meet: `Cannot <act> <thing>: <state>`, a stable code, and
 * whether the same request may be sent again as it is.
 */

/**
 * `certain` failures had no effect and never will; `unknown` ones may have taken effect. A caller
 * may resend what is `retryable`: for an unknown outcome only under the same session and sequence
 * (or request id), which make the repeat harmless.
 */
export const errorCodes = {
  // consensus and transport
  not_leader: { retryable: true, outcome: "certain" },
  unavailable: { retryable: true, outcome: "certain" },
  outcome_unknown: { retryable: true, outcome: "unknown" },
  overloaded: { retryable: true, outcome: "certain" },
  shutting_down: { retryable: true, outcome: "certain" },
  cancelled: { retryable: true, outcome: "unknown" },
  connection_closed: { retryable: true, outcome: "unknown" },
  deadline_exceeded: { retryable: true, outcome: "unknown" },
  session_expired: { retryable: false, outcome: "certain" },
  stale_sequence: { retryable: false, outcome: "certain" },
  membership_change_in_progress: { retryable: true, outcome: "certain" },
  invalid_membership: { retryable: false, outcome: "certain" },
  // identity
  bad_handshake: { retryable: false, outcome: "certain" },
  wrong_cluster: { retryable: false, outcome: "certain" },
  wrong_replica: { retryable: true, outcome: "certain" },
  unauthorized: { retryable: false, outcome: "certain" },
  superseded: { retryable: false, outcome: "certain" },
  rolled_back: { retryable: false, outcome: "certain" },
  unknown_group: { retryable: true, outcome: "certain" },
  // bytes
  frame_too_large: { retryable: false, outcome: "certain" },
  malformed: { retryable: false, outcome: "certain" },
  unknown_method: { retryable: false, outcome: "certain" },
  no_such_route: { retryable: false, outcome: "certain" },
  unsupported_version: { retryable: false, outcome: "certain" },
  // storage
  disk_full: { retryable: true, outcome: "certain" },
  /** The state has reached its limit; what makes it smaller is still taken. */
  storage_full: { retryable: false, outcome: "certain" },
  disk_failed: { retryable: false, outcome: "unknown" },
  corrupt: { retryable: false, outcome: "certain" },
  address_in_use: { retryable: false, outcome: "certain" },
  data_directory_locked: { retryable: false, outcome: "certain" },
  // commands
  file_exists: { retryable: false, outcome: "certain" },
  usage: { retryable: false, outcome: "certain" },
  unknown_command: { retryable: false, outcome: "certain" },
  invalid_argument: { retryable: false, outcome: "certain" },
  internal: { retryable: false, outcome: "unknown" },
  // bank
  insufficient_funds: { retryable: false, outcome: "certain" },
  no_such_account: { retryable: false, outcome: "certain" },
  invalid_amount: { retryable: false, outcome: "certain" },
  balance_limit: { retryable: false, outcome: "certain" },
  invalid_account: { retryable: false, outcome: "certain" },
  same_account: { retryable: false, outcome: "certain" },
  // key-value store
  no_such_key: { retryable: false, outcome: "certain" },
  key_exists: { retryable: false, outcome: "certain" },
  value_differs: { retryable: false, outcome: "certain" },
  invalid_key: { retryable: false, outcome: "certain" },
  key_too_large: { retryable: false, outcome: "certain" },
  value_too_large: { retryable: false, outcome: "certain" },
  changes_forgotten: { retryable: false, outcome: "certain" },
  // queue
  not_enough_brokers: { retryable: true, outcome: "certain" },
  no_such_topic: { retryable: false, outcome: "certain" },
  topic_exists: { retryable: false, outcome: "certain" },
  invalid_topic: { retryable: false, outcome: "certain" },
  topic_replaced: { retryable: false, outcome: "certain" },
  no_such_partition: { retryable: false, outcome: "certain" },
  no_such_broker: { retryable: false, outcome: "certain" },
  no_such_producer: { retryable: false, outcome: "certain" },
  no_such_consumer: { retryable: false, outcome: "certain" },
  wrong_topic: { retryable: false, outcome: "certain" },
  message_too_large: { retryable: false, outcome: "certain" },
  invalid_batch: { retryable: false, outcome: "certain" },
  out_of_order_sequence: { retryable: false, outcome: "certain" },
  producer_fenced: { retryable: false, outcome: "certain" },
  offset_out_of_range: { retryable: false, outcome: "certain" },
  no_such_group: { retryable: false, outcome: "certain" },
  no_such_member: { retryable: false, outcome: "certain" },
  too_many_groups: { retryable: false, outcome: "certain" },
  group_not_empty: { retryable: false, outcome: "certain" },
  fenced: { retryable: false, outcome: "certain" },
} as const;

/** The stable codes of failures. */
export type ErrorCode = keyof typeof errorCodes;

/** The wire form of an error; see `errorToWire`. */
export type WireError = readonly [
  code: string,
  message: string,
  retryable: boolean,
  leader: string | null,
];

/** What an error may say besides its code and message. */
export interface ErrorDetails {
  /** Address of the leader to turn to, where it is known. */
  readonly leader?: string | undefined;
  /** Overrides the code's usual retryable bit. */
  readonly retryable?: boolean;
  /** A server gave this answer; false where the way to it failed. */
  readonly answered?: boolean;
  /** What led to it, for people who look for the reason. */
  readonly cause?: unknown;
}

/** Every failure that is no bug: see the head of this file for the form of its message. */
export class TrilogError extends Error {
  /** What `toString` calls it. */
  override readonly name = "TrilogError";
  /** What kind of failure it is; stable, for programs. */
  readonly code: ErrorCode;
  /** Whether the same request may be sent again as it is. */
  readonly retryable: boolean;
  /** Address of the server to turn to, where it is known. */
  readonly leader: string | undefined;
  /** Whether a server gave this answer; false for a failure on the way to it. */
  readonly answered: boolean;

  /** `message` reads `Cannot <act> <thing>: <state>`. */
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.retryable = details.retryable ?? errorCodes[code].retryable;
    this.leader = details.leader;
    this.answered = details.answered ?? false;
  }

  /** Whether the request may have taken effect although it failed. */
  get outcomeUnknown(): boolean {
    return errorCodes[this.code].outcome === "unknown";
  }
}

/** Whether `value` is one of our stable codes. */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(errorCodes, value);
}

/** Any thrown value as a {@link TrilogError}; what is not one becomes `internal`. */
export function toTrilogError(thrown: unknown): TrilogError {
  if (thrown instanceof TrilogError) return thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new TrilogError("internal", `Cannot carry on: ${text}`, { cause: thrown });
}

export function errorToWire(error: TrilogError): WireError {
  return [error.code, error.message, error.retryable, error.leader ?? null];
}

/** The error of a wire form; an unknown code (a newer peer's) reads as `internal`. */
export function errorFromWire(wire: WireError): TrilogError {
  const [code, message, retryable, leader] = wire;
  return new TrilogError(isErrorCode(code) ? code : "internal", message, {
    retryable,
    leader: leader ?? undefined,
    answered: true,
  });
}
