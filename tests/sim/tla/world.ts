/** What the servers of the specification share. */

import type { SpecEntry } from "./trace.ts";

/** A step that the specification does not allow. */
export class NotAllowed extends Error {}

/** What all servers share: messages that were sent, votes, leaders, and what is committed. */
export class World {
  readonly sent = new Set<string>();
  /** Candidate that a server voted for, by `server/term`. */
  readonly votes = new Map<string, string>();
  readonly leaders = new Map<number, string>();
  /** The longest log that any leader has committed. */
  committed: SpecEntry[] = [];
  /** How often each action was taken. */
  readonly actions = new Map<string, number>();

  constructor(readonly servers: readonly string[]) {}

  took(action: string): void {
    this.actions.set(action, (this.actions.get(action) ?? 0) + 1);
  }

  isQuorum(servers: Iterable<string>): boolean {
    return new Set(servers).size * 2 > this.servers.length;
  }
}
