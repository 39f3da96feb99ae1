/**
 * PURE. Registers: `read` answers the value, `write V` sets it, `cas [OLD, NEW]` sets it where it
 * is OLD. Every key is a register of its own; its first value is null.
 */

import type { Operation } from "../history.ts";
import { canonicalText, isList } from "../values.ts";
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

/** A state is the canonical text of the value. */
export const registerModel: Model<string> = {
  name: "register",
  initial: canonicalText(null),
  partOf: keyOf,
  actionOf,
  textOf: (state) => state,
  describe: (state) => shortened(state),
};

function actionOf(operation: Operation): Action<string> | null {
  const { f, input, outcome } = operation;
  switch (f) {
    case "read": {
      if (outcome !== "ok") return null;
      const read = canonicalText(operation.output);
      return observation((state) => state === read);
    }
    case "write": {
      if (outcome === "fail") return null;
      const written = canonicalText(input);
      return change(() => written);
    }
    case "cas":
      return compareAndSet(operation);
    default:
      throw unknownFunction(operation, "register", "read, write and cas");
  }
}

function compareAndSet(operation: Operation): Action<string> | null {
  const { input, outcome } = operation;
  if (!isList(input) || input.length !== 2) {
    throw senseless(operation, "a cas takes [old, new]");
  }
  const [old, next] = input.map(canonicalText);
  if (comparisonFailed(operation)) return observation((state) => state !== old);
  if (outcome === "fail") return null;
  return change((state) => state === old ? next : null);
}
