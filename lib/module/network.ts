/**
 * Servers in one process that call each other, on a network as bad as a test wants it: it delays,
 * loses and reorders, and single ends can be cut. Works on any {@link Clock}, so a test decides
 * whether a second takes a second.
 */

import type { Clock } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Random } from "../base/prng.ts";
import { systemClock } from "../base/system_clock.ts";
import { systemRandom } from "../base/system_random.ts";
import type { Peer } from "./types.ts";

/** Answers one request. A server that is `shutting_down` counts as one that is not there. */
export type Handler = (request: Uint8Array) => Uint8Array | Promise<Uint8Array>;

export interface NetworkOptions {
  readonly clock?: Clock;
  readonly random?: Random;
}

/** Unreliable: a request waits for 0 to 26 milliseconds. */
const UNRELIABLE_DELAY_MS = 27;
/** Unreliable: this share of the requests vanishes, and of the answers. */
const LOSS_RATIO = 0.1;
/** Long reordering: this share of the answers waits. */
const REORDERED_RATIO = 2 / 3;
const REORDERED_MIN_MS = 200;
const REORDERED_SPREAD_MS = 2000;
/** A call over a cut end, or to a server that is not there, fails within this time. */
const FAILURE_MS = 100;
const LONG_FAILURE_MS = 7000;

interface Service {
  readonly handler: Handler;
  calls: number;
}

export class Network {
  /** False: requests are delayed, and requests and answers get lost. */
  reliable = true;
  /** Calls that cannot succeed fail after 0 to 6,999 milliseconds instead of 0 to 99. */
  longDelays = false;
  /** Two of three answers wait for 200 to 2,200 milliseconds, and overtake each other. */
  longReordering = false;
  /** Requests and answers that were sent, in bytes. */
  bytes = 0;
  /** Requests that were sent. */
  calls = 0;

  private readonly clock: Clock;
  private readonly random: Random;
  private readonly services = new Map<string, Service>();
  private readonly cuts = new Set<string>();

  constructor({ clock = systemClock, random = systemRandom }: NetworkOptions = {}) {
    this.clock = clock;
    this.random = random;
  }

  /** Makes `handler` the server of that name; one that was there before is gone. */
  serve(name: string, handler: Handler): void {
    this.services.set(name, { handler, calls: 0 });
  }

  /** Takes a server away: calls to it fail, and answers of its own that are under way get lost. */
  remove(name: string): void {
    this.services.delete(name);
  }

  /** Requests that the present server of that name was given. */
  callsTo(name: string): number {
    return this.services.get(name)?.calls ?? 0;
  }

  /** The end at `from` of a connection to `to`; neither needs to exist yet. */
  end(from: string, to: string): Peer {
    return { call: (request) => this.call(from, to, request) };
  }

  /** Cuts the ends at `from` towards `to`, one way, or mends them. */
  enable(from: string, to: string, enabled: boolean): void {
    if (enabled) this.cuts.delete(linkOf(from, to));
    else this.cuts.add(linkOf(from, to));
  }

  private async call(from: string, to: string, request: Uint8Array): Promise<Uint8Array | null> {
    this.calls += 1;
    this.bytes += request.length;
    const service = this.services.get(to);
    if (service === undefined || this.isCut(from, to)) return this.fail();
    await this.wait(this.reliable ? 0 : this.random.below(UNRELIABLE_DELAY_MS));
    if (this.loses()) return null;
    // A server that was replaced meanwhile never gets the request.
    if (this.services.get(to) !== service) return this.fail();
    service.calls += 1;
    const answer = await answerOf(service.handler, request);
    if (answer === null) return this.fail();
    if (this.services.get(to) !== service || this.isCut(from, to)) return this.fail();
    if (this.loses()) return null;
    if (this.longReordering && this.random.next() < REORDERED_RATIO) {
      const spreadMs = 1 + this.random.below(REORDERED_SPREAD_MS);
      await this.wait(REORDERED_MIN_MS + this.random.below(spreadMs));
    }
    this.bytes += answer.length;
    return answer;
  }

  private isCut(from: string, to: string): boolean {
    return this.cuts.has(linkOf(from, to));
  }

  private loses(): boolean {
    return !this.reliable && this.random.next() < LOSS_RATIO;
  }

  private async fail(): Promise<null> {
    await this.wait(this.random.below(this.longDelays ? LONG_FAILURE_MS : FAILURE_MS));
    return null;
  }

  private wait(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      if (delayMs > 0) this.clock.after(delayMs, resolve);
      else this.clock.nextTurn(resolve);
    });
  }
}

async function answerOf(handler: Handler, request: Uint8Array): Promise<Uint8Array | null> {
  try {
    return await handler(request);
  } catch (thrown) {
    if (thrown instanceof TrilogError && thrown.code === "shutting_down") return null;
    throw thrown;
  }
}

function linkOf(from: string, to: string): string {
  return `${from}>${to}`;
}
