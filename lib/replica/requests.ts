/**
 * PURE. What makes a repeat harmless: the last mutating requests with their answers, in log order. A
 * request id that is among them gets its first answer and changes nothing.
 *
 * The memory is bounded, so an id could outlive it. Ids that trilog makes therefore carry a
 * ticket, the number of requests remembered when the id was made (`t4711.9f...`). Once so many
 * followed that the id may have been forgotten, it is refused (`session_expired`) instead of being
 * carried out a second time. An id of the user's own making has no ticket and is safe to repeat
 * only within the window.
 */

import { equalBytes } from "../base/bytes.ts";
import type { Packable } from "../base/msgpack.ts";

/** Requests remembered; the oldest in log order is forgotten first. */
export const REQUEST_WINDOW = 10_000;

const TICKET = /^t([0-9]{1,15})\./;

/** A request id for a machine that has remembered `requests` so far; `unique` makes it one of a kind. */
export function ticketedRequestId(requests: number, unique: string): string {
  return `t${requests}.${unique}`;
}

export type Lookup =
  | { readonly kind: "new" }
  | { readonly kind: "repeat"; readonly answer: Uint8Array }
  /** The id stands for another command. */
  | { readonly kind: "conflict" }
  /** The id may have been used and forgotten. */
  | { readonly kind: "expired" };

/** A remembered request in a snapshot. */
export type PackedRequest = readonly [id: string, command: Uint8Array, answer: Uint8Array];

interface Remembered {
  readonly command: Uint8Array;
  readonly answer: Uint8Array;
}

export class RequestMemory {
  /** By request id; a map keeps the order of insertion, which is log order. */
  private readonly remembered = new Map<string, Remembered>();
  private count = 0;

  /** Requests remembered so far, ever. */
  get seen(): number {
    return this.count;
  }

  lookup(requestId: string, command: Uint8Array): Lookup {
    const known = this.remembered.get(requestId);
    if (known !== undefined) {
      return equalBytes(known.command, command)
        ? { kind: "repeat", answer: known.answer }
        : { kind: "conflict" };
    }
    const ticket = TICKET.exec(requestId);
    if (ticket !== null && Number(ticket[1]) + REQUEST_WINDOW < this.count) {
      return { kind: "expired" };
    }
    return { kind: "new" };
  }

  /** Keeps the answer to a request that `lookup` called new. */
  remember(requestId: string, command: Uint8Array, answer: Uint8Array): void {
    // The command is a view into a larger buffer, which must not be kept alive.
    this.remembered.set(requestId, { command: command.slice(), answer });
    this.count += 1;
    if (this.remembered.size <= REQUEST_WINDOW) return;
    const [oldest] = this.remembered.keys();
    this.remembered.delete(oldest);
  }

  /** All that is remembered now, oldest first, for the machine's snapshot. */
  packed(): PackedRequest[] {
    return [...this.remembered].map(([id, { command, answer }]) => [id, command, answer]);
  }

  /** The whole memory as one value. */
  pack(): Packable {
    return [this.count, this.packed()];
  }

  /** `seen` requests in all, of which these are remembered. */
  static of(seen: number, requests: Iterable<PackedRequest>): RequestMemory {
    const memory = new RequestMemory();
    for (const [id, command, answer] of requests) {
      memory.remembered.set(id, { command: command.slice(), answer: answer.slice() });
    }
    memory.count = seen;
    return memory;
  }

  static unpack(packed: Packable): RequestMemory {
    return RequestMemory.of(...packed as [number, PackedRequest[]]);
  }
}
