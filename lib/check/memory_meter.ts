/** PURE. Counts the bytes that a check holds on to, against a limit. */

/** The check needs more memory than it may have: caught where the verdict is made. */
export class OutOfMemory extends Error {
  override readonly name = "OutOfMemory";
}

export class MemoryMeter {
  private used = 0;
  private highest = 0;

  constructor(private readonly limitBytes: number) {}

  /** The most that was held at one time. */
  get peakBytes(): number {
    return this.highest;
  }

  /** Takes memory, or throws {@link OutOfMemory}. */
  take(bytes: number): void {
    if (this.used + bytes > this.limitBytes) throw new OutOfMemory();
    this.used += bytes;
    if (this.used > this.highest) this.highest = this.used;
  }

  give(bytes: number): void {
    this.used -= bytes;
  }
}
