/** The commands that reach the machines of one group, each index once, with the first answer. */

import type { Index } from "../raft/types.ts";
import { type ApplyContext, type StateMachine, withApply } from "../replica/state_machine.ts";

export interface Noted<Command> extends ApplyContext {
  readonly command: Command;
  readonly answer: Uint8Array;
}

export class CommandWatch<Command> {
  private readonly noted = new Map<Index, Noted<Command>>();
  private readonly firsts = new Map<string, Index>();

  /** `nameOf` names what is to be found again by {@link indexOf}; null: nothing. */
  constructor(
    private readonly decode: (bytes: Uint8Array) => Command | null,
    private readonly nameOf: (command: Command) => string | null,
  ) {}

  /** The machine with every command that reaches it noted. */
  watch(machine: StateMachine): StateMachine {
    return withApply(machine, (bytes, context) => {
      const answer = machine.apply(bytes, context);
      if (!this.noted.has(context.index)) this.note(bytes, context, answer);
      return answer;
    });
  }

  /** How many commands are noted. */
  get size(): number {
    return this.noted.size;
  }

  /** Index at which a command of a name was first applied, or null. */
  indexOf(name: string): Index | null {
    return this.firsts.get(name) ?? null;
  }

  /** Everything noted, in the order of the log. */
  inOrder(): Noted<Command>[] {
    return [...this.noted.values()].sort((left, right) => left.index - right.index);
  }

  private note(bytes: Uint8Array, context: ApplyContext, answer: Uint8Array): void {
    const command = this.decode(bytes.slice());
    if (command === null) return;
    this.noted.set(context.index, { ...context, command, answer });
    const name = this.nameOf(command);
    if (name !== null && !this.firsts.has(name)) this.firsts.set(name, context.index);
  }
}
