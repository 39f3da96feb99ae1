/**
 * Notices that a partition's leader has moved while a request to the old one still waits: a process
 * that hangs (SIGSTOP, lost power, a black hole) closes no connection. A request that takes several
 * times the usual has the other replicas asked who leads; they know as soon as one is elected. Then
 * the waiting request fails and is repeated at the new leader, which recognises the repeat.
 */

import type { Clock, Timer } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import type { Caller } from "../net/rpc_client.ts";
import { leadersMethod } from "./protocol.ts";
import type { Route, Routing } from "./routing.ts";

/** A request that takes this long beyond the usual is one to look after. */
const SUSPECT_MS = 150;
/** So many times the usual time of an answer is added. */
const USUAL_TIMES = 4;
/** An answer's time counts no more than this in the average. */
const LONGEST_USUAL_MS = 250;
const LATEST_WEIGHT = 0.1;
/** Time between two looks, and for one question. */
const LOOK_EVERY_MS = 50;
const QUESTION_MS = 500;
/** After questions for this long without news, elections are over: the leader is only slow. */
const EAGER_MS = 1_000;
/** Then questions have pauses that double up to this: they must not feed on the load. */
const LONGEST_PAUSE_MS = 2_000;
/** A look that comes so late finds answers that wait unread: it judges nothing. */
const LATE_MS = 50;

/** A request that waits. */
interface Waiting {
  readonly route: Route;
  readonly suspectAtMs: number;
  readonly fail: (error: TrilogError) => void;
}

export class LeaderWatch {
  private readonly waiting = new Set<Waiting>();
  private timer: Timer | null = null;
  private usualMs = 0;
  private round = 0;
  /** Since when something is suspect, when it was last asked about, and the pause after that. */
  private suspectSinceMs: number | null = null;
  private askedMs = -Infinity;
  private pauseMs = 0;
  /** Brokers that a question is under way to. */
  private readonly asked = new Set<string>();

  constructor(
    private readonly clock: Clock,
    private readonly caller: Caller,
    private readonly routing: Routing,
  ) {}

  /**
   * The answer of `call`, or a rejection when the partition is led elsewhere meanwhile. `heldMs`:
   * how long the leader may hold the answer back.
   */
  watch<T>(route: Route, heldMs: number, call: Promise<T>): Promise<T> {
    const startMs = this.clock.monotonicMs();
    return new Promise((resolve, reject) => {
      const suspectAtMs = startMs + heldMs + SUSPECT_MS + USUAL_TIMES * this.usualMs;
      const waiting = { route, suspectAtMs, fail: reject };
      this.waiting.add(waiting);
      this.lookLater();
      call.then((answer) => {
        const tookMs = this.clock.monotonicMs() - startMs;
        if (tookMs >= heldMs) this.learn(tookMs - heldMs);
        resolve(answer);
      }, reject).finally(() => {
        this.waiting.delete(waiting);
      });
    });
  }

  close(): void {
    this.timer?.cancel();
    this.timer = null;
    this.waiting.clear();
  }

  private learn(tookMs: number): void {
    const counted = Math.min(tookMs, LONGEST_USUAL_MS);
    this.usualMs += (counted - this.usualMs) * LATEST_WEIGHT;
  }

  private lookLater(): void {
    if (this.timer !== null) return;
    const dueMs = this.clock.monotonicMs() + LOOK_EVERY_MS;
    this.timer = this.clock.after(LOOK_EVERY_MS, () => {
      this.timer = null;
      if (this.clock.monotonicMs() - dueMs < LATE_MS) this.look();
      if (this.waiting.size > 0) this.lookLater();
    });
  }

  /** Asks one other replica of each partition whose leader is suspect; another one each time. */
  private look(): void {
    const nowMs = this.clock.monotonicMs();
    if (!this.isDue(nowMs)) return;
    const questions = new Map<string, Waiting[]>();
    for (const waiting of this.waiting) {
      if (nowMs < waiting.suspectAtMs) continue;
      const others = this.routing.othersOf(waiting.route);
      if (others.length === 0) continue;
      const broker = others[this.round % others.length];
      if (this.asked.has(broker)) continue;
      const together = questions.get(broker) ?? [];
      together.push(waiting);
      questions.set(broker, together);
    }
    this.round += 1;
    for (const [broker, together] of questions) void this.ask(broker, together);
  }

  /** Whether there is something to ask about, and time to ask. */
  private isDue(nowMs: number): boolean {
    if (![...this.waiting].some(({ suspectAtMs }) => nowMs >= suspectAtMs)) {
      this.suspectSinceMs = null;
      this.pauseMs = 0;
      return false;
    }
    this.suspectSinceMs ??= nowMs;
    if (nowMs - this.askedMs < this.pauseMs) return false;
    this.askedMs = nowMs;
    const eager = nowMs - this.suspectSinceMs < EAGER_MS;
    this.pauseMs = eager ? 0 : Math.min(LONGEST_PAUSE_MS, 2 * this.pauseMs || 2 * LOOK_EVERY_MS);
    return true;
  }

  private async ask(broker: string, suspects: readonly Waiting[]): Promise<void> {
    const groups = [...new Map(suspects.map(({ route }) => [route.groupId, route])).values()]
      .map(({ groupId, epoch }) => ({ groupId, epoch }));
    this.asked.add(broker);
    try {
      const params = leadersMethod.request.encode({ groups });
      const options = { deadlineMs: QUESTION_MS };
      const answer = await this.caller.call(broker, leadersMethod.name, params, options);
      const { leaders } = leadersMethod.answer.decode(answer, leadersMethod.name);
      const byGroup = new Map(leaders.map((leader) => [leader.groupId, leader]));
      for (const { route, fail } of suspects) {
        const known = byGroup.get(route.groupId);
        if (known === undefined || known.address === route.address) continue;
        if (this.routing.moved(route.groupId, known.address, known.term)) fail(moved(route));
      }
    } catch {
      // Another replica is asked at the next look.
    } finally {
      this.asked.delete(broker);
    }
  }
}

function moved({ address }: Route): TrilogError {
  const message = `Cannot reach ${address}: it does not answer, and another broker leads by now`;
  return new TrilogError("deadline_exceeded", message);
}
