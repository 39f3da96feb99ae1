/**
 * A running hash over all that happens in a simulation. Two runs of one seed must end with the
 * same hash; the first difference between two runs is where something not simulated got in.
 */

/** Two independent 32-bit lanes (FNV-1a and a multiplicative hash with a final avalanche). */
export class TraceHash {
  private first = 0x811c9dc5;
  private second = 0x9e3779b9;

  /** Takes in a whole number or a fraction of at most 1/1000, such as a time in milliseconds. */
  number(value: number): void {
    const scaled = Math.round(value * 1000);
    this.word(scaled | 0);
    this.word(Math.floor(scaled / 2 ** 32) | 0);
  }

  text(value: string): void {
    for (let at = 0; at < value.length; at += 1) this.word(value.charCodeAt(at));
    this.word(value.length);
  }

  bytes(value: Uint8Array): void {
    for (let at = 0; at < value.length; at += 1) this.word(value[at]);
    this.word(value.length);
  }

  /** 16 hexadecimal digits of everything taken in so far; taking more goes on from there. */
  digest(): string {
    return hexWord(avalanche(this.first)) + hexWord(avalanche(this.second));
  }

  private word(value: number): void {
    this.first = Math.imul(this.first ^ value, 0x01000193);
    const mixed = Math.imul(this.second ^ value, 0x85ebca6b);
    this.second = (mixed << 13) | (mixed >>> 19);
  }
}

/** The finaliser of MurmurHash3: every input bit reaches every output bit. */
function avalanche(value: number): number {
  let mixed = value;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function hexWord(value: number): string {
  return value.toString(16).padStart(8, "0");
}
