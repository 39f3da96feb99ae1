/** A progress line on a terminal's stderr, and a summary line at the end. */

import type { Clock, Timer } from "../base/clock.ts";
import { printError, type Terminal } from "./terminal.ts";
import { counted, groupedNumber, roundedDuration, roundedSize } from "./units.ts";
import { clipped } from "./width.ts";

const REDRAW_MS = 200;
const ERASE_LINE = "\r\x1b[K";

export interface ProgressOptions {
  readonly terminal: Terminal;
  readonly clock: Clock;
  /** What is counted and what is done to it: `message`, `sent`. */
  readonly noun: string;
  readonly verb: string;
  /** How many there will be, where it is known. */
  readonly total?: number;
  /** `--json`, or no wish for it: nothing is shown at all. */
  readonly silent?: boolean;
  /** Only the summary: a person types on the same terminal. */
  readonly summaryOnly?: boolean;
  /** Why it does not go on just now; null where it does. */
  readonly trouble?: () => string | null;
}

/** A trouble that lasts this long is printed where no line is redrawn. */
const TROUBLE_MS = 2_000;

/** Counting costs two additions; drawing happens five times a second, on terminals only. */
export class Progress {
  private count = 0;
  private sizeBytes = 0;
  private readonly startedMs: number;
  private timer: Timer | null = null;
  private shownCount = 0;
  private shownMs: number;
  private drawn = false;
  private readonly draws: boolean;
  private hidden = false;
  /** Since when the same trouble lasts, and whether it was printed. */
  private troubledSinceMs: number | null = null;
  private troublePrinted = false;

  constructor(private readonly options: ProgressOptions) {
    this.startedMs = options.clock.monotonicMs();
    this.shownMs = this.startedMs;
    const { terminal, silent, summaryOnly, trouble } = options;
    this.draws = terminal.stderrIsTerminal && !silent && !summaryOnly;
    if (this.draws || (trouble !== undefined && !silent)) this.plan();
  }

  add(count: number, sizeBytes: number): void {
    this.count += count;
    this.sizeBytes += sizeBytes;
  }

  /** Takes the line away, for output that goes to the same terminal, until {@link show}. */
  hide(): void {
    this.hidden = true;
    if (this.drawn) this.options.terminal.writeError(ERASE_LINE);
    this.drawn = false;
  }

  /** The line may be drawn again. */
  show(): void {
    this.hidden = false;
  }

  /** Stops drawing and prints the summary line; `remark` is added to it. */
  finish(remark = ""): void {
    this.timer?.cancel();
    this.timer = null;
    const { terminal, clock, noun, verb, silent } = this.options;
    if (this.drawn) terminal.writeError(ERASE_LINE);
    if (silent) return;
    const elapsedMs = clock.monotonicMs() - this.startedMs;
    const rate = elapsedMs > 0 ? this.count / (elapsedMs / 1_000) : 0;
    const tail = remark === "" ? "" : `, ${remark}`;
    printError(
      terminal,
      `${counted(this.count, noun)} ${verb} (${roundedSize(this.sizeBytes)}) in ` +
        `${roundedDuration(elapsedMs)}, ${groupedNumber(rate)}/s${tail}`,
    );
  }

  private plan(): void {
    this.timer = this.options.clock.after(REDRAW_MS, () => {
      if (this.draws) this.draw();
      else this.printTrouble();
      this.plan();
    });
  }

  /** Once per trouble, where it lasts: scripts and logs get one line, not one every moment. */
  private printTrouble(): void {
    const { terminal, clock } = this.options;
    const trouble = this.options.trouble?.() ?? null;
    if (trouble === null) {
      this.troubledSinceMs = null;
      this.troublePrinted = false;
      return;
    }
    const nowMs = clock.monotonicMs();
    this.troubledSinceMs ??= nowMs;
    if (this.troublePrinted || nowMs - this.troubledSinceMs < TROUBLE_MS) return;
    this.troublePrinted = true;
    printError(terminal, `waiting: ${trouble}`);
  }

  private draw(): void {
    if (this.hidden) return;
    const { terminal, clock, noun, verb, total } = this.options;
    const trouble = this.options.trouble?.() ?? null;
    const nowMs = clock.monotonicMs();
    const rate = (this.count - this.shownCount) / Math.max(0.001, (nowMs - this.shownMs) / 1_000);
    this.shownCount = this.count;
    this.shownMs = nowMs;
    const of = total === undefined ? "" : `${groupedNumber(this.count)} of `;
    const line = `${of}${counted(total ?? this.count, noun)} ${verb}, ${groupedNumber(rate)}/s, ` +
      roundedSize(this.sizeBytes) + (trouble === null ? "" : `; ${trouble}`);
    terminal.writeError(ERASE_LINE + clipped(line, terminal.columns() - 1));
    this.drawn = true;
  }
}
