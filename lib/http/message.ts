/** PURE. Requests and answers of the HTTP API, apart from any server. */

import { TrilogError } from "../base/errors.ts";
import type { ErrorCode } from "../base/errors.ts";

export interface HttpRequest {
  /** In capitals. */
  readonly method: string;
  /** Before any `?`, as it was sent. */
  readonly path: string;
  /** Behind the `?`; empty where there is none. */
  readonly query: string;
  /** The `Authorization` header; empty where there is none. */
  readonly authorization: string;
  readonly body: Uint8Array;
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What an answer of JSON may hold. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [name: string]: Json };
export type JsonFields = { readonly [name: string]: Json };

/** Answers that are not 400 by their code; what may be sent again as it is gets 503. */
const STATUSES: { readonly [Code in ErrorCode]?: number } = {
  no_such_topic: 404,
  no_such_partition: 404,
  no_such_broker: 404,
  no_such_producer: 404,
  no_such_consumer: 404,
  no_such_route: 404,
  topic_exists: 409,
  unauthorized: 401,
  message_too_large: 413,
  // Not to be had by asking again, but not the request's fault.
  overloaded: 503,
  internal: 500,
  corrupt: 500,
  disk_failed: 500,
};
const RETRY_AFTER_SECONDS = "1";

export function success(fields: JsonFields): HttpAnswer {
  return json(200, { status: "success", ...fields });
}

/** The answer that says what went wrong; `fields`: what else is known. */
export function failure(error: TrilogError, fields: JsonFields = {}): HttpAnswer {
  const { code, message } = error;
  const status = STATUSES[code] ?? (error.retryable ? 503 : 400);
  return json(status, { status: "failure", message, code, ...fields }, headersFor(status));
}

/** A route that exists, but not for this method. */
export function wrongMethod(allowed: readonly string[]): HttpAnswer {
  const message = `Cannot serve request: this path takes ${allowed.join(", ")}`;
  const fields = { status: "failure", message, code: "no_such_route" };
  return json(405, fields, { allow: allowed.join(", ") });
}

export function text(body: string, contentType: string): HttpAnswer {
  return { status: 200, headers: { "content-type": contentType }, body };
}

export function noSuchRoute(): TrilogError {
  return new TrilogError("no_such_route", "Cannot serve request: there is no such path");
}

function headersFor(status: number): Record<string, string> {
  if (status === 503) return { "retry-after": RETRY_AFTER_SECONDS };
  return status === 401 ? { "www-authenticate": "Bearer" } : {};
}

function json(status: number, fields: JsonFields, headers: Record<string, string> = {}) {
  const body = `${JSON.stringify(fields)}\n`;
  return { status, headers: { "content-type": "application/json", ...headers }, body };
}
