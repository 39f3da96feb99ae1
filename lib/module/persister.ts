/**
 * What a server must find again after a crash: its Raft state and the newest snapshot of its
 * service. The state is a text that is written on: `append` adds to it, `replace` starts it anew.
 */

import { concatBytes, EMPTY_BYTES } from "../base/bytes.ts";

/**
 * Storage of one server. Every call returns when its effect is durable; a crash in the middle of
 * an `append` may leave a beginning of it, one in the middle of a `replace` leaves the old or the
 * new.
 */
export interface Persister {
  /** The last `replace` and all that was appended since; empty: this server never ran. */
  readState(): Uint8Array;
  /** The newest snapshot, empty where there is none. */
  readSnapshot(): Uint8Array;
  append(state: Uint8Array): void;
  /** Replaces the state and, where one is given, the snapshot: both or neither. */
  replace(state: Uint8Array, snapshot?: Uint8Array): void;
  readonly stateBytes: number;
  readonly snapshotBytes: number;
}

/** Keeps everything in memory: for tests, and for learning. */
export class MemoryPersister implements Persister {
  private parts: Uint8Array[] = [];
  private size = 0;
  private snapshot: Uint8Array = EMPTY_BYTES;

  readState(): Uint8Array {
    return concatBytes(this.parts);
  }

  readSnapshot(): Uint8Array {
    return this.snapshot;
  }

  append(state: Uint8Array): void {
    this.parts.push(state);
    this.size += state.length;
  }

  replace(state: Uint8Array, snapshot?: Uint8Array): void {
    this.parts = [state];
    this.size = state.length;
    if (snapshot !== undefined) this.snapshot = snapshot;
  }

  get stateBytes(): number {
    return this.size;
  }

  get snapshotBytes(): number {
    return this.snapshot.length;
  }

  /** What a restart finds, out of reach of the server that crashed. */
  copy(): MemoryPersister {
    const copy = new MemoryPersister();
    copy.parts = [...this.parts];
    copy.size = this.size;
    copy.snapshot = this.snapshot;
    return copy;
  }
}
