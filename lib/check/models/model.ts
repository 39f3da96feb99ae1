/**
 * PURE. What the checker knows of an object: how it would behave if operations came one by one.
 */

import { TrilogError } from "../../base/errors.ts";
import type { Operation } from "../history.ts";
import { canonicalText } from "../values.ts";

/** One operation, as what it does to the object. */
export interface Action<State> {
  /** Never changes the object, whatever state it is in. */
  readonly readOnly: boolean;
  /**
   * The state afterwards, or null where the operation cannot have had its outcome in `state`. Of
   * an unknown outcome it is the state if it took effect; null where it has none.
   */
  step(state: State): State | null;
  /** Actions with equal kinds do the same; without it, only those of equal operations do. */
  readonly kind?: string;
}

export interface Model<State> {
  readonly name: string;
  readonly initial: State;
  /**
   * The operations that act on the same object have the same part; objects do not influence each
   * other, so that each is checked by itself.
   */
  partOf(operation: Operation): string;
  /**
   * Null where the operation did nothing and its answer says nothing about the state: it certainly
   * failed, or is a read of unknown outcome. Throws `malformed` for what the model does not know.
   */
  actionOf(operation: Operation): Action<State> | null;
  /**
   * Knowing all operations of one object, narrows the action of each to what none of their answers
   * contradicts, so that a wrong turn is noticed when it is taken. It must leave every order of all
   * operations possible that was so before.
   */
  readonly narrow?: (
    operations: readonly Operation[],
  ) => (operation: Operation, action: Action<State>) => Action<State>;
  /** Equal texts mean equal states. */
  textOf(state: State): string;
  /** The state for people; may be cut short. */
  describe(state: State): string;
}

/** A read, or an answer that tells something about the state. */
export function observation<State>(holds: (state: State) => boolean): Action<State> {
  return { readOnly: true, step: (state) => holds(state) ? state : null };
}

/** A change. */
export function change<State>(step: (state: State) => State | null): Action<State> {
  return { readOnly: false, step };
}

/**
 * Whether a compare-and-set answered that the value was another one: `fail` without an error, or
 * `ok` with the value false. That is a fact about the state, unlike a failure with an error.
 */
export function comparisonFailed({ outcome, error, output }: Operation): boolean {
  return outcome === "fail" ? error === null : outcome === "ok" && output === false;
}

/** `malformed`, for an operation that a model cannot make sense of. */
export function senseless(operation: Operation, state: string): TrilogError {
  const { process, f, number } = operation;
  return new TrilogError(
    "malformed",
    `Cannot check operation ${number} (process ${process}, ${f}): ${state}`,
  );
}

/** `senseless` for an `f` outside of those that the model has. */
export function unknownFunction(operation: Operation, model: string, known: string): TrilogError {
  return senseless(operation, `the model ${model} knows ${known}`);
}

/** A text of at most `limit` characters. */
export function shortened(text: string, limit = 60): string {
  return text.length <= limit ? text : `${text.slice(0, limit / 2)}...${text.slice(-limit / 2)}`;
}

/** A part's name where a key may be missing. */
export function keyOf({ key }: Operation): string {
  return key ?? "";
}

/** Operations whose answers matter even where they are null, or what was asked for. */
const QUESTIONS: ReadonlySet<string> = new Set(["read", "get", "balance", "accounts", "end"]);

/** The operation for people, such as `cas "x" [1,2] -> ok`. */
export function describeOperation(operation: Operation, withKey = true): string {
  const { f, key, input, outcome, output, error } = operation;
  const words = [f];
  if (withKey && key !== null) words.push(canonicalText(key));
  if (input !== null) words.push(shortened(canonicalText(input)));
  const answer = canonicalText(output);
  const saysMore = QUESTIONS.has(f) || (output !== null && answer !== canonicalText(input));
  if (outcome === "unknown") words.push("-> unknown");
  else if (outcome === "fail") words.push(error === null ? "-> failed" : `-> failed: ${error}`);
  else words.push(`-> ${saysMore ? shortened(answer) : "ok"}`);
  return words.join(" ");
}
