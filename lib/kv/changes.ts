/**
 * The last changes, for those who watch: numbered by revision without a gap, bounded by count and
 * by bytes. They are part of the replicated state, so that a watcher may go on at another node.
 */

import { limits } from "../base/limits.ts";

export type ChangeKind = "set" | "delete" | "expire";

export interface Change {
  /** From 1, one higher with each change of any key. */
  readonly revision: number;
  readonly kind: ChangeKind;
  readonly key: string;
  /** Null where the key is gone. */
  readonly value: Uint8Array | null;
}

export class Changes {
  /** Those before `first` are forgotten and leave the list now and then. */
  private list: Change[] = [];
  private first = 0;
  private bytes = 0;
  /** Bytes of all changes ever added here, and the same when the listed changes were added. */
  private addedBytes = 0;
  private addedAt: number[] = [];

  add(change: Change): void {
    this.list.push(change);
    this.bytes += sizeOf(change);
    this.addedBytes += sizeOf(change);
    this.addedAt.push(this.addedBytes);
    while (
      this.list.length - this.first > limits.watchedChanges || this.bytes > limits.watchedBytes
    ) {
      this.bytes -= sizeOf(this.list[this.first]);
      this.first += 1;
    }
    if (this.first > limits.watchedChanges) {
      this.list = this.list.slice(this.first);
      this.addedAt = this.addedAt.slice(this.first);
      this.first = 0;
    }
  }

  /** All that are remembered, oldest first. */
  all(): readonly Change[] {
    return this.list.slice(this.first);
  }

  /**
   * Whether more than half of what can be remembered came after `revision`: a position that is not
   * moved forward may soon be forgotten.
   */
  isOld(revision: number, newest: number): boolean {
    const since = newest - revision;
    if (since <= 0) return false;
    if (since * 2 > limits.watchedChanges || since >= this.list.length - this.first) return true;
    const before = this.addedAt[this.list.length - since - 1];
    return (this.addedBytes - before) * 2 > limits.watchedBytes;
  }

  /** Changes after `revision`, oldest first; null: some of them are forgotten. */
  after(revision: number, newest: number): readonly Change[] | null {
    if (revision >= newest) return [];
    const oldest = newest - (this.list.length - this.first) + 1;
    if (revision + 1 < oldest) return null;
    return this.list.slice(this.first + (revision + 1 - oldest));
  }
}

function sizeOf({ key, value }: Change): number {
  return key.length + (value?.length ?? 0);
}
