/**
 * PURE. What each server answered last, for the error of a request that found no server able to
 * serve it. The last socket's message alone would name one address and no reason.
 */

import type { TrilogError } from "./errors.ts";
import { listed } from "./listed.ts";

/** A server that was asked, by the name that people know it by. */
interface Failure {
  readonly name: string | undefined;
  readonly address: string;
  readonly error: TrilogError;
}

export class Failures {
  private readonly byAddress = new Map<string, Failure>();

  note(address: string, name: string | undefined, error: TrilogError): void {
    this.byAddress.delete(address);
    this.byAddress.set(address, { address, name, error });
  }

  get isEmpty(): boolean {
    return this.byAddress.size === 0;
  }

  clear(): void {
    this.byAddress.clear();
  }

  /** The servers that no answer came from: `m1 (127.0.0.1:9001) and m2 (127.0.0.1:9002)`. */
  get silent(): string | null {
    const silent = [...this.byAddress.values()].filter(({ error }) => !error.answered);
    return silent.length === 0 ? null : listed(silent.map(label).sort());
  }

  /** How many of them did not answer. */
  get silentCount(): number {
    return [...this.byAddress.values()].filter(({ error }) => !error.answered).length;
  }

  /** The newest answer of a server, without its `Cannot <act> <thing>: `; null where none gave one. */
  get answer(): string | null {
    const answers = [...this.byAddress.values()].filter(({ error }) => error.answered);
    const newest = answers.at(-1);
    return newest === undefined ? null : stateOf(newest.error);
  }

  /** Why no connection to the server asked last could be used; null where it answered. */
  get reason(): string | null {
    const last = [...this.byAddress.values()].findLast(({ error }) => !error.answered);
    return last === undefined ? null : stateOf(last.error);
  }
}

/** The state part of an error's message. */
export function stateOf(error: TrilogError): string {
  return error.message.slice(error.message.indexOf(": ") + 2);
}

function label({ name, address }: Failure): string {
  return name === undefined ? address : `${name} (${address})`;
}
