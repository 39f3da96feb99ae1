/**
 * PURE. The states that a search meets, as small numbers, and what each operation does to each of
 * them, worked out once.
 */

import type { Operation } from "./history.ts";
import { KeyTable } from "./key_table.ts";
import type { MemoryMeter } from "./memory_meter.ts";
import type { Action, Model } from "./models/model.ts";
import { canonicalText } from "./values.ts";

/** The number of no state: the operation cannot have happened. */
export const IMPOSSIBLE = -1;

/** What a state costs beside its text: its object, its entry in the map, its number. */
const STATE_BYTES = 200;
const BYTES_PER_CHARACTER = 2;
const TRANSITION_BYTES = 4;

/** An operation that matters for the order. */
export interface Step<State = unknown> {
  readonly operation: Operation;
  readonly action: Action<State>;
  /** Steps with the same number do the same to every state. */
  readonly kind: number;
}

/** The steps of one object's operations, with those left out that say nothing. */
export interface Steps<State = unknown> {
  /** Each with all that may be done in its place. */
  readonly plain: readonly Step<State>[];
  /** The same, narrowed to what the answers of all of them allow. */
  readonly narrowed: readonly Step<State>[];
}

export function stepsOf<State>(
  model: Model<State>,
  operations: readonly Operation[],
): Steps<State> {
  const kinds = new Map<string, number>();
  const stepOf = (operation: Operation, action: Action<State>, origin: string): Step<State> => {
    const { f, key, input, outcome, output, error } = operation;
    const text = origin + (action.kind ?? canonicalText([f, key, input, outcome, output, error]));
    const kind = kinds.get(text) ?? kinds.size;
    kinds.set(text, kind);
    return { operation, action, kind };
  };
  const plain: Step<State>[] = [];
  for (const operation of operations) {
    const action = model.actionOf(operation);
    if (action !== null) plain.push(stepOf(operation, action, "plain "));
  }
  if (model.narrow === undefined) return { plain, narrowed: plain };
  const narrow = model.narrow(operations);
  const narrowed = plain.map(({ operation, action }) =>
    stepOf(operation, narrow(operation, action), "narrowed ")
  );
  return { plain, narrowed };
}

export class StateSpace<State = unknown> {
  private readonly states: State[] = [];
  private readonly numbers = new Map<string, number>();
  private readonly transitions: KeyTable;
  /** Of transition n the state it leads to, or {@link IMPOSSIBLE}. */
  private targets = new Int32Array(64);
  private readonly question = new Int32Array(2);
  private takenBytes = 0;

  /** State 0 is the model's initial one. */
  constructor(private readonly model: Model<State>, private readonly meter: MemoryMeter) {
    this.transitions = new KeyTable(2, meter);
    this.take(this.targets.byteLength);
    this.intern(model.initial);
  }

  /** How many states were met. */
  get size(): number {
    return this.states.length;
  }

  describe(state: number): string {
    return this.model.describe(this.states[state]);
  }

  /** The state after a step, or {@link IMPOSSIBLE}. */
  after(state: number, step: Step<State>): number {
    this.question[0] = state;
    this.question[1] = step.kind;
    const known = this.transitions.size;
    const transition = this.transitions.numberOf(this.question);
    if (transition < known) return this.targets[transition];
    const next = step.action.step(this.states[state]);
    const target = next === null ? IMPOSSIBLE : this.intern(next);
    if (transition === this.targets.length) this.growTargets();
    this.targets[transition] = target;
    return target;
  }

  /** Gives the memory back; the space must not be used afterwards. */
  release(): void {
    this.transitions.release();
    this.meter.give(this.takenBytes);
    this.takenBytes = 0;
  }

  private intern(state: State): number {
    const text = this.model.textOf(state);
    const known = this.numbers.get(text);
    if (known !== undefined) return known;
    this.take(STATE_BYTES + text.length * BYTES_PER_CHARACTER);
    this.numbers.set(text, this.states.length);
    this.states.push(state);
    return this.states.length - 1;
  }

  private growTargets(): void {
    this.take(this.targets.length * TRANSITION_BYTES);
    const targets = new Int32Array(this.targets.length * 2);
    targets.set(this.targets);
    this.targets = targets;
  }

  private take(bytes: number): void {
    this.meter.take(bytes);
    this.takenBytes += bytes;
  }
}
