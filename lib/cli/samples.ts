/** PURE. Latencies of a measurement and what is said of them. */

export class Samples {
  private readonly values: Float64Array;
  private filled = 0;

  /** Room for this many values; more are not kept. */
  constructor(capacity: number) {
    this.values = new Float64Array(capacity);
  }

  get count(): number {
    return this.filled;
  }

  add(value: number): void {
    if (this.filled < this.values.length) this.values[this.filled++] = value;
  }

  /** The value that a share of all lies at or below: 0.5 is the median. 0 without values. */
  quantile(share: number): number {
    if (this.filled === 0) return 0;
    const sorted = this.values.slice(0, this.filled).sort();
    return sorted[Math.min(this.filled - 1, Math.floor(this.filled * share))];
  }

  get max(): number {
    return this.quantile(1);
  }
}
