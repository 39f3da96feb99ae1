/**
 * Who makes the trouble. The faults of a run come from a bag that is shuffled anew whenever it is
 * empty, so that each has its turn; some of them overlap. The seed decides which, on whom and for
 * how long; when exactly they meet the servers is up to the machine.
 */

import { nowMs, sleep } from "../e2e/harness.ts";
import type { Dice } from "./dice.ts";
import { FAULTS, type Lasting } from "./faults.ts";
import type { Fleet, Server } from "./fleet.ts";
import type { FaultName } from "./settings.ts";

/** Links are healed all at once, so one fault at a time has them. */
const NETWORK: readonly FaultName[] = ["partition", "one-way"];
/** How often a fault joins one that lasts, and how often it is aimed at the leader. */
const OVERLAP = 0.35;
const AIM = 0.5;

/** How long a fault lasts at least and at most, and the longest pause after it. */
const LEAST_MS = 300;
const MOST_MS = 4_000;
const PAUSE_MS = 1_500;
/** Time in which the servers tell each other how they are. */
const REPORT_MS = 2_000;
/** A run goes on for faults that were not felt yet, up to this many times its duration. */
const PROLONGED = 2;

export interface NemesisOptions {
  readonly fleet: Fleet;
  readonly dice: Dice;
  readonly durationMs: number;
  /** Name of the server that leads, as far as somebody says so in time. */
  readonly leader: () => Promise<string | null>;
  /** Waits until every server has its full copy and a say again. */
  readonly whole: () => Promise<void>;
  /** Told what happens, for the story of the run. */
  readonly tell: (line: string) => void;
  /** Throws where the clients have found a fault already. */
  readonly check: () => void;
}

export class Nemesis {
  private bag: FaultName[] = [];
  private readonly startMs = nowMs();
  /** Shorter in a short run, so that every fault has its turn. */
  private readonly mostMs: number;

  constructor(private readonly options: NemesisOptions) {
    const { fleet, durationMs } = options;
    const shareMs = Math.floor(durationMs / (1 + fleet.available.length));
    this.mostMs = Math.max(LEAST_MS, Math.min(MOST_MS, shareMs));
  }

  /** Makes trouble for the duration of the run; at the end everything is whole again. */
  async run(): Promise<void> {
    while (this.goesOn()) {
      await this.turn();
      await sleep(this.options.dice.between(0, Math.min(PAUSE_MS, this.mostMs)));
    }
  }

  private goesOn(): boolean {
    const { fleet, durationMs } = this.options;
    const ranMs = nowMs() - this.startMs;
    if (ranMs < durationMs) return fleet.available.length > 0;
    const missing = fleet.available.some((fault) => !fleet.fired.has(fault));
    return missing && ranMs < PROLONGED * durationMs;
  }

  /** One fault from its begin to its end, or two that overlap. */
  private async turn(): Promise<void> {
    const { fleet, dice } = this.options;
    const first = this.draw([])!;
    const one = await this.begin(first);
    await this.last();
    const taken = NETWORK.includes(first) ? NETWORK : [first];
    const mayJoin = fleet.servers.some(({ busy }) => !busy) && dice.chance(OVERLAP);
    const second = mayJoin ? this.draw(taken) : null;
    const two = second === null ? null : await this.begin(second);
    if (two !== null) await this.last();
    await this.end(first, one);
    if (two !== null) {
      await sleep(dice.between(0, 1_000));
      await this.end(second!, two);
    }
    if (!one.costsCopy && !two?.costsCopy) return;
    await sleep(REPORT_MS);
    await this.options.whole();
  }

  /** The next fault of the bag that is none of `except`; null where there is no other. */
  private draw(except: readonly FaultName[]): FaultName | null {
    const { fleet, dice } = this.options;
    const fits = (fault: FaultName) => !except.includes(fault);
    if (!this.bag.some(fits)) this.bag = [...this.bag, ...dice.shuffled(fleet.available)];
    const at = this.bag.findIndex(fits);
    return at < 0 ? null : this.bag.splice(at, 1)[0];
  }

  private async begin(fault: FaultName): Promise<Lasting> {
    const { fleet, dice } = this.options;
    const lasting = await FAULTS[fault](fleet, dice, await this.victim());
    for (const server of lasting.servers) server.busy = true;
    this.tell(`${fault}: ${lasting.what}`);
    return lasting;
  }

  private async end(fault: FaultName, lasting: Lasting): Promise<void> {
    const felt = await lasting.end();
    for (const server of lasting.servers) server.busy = false;
    if (felt) this.options.fleet.felt(fault);
    this.tell(`${fault} ends${felt ? "" : ", not felt"}`);
  }

  private async victim(): Promise<Server> {
    const { fleet, dice } = this.options;
    const idle = fleet.servers.filter(({ busy }) => !busy);
    const any = dice.pick(idle);
    if (!dice.chance(AIM)) return any;
    const leader = await this.options.leader();
    return idle.find(({ name }) => name === leader) ?? any;
  }

  /** Lets a fault last, and sees to it that all who should run do. */
  private async last(): Promise<void> {
    const untilMs = nowMs() + this.options.dice.between(LEAST_MS, this.mostMs);
    while (nowMs() < untilMs) {
      await sleep(50);
      this.options.fleet.checkRunning();
      this.options.check();
    }
  }

  private tell(line: string): void {
    const seconds = ((nowMs() - this.startMs) / 1_000).toFixed(1).padStart(6);
    this.options.tell(`${seconds} s  ${line}`);
  }
}
