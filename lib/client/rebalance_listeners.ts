/** Calls a program's listeners to partitions that come and go, one call at a time. */

import type { Clock } from "../base/clock.ts";
import { deferred } from "../base/deferred.ts";
import type { PartitionListener, TopicPartition } from "./consumer_options.ts";

export interface Listeners {
  readonly onAssigned?: PartitionListener;
  readonly onRevoked?: PartitionListener;
  readonly onLost?: PartitionListener;
}

export class RebalanceListeners {
  /** Resolves when all calls so far have ended; null when none is under way. */
  private calls: Promise<void> | null = null;
  private lostPlaces: TopicPartition[] = [];

  /** `onThrown`: hears what a listener throws. */
  constructor(
    private readonly listeners: Listeners,
    private readonly onThrown: (thrown: unknown) => void,
  ) {}

  /** Resolves when the program has heard of it; null where there is nothing to wait for. */
  assigned(places: readonly TopicPartition[]): Promise<void> | null {
    return this.call(this.listeners.onAssigned, places);
  }

  /** The same for partitions that are to be given up. */
  revoked(places: readonly TopicPartition[]): Promise<void> | null {
    return this.call(this.listeners.onRevoked, places);
  }

  /** The same at the end of the consumer; waits no longer than that, in milliseconds. */
  async revokedAtLast(
    places: readonly TopicPartition[],
    clock: Clock,
    longestMs: number,
  ): Promise<void> {
    const heard = this.revoked(places) ?? this.calls;
    if (heard === null) return;
    const { promise, resolve } = deferred<void>();
    const timer = clock.after(longestMs, resolve);
    heard.then(resolve);
    await promise;
    timer.cancel();
  }

  /** A partition is gone; those of one turn are told together. */
  lost({ topic, partition }: TopicPartition): void {
    if (this.listeners.onLost === undefined) return;
    this.lostPlaces.push({ topic, partition });
    if (this.lostPlaces.length > 1) return;
    queueMicrotask(() => {
      const places = this.lostPlaces;
      this.lostPlaces = [];
      void this.call(this.listeners.onLost, places);
    });
  }

  private call(
    listener: PartitionListener | undefined,
    places: readonly TopicPartition[],
  ): Promise<void> | null {
    if (listener === undefined || places.length === 0) return null;
    const call = this.callAfter(this.calls, listener, places);
    this.calls = call;
    call.then(() => {
      if (this.calls === call) this.calls = null;
    });
    return call;
  }

  private async callAfter(
    before: Promise<void> | null,
    listener: PartitionListener,
    places: readonly TopicPartition[],
  ): Promise<void> {
    await before;
    try {
      await listener(places);
    } catch (thrown) {
      this.onThrown(thrown);
    }
  }
}
