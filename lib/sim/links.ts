/** The directed links between simulated machines: how long they take, and what holds them up. */

import type { Prng } from "../base/prng.ts";

export interface LinkQuality {
  /** Probability that a segment has to be repeated. */
  readonly loss: number;
  /** Shortest and longest time a segment takes, in milliseconds. */
  readonly delayMs: readonly [number, number];
  /** Probability that a read gives less than there is. */
  readonly chop: number;
}

export const goodLinks: LinkQuality = { loss: 0, delayMs: [0.1, 0.3], chop: 0 };

export class Links {
  /** Segments lost and links cut so far. */
  readonly faultsFired = new Map<string, number>();
  private readonly cuts = new Set<string>();
  private readonly clogs = new Map<string, number>();
  private readonly down = new Set<string>();

  constructor(private readonly random: Prng, private quality: LinkQuality = goodLinks) {}

  setQuality(quality: LinkQuality): void {
    this.quality = quality;
  }

  /** Stops what goes from one machine to another; the other direction stays as it is. */
  cut(from: string, to: string): void {
    this.cuts.add(linkOf(from, to));
  }

  mend(from: string, to: string): void {
    this.cuts.delete(linkOf(from, to));
  }

  /** Everything from one machine to another takes this much longer. */
  clog(from: string, to: string, extraMs: number): void {
    this.clogs.set(linkOf(from, to), extraMs);
  }

  /** Ends every cut and every clog. */
  heal(): void {
    this.cuts.clear();
    this.clogs.clear();
  }

  /** A machine has power again, or loses it. */
  setUp(machine: string, up: boolean): void {
    if (up) this.down.delete(machine);
    else this.down.add(machine);
  }

  isUp(machine: string): boolean {
    return !this.down.has(machine);
  }

  /** Whether what leaves now arrives; notes a cut that held something up. */
  carries(from: string, to: string): boolean {
    if (this.down.has(from) || this.down.has(to)) return false;
    if (!this.cuts.has(linkOf(from, to))) return true;
    this.fired("cut");
    return false;
  }

  delayMs(from: string, to: string): number {
    const [low, high] = this.quality.delayMs;
    return low + this.random.next() * (high - low) + (this.clogs.get(linkOf(from, to)) ?? 0);
  }

  /** How often a segment is lost before it arrives. */
  losses(): number {
    let count = 0;
    while (count < 6 && this.quality.loss > 0 && this.random.chance(this.quality.loss)) count += 1;
    if (count > 0) this.fired("loss");
    return count;
  }

  /** Whether the present read gives only a part of what there is. */
  chops(): boolean {
    return this.quality.chop > 0 && this.random.chance(this.quality.chop);
  }

  private fired(fault: string): void {
    this.faultsFired.set(fault, (this.faultsFired.get(fault) ?? 0) + 1);
  }
}

export function linkOf(from: string, to: string): string {
  return `${from}>${to}`;
}
