/**
 * PURE. The parameters of a request: a JSON object as its body, or a query string, whichever the
 * client sends, or some in each. What comes in a query string is text, so numbers are read from
 * digits as well.
 */

import { textOf } from "../base/bytes.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { HttpRequest } from "./message.ts";

export class Parameters {
  private constructor(private readonly values: ReadonlyMap<string, unknown>) {}

  /** Throws `malformed` for a body that is no JSON object, and for what is given twice. */
  static of(request: Pick<HttpRequest, "query" | "body">): Parameters {
    const values = new Map<string, unknown>();
    for (const [name, value] of [...queryOf(request.query), ...bodyOf(request.body)]) {
      if (values.has(name)) throw malformed("a parameter is given twice");
      values.set(name, value);
    }
    return new Parameters(values);
  }

  /** The text of a parameter, under the first of `names` that is there. */
  text(...names: readonly string[]): string {
    const value = this.given(names);
    if (typeof value !== "string") throw invalid(names[0], "a text is needed");
    if (!value.isWellFormed()) throw invalid(names[0], "it is not valid Unicode");
    return value;
  }

  /** A whole number from 0 to 2^53 - 1. */
  whole(...names: readonly string[]): number {
    const number = this.optionalWhole(...names);
    if (number === null) throw invalid(names[0], "it is missing");
    return number;
  }

  /** A whole number, or null where the parameter is left out or null. */
  optionalWhole(...names: readonly string[]): number | null {
    const value = this.given(names);
    if (value === undefined || value === null) return null;
    const number = typeof value === "string" && /^\d{1,16}$/.test(value) ? Number(value) : value;
    if (typeof number === "number" && Number.isSafeInteger(number) && number >= 0) return number;
    throw invalid(names[0], "a whole number from 0 on is needed");
  }

  flag(name: string): boolean {
    const value = this.given([name]);
    if (value === undefined || value === false || value === "false") return false;
    if (value === true || value === "true" || value === "") return true;
    throw invalid(name, "true or false is needed");
  }

  /** The id under which a request may be repeated; null where it has none. */
  requestId(): string | null {
    const value = this.given(["request_id"]);
    if (value === undefined || value === null) return null;
    const id = typeof value === "number" ? String(value) : this.text("request_id");
    if (id.length >= 1 && id.length <= limits.nameCharacters) return id;
    throw invalid("request_id", `1 to ${limits.nameCharacters} characters are needed`);
  }

  private given(names: readonly string[]): unknown {
    const name = names.find((name) => this.values.has(name));
    return name === undefined ? undefined : this.values.get(name);
  }
}

function queryOf(query: string): Iterable<[string, unknown]> {
  // An escape that is not UTF-8 would become U+FFFD without a word.
  try {
    decodeURIComponent(query.replaceAll("+", " "));
  } catch {
    throw malformed("the query string is not UTF-8");
  }
  return new URLSearchParams(query).entries();
}

function bodyOf(body: Uint8Array): [string, unknown][] {
  if (body.length === 0) return [];
  let value: unknown;
  try {
    value = JSON.parse(textOf(body));
  } catch {
    throw malformed("the body is not JSON in UTF-8");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw malformed("the body is not a JSON object");
  }
  return Object.entries(value);
}

function malformed(state: string): TrilogError {
  return new TrilogError("malformed", `Cannot read request: ${state}`);
}

function invalid(name: string, state: string): TrilogError {
  return new TrilogError("invalid_argument", `Cannot use parameter ${name}: ${state}`);
}
