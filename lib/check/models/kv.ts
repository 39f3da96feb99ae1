/**
 * PURE. A map from keys to strings: `get` answers the value, `put V` (or `set V`) sets it,
 * `append V` puts V behind it, `delete` removes it, `cas [OLD, NEW]` sets it where it is OLD (null:
 * where there is none). A key without a value reads as null or as "", as clients prefer; only `cas`
 * and `delete`, whose answer may be whether there was a value, tell it from an empty one. Every key
 * is checked by itself.
 */

import type { Operation } from "../history.ts";
import { canonicalText, isList, type Value } from "../values.ts";
import {
  type Action,
  change,
  comparisonFailed,
  keyOf,
  type Model,
  observation,
  senseless,
  shortened,
  unknownFunction,
} from "./model.ts";

/** What one key holds. */
interface Cell {
  /** Null where there is no value. */
  readonly value: string | null;
}

const ABSENT: Cell = { value: null };

export const kvModel: Model<Cell> = {
  name: "kv",
  initial: ABSENT,
  partOf: keyOf,
  actionOf,
  textOf: ({ value }) => value === null ? "" : `=${value}`,
  describe: ({ value }) => shortened(canonicalText(value)),
};

function actionOf(operation: Operation): Action<Cell> | null {
  const { f, outcome } = operation;
  switch (f) {
    case "get": {
      if (outcome !== "ok") return null;
      const read = textOrNull(operation, operation.output);
      return observation(({ value }) => value === read || (value === null && read === ""));
    }
    case "cas":
      return compareAndSet(operation);
    case "put":
    case "set":
    case "append":
    case "delete":
      return outcome === "fail" ? null : mutation(operation);
    default:
      throw unknownFunction(operation, "kv", "get, put, set, append, delete and cas");
  }
}

function mutation(operation: Operation): Action<Cell> {
  if (operation.f === "delete") return deletion(operation);
  const given = text(operation, operation.input);
  if (operation.f === "append") return change(({ value }) => ({ value: (value ?? "") + given }));
  const cell = { value: given };
  return change(() => cell);
}

function compareAndSet(operation: Operation): Action<Cell> | null {
  const { input, outcome } = operation;
  if (!isList(input) || input.length !== 2) {
    throw senseless(operation, "a cas takes [old, new]");
  }
  const old = textOrNull(operation, input[0]);
  const next = { value: text(operation, input[1]) };
  if (comparisonFailed(operation)) return observation(({ value }) => value !== old);
  if (outcome === "fail") return null;
  return change(({ value }) => value === old ? next : null);
}

function deletion({ outcome, output }: Operation): Action<Cell> {
  const answered = outcome === "ok" && typeof output === "boolean" ? output : null;
  if (answered === false) return observation(({ value }) => value === null);
  return change(({ value }) => answered === true && value === null ? null : ABSENT);
}

function text(operation: Operation, value: Value): string {
  if (typeof value === "string") return value;
  throw senseless(operation, `${canonicalText(value)} is not a string`);
}

function textOrNull(operation: Operation, value: Value): string | null {
  return value === null ? null : text(operation, value);
}
