/**
 * Watching changes at a node: the call is held until there are some, or until its time is over.
 * What is told is committed and never taken back; a node that lags behind tells it later.
 */

import { binary, record, whole } from "../base/codec.ts";
import type { Clock } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Replica } from "../replica/replica.ts";
import { decodeAnswer, encodeQuestion } from "./codec.ts";
import type { KvMachine } from "./machine.ts";

export const WATCH_METHOD = "kv.watch";

/** Changes after the revision `after` of keys that begin with `prefix`. */
export const watchCodec = record({ prefix: binary, after: whole, deadlineMs: whole });

export interface WatchingOptions {
  readonly clock: Clock;
  readonly machine: Pick<KvMachine, "query" | "forgetsSoon">;
  /** Null while the node has not joined a cluster yet. */
  readonly replica: () => Pick<Replica, "onApplied" | "raft"> | null;
}

export class Watching {
  constructor(private readonly options: WatchingOptions) {}

  /**
   * Serves {@link WATCH_METHOD} with the machine's answer. The position moves on while the call is
   * held, so that changes of other keys cost a watcher nothing. The caller has the old position
   * until it is answered: it is answered without changes before that one is forgotten.
   */
  async serve(params: Packable): Promise<Packable> {
    const { prefix, after, deadlineMs } = watchCodec.decode(params, "watch");
    const { clock, machine } = this.options;
    const endMs = clock.monotonicMs() + deadlineMs;
    let seen = after;
    while (true) {
      const bytes = machine.query(encodeQuestion({ op: "changes", prefix, after: seen }));
      const answer = decodeAnswer(bytes);
      if (answer.kind !== "changes" || answer.changes.length > 0) return bytes;
      if (clock.monotonicMs() >= endMs || machine.forgetsSoon(after)) return bytes;
      seen = answer.upTo;
      await this.nextApplied(endMs);
    }
  }

  /** Resolves when something was applied, or at `endMs`. */
  private nextApplied(endMs: number): Promise<void> {
    const replica = this.following();
    return new Promise((resolve) => {
      const done = () => {
        timer.cancel();
        stop();
        resolve();
      };
      const stop = replica.onApplied(done);
      const timer = this.options.clock.after(endMs - this.options.clock.monotonicMs(), done);
    });
  }

  /** A node without a leader may miss what the others do: the watcher should ask another one. */
  private following(): Pick<Replica, "onApplied" | "raft"> {
    const replica = this.options.replica();
    if (replica !== null && replica.raft.leader !== null) return replica;
    throw new TrilogError("unavailable", "Cannot watch here: this node follows no leader");
  }
}
