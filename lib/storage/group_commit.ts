/**
 * Group commit: one sync in flight, everybody who asks meanwhile shares the next one. A failure
 * is final: after a failed fsync the kernel drops the dirty pages and a later fsync would report
 * success for data that is gone.
 */

import { TrilogError } from "../base/errors.ts";

export class GroupCommit {
  private running: Promise<void> | null = null;
  private queued: Promise<void> | null = null;
  private failure: TrilogError | null = null;

  /** `flush` makes durable all that was written before it was called. */
  constructor(private readonly flush: () => Promise<void>) {}

  inFlight(): boolean {
    return this.running !== null;
  }

  /** Resolves when everything written before this call is durable. */
  sync(): Promise<void> {
    if (this.failure !== null) return Promise.reject(this.failure);
    if (this.running === null) return this.start();
    this.queued ??= this.running.then(() => {
      this.queued = null;
      return this.start();
    });
    return this.queued;
  }

  /** Throws the failure that ended this log, if there was one. */
  check(): void {
    if (this.failure !== null) throw this.failure;
  }

  /** Notes that `thrown` ended this log, and returns it as the error to throw. */
  poison(thrown: unknown): TrilogError {
    this.failure ??= thrown instanceof TrilogError && thrown.code === "disk_failed"
      ? thrown
      : new TrilogError("disk_failed", `Cannot use log: ${String(thrown)}`, { cause: thrown });
    return this.failure;
  }

  private start(): Promise<void> {
    if (this.failure !== null) return Promise.reject(this.failure);
    const run = this.flush().then(
      () => {
        this.running = null;
      },
      (thrown) => {
        this.running = null;
        throw this.poison(thrown);
      },
    );
    this.running = run;
    return run;
  }
}
