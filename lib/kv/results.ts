/**
 * Results as people and scripts read them: text (a value as its own bytes), or one JSON object a
 * line. With `base64` keys and values are written in base64.
 */

import { displayText, equalBytes, utf8 } from "../base/bytes.ts";
import { visible } from "../base/visible.ts";
import type { Layout } from "../cli/desk.ts";
import { memberLines, memberStateText, statusLines } from "../replica/member_words.ts";
import type { MemberChange, MemberState, NodeStatus } from "../replica/node_protocol.ts";
import type { KeyValue, WatchedChange } from "./codec.ts";
import { type Failure, OPS } from "./language.ts";

/** What a command that succeeded brought. */
export type Result =
  | { readonly op: "set" | "cas"; readonly key: Uint8Array; readonly revision: number }
  | { readonly op: "get"; readonly entry: KeyValue }
  | { readonly op: "delete"; readonly key: Uint8Array; readonly existed: boolean }
  | { readonly op: "list"; readonly entries: readonly KeyValue[] }
  | { readonly op: "watch" | "help" | "quit" }
  | { readonly op: "member"; readonly change: MemberChange; readonly state: MemberState }
  | { readonly op: "members" | "status"; readonly status: NodeStatus };

export type Outcome =
  | { readonly ok: true; readonly result: Result }
  | { readonly ok: false; readonly failure: Failure };

/** An outcome without its last newline; null: there is nothing to print. */
export function formatOutcome(
  outcome: Outcome,
  layout: Layout,
  base64: boolean,
): string | Uint8Array | null {
  if (layout === "json") return JSON.stringify(toJson(outcome, base64));
  if (!outcome.ok) return failureText(outcome.failure);
  const { result } = outcome;
  if (result.op === "get") return base64 ? result.entry.value.toBase64() : result.entry.value;
  const lines = resultLines(result, base64);
  return lines.length === 0 ? null : lines.join("\n");
}

/** A change as a line of text or JSON, without its newline. */
export function formatChange(change: WatchedChange, json: boolean, base64: boolean): string {
  const { revision, kind, key, value } = change;
  if (json) {
    const shown = value === null ? {} : bytesJson("value", value, base64);
    return JSON.stringify({ revision, type: kind, ...bytesJson("key", key, base64), ...shown });
  }
  const words = [String(revision), kind, wordText(key, base64)];
  if (value !== null) words.push(lineText(value, base64));
  return words.join(" ");
}

/** One line a command, summaries in a column. */
export function helpLines(): readonly string[] {
  const infos = Object.values(OPS);
  const width = Math.max(...infos.map(({ usage }) => usage.length)) + 3;
  return infos.map(({ usage, summary }) => `${usage.padEnd(width)}${summary}`);
}

/** Nothing for a key that is not there: its value is nothing. */
function failureText({ op, code, message, requestId, leader }: Failure): string | null {
  if (op === "get" && code === "no_such_key") return null;
  const repeat = requestId === undefined
    ? ""
    : `; repeat it with --request-id ${requestId} to learn the outcome`;
  const where = leader === undefined || message.includes(leader) ? "" : `; the leader is ${leader}`;
  return `error ${code}: ${message}${where}${repeat}`;
}

function resultLines(result: Exclude<Result, { op: "get" }>, base64: boolean): readonly string[] {
  switch (result.op) {
    case "set":
    case "cas":
      return ["ok"];
    case "delete":
      return [result.existed ? "deleted" : "there was none"];
    case "list":
      return result.entries.map(({ key, value }) =>
        `${wordText(key, base64)} ${lineText(value, base64)}`
      );
    case "watch":
      return [];
    case "member":
      return [memberStateText(result.change, result.state)];
    case "members":
      return memberLines(result.status);
    case "status":
      return statusLines(result.status);
    case "help":
      return helpLines();
    case "quit":
      return ["bye"];
  }
}

/** Bytes within a line: as text where they are text without control characters, else quoted. */
function lineText(bytes: Uint8Array, base64: boolean): string {
  if (base64) return bytes.toBase64();
  const text = displayText(bytes);
  const plain = equalBytes(utf8(text), bytes) && !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(text);
  return plain ? text : visible(text);
}

/** Bytes as one word of a line: in quotes where there are blanks in it. */
function wordText(bytes: Uint8Array, base64: boolean): string {
  const text = lineText(bytes, base64);
  return /[\s"]/.test(text) && !text.startsWith('"') ? JSON.stringify(text) : text;
}

function toJson(outcome: Outcome, base64: boolean): Record<string, unknown> {
  if (outcome.ok) {
    return { ok: true, op: outcome.result.op, ...resultJson(outcome.result, base64) };
  }
  const { op, ...rest } = outcome.failure;
  // `op` may be anything that was typed; JSON escapes it, but a screenful of it helps nobody.
  const shown = Object.hasOwn(OPS, op) || op === "" ? op : visible(op).slice(1, -1);
  return { ok: false, op: shown, ...rest };
}

function resultJson(result: Result, base64: boolean): Record<string, unknown> {
  switch (result.op) {
    case "set":
    case "cas":
      return { ...bytesJson("key", result.key, base64), revision: result.revision };
    case "get":
      return entryJson(result.entry, base64);
    case "delete":
      return { ...bytesJson("key", result.key, base64), existed: result.existed };
    case "list":
      return { entries: result.entries.map((entry) => entryJson(entry, base64)) };
    case "member": {
      const { action, name } = result.change;
      return { action, member: name, state: result.state };
    }
    case "members":
      return { members: result.status.members };
    case "status": {
      const { name, ...rest } = result.status;
      return { id: name, ...rest };
    }
    case "help":
      return { commands: Object.entries(OPS).map(([op, info]) => ({ command: op, ...info })) };
    default:
      return {};
  }
}

function entryJson(entry: KeyValue, base64: boolean): Record<string, unknown> {
  const { key, value, revision, expiresAtMs } = entry;
  return {
    ...bytesJson("key", key, base64),
    ...bytesJson("value", value, base64),
    revision,
    ...(expiresAtMs === null ? {} : { expiresAt: new Date(expiresAtMs).toISOString() }),
  };
}

/** `name` as text; what is no UTF-8 can only be told in base64, as `nameBase64`. */
function bytesJson(name: string, bytes: Uint8Array, base64: boolean): Record<string, string> {
  if (base64) return { [name]: bytes.toBase64() };
  const text = displayText(bytes);
  return equalBytes(utf8(text), bytes) ? { [name]: text } : { [`${name}Base64`]: bytes.toBase64() };
}
