/**
 * Looks for records at every position of some bytes, in time linear in their number whatever they
 * hold. Payloads may be shaped like record headers that claim long payloads; a checksum computed
 * over each claim would be quadratic. CRC-32 is linear over GF(2), so the checksum of any stretch
 * follows from two registers: `C(a, b) = P(b) xor P(a) * x^(8 (b - a))`, where `P(n)` is the
 * register after the first `n` bytes. One pass keeps the register of every 64th position.
 *
 * Source: M. Adler, zlib `crc32_combine`.
 */

const POLYNOMIAL = 0xedb88320;
/** The polynomial 1, in the reflected form of CRC-32. */
const ONE = 0x80000000;
const SPACING_SHIFT = 6;
const LOW_BITS = 12;

const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let register = byte;
  for (let bit = 0; bit < 8; bit += 1) {
    register = (register & 1) === 1 ? (register >>> 1) ^ POLYNOMIAL : register >>> 1;
  }
  return register;
});

/** Product of two polynomials modulo that of CRC-32. */
function multiply(left: number, right: number): number {
  let product = 0;
  let factor = right;
  for (let rest = left; rest !== 0; rest <<= 1) {
    if (rest < 0) product ^= factor;
    factor = (factor & 1) === 1 ? (factor >>> 1) ^ POLYNOMIAL : factor >>> 1;
  }
  return product;
}

/** `count` powers of `base`, from its zeroth on. */
function powers(base: number, count: number): Int32Array {
  const result = new Int32Array(count);
  result[0] = ONE;
  for (let at = 1; at < count; at += 1) result[at] = multiply(result[at - 1], base);
  return result;
}

/** `x^(8 n)` for `n` below `2 ** LOW_BITS`. */
const LOW_POWERS = powers(TABLE[ONE & 0xff] ^ (ONE >>> 8), 2 ** LOW_BITS);

export class RecordSearch {
  /** Register after every 64th byte, from 0 on. */
  private readonly registers: Int32Array;
  /** `x^(8 n)` for multiples `n` of `2 ** LOW_BITS`. */
  private readonly highPowers: Int32Array;

  constructor(readonly bytes: Uint8Array) {
    this.registers = new Int32Array((bytes.length >>> SPACING_SHIFT) + 1);
    let register = 0;
    for (let at = 0; at < bytes.length; at += 1) {
      if ((at & (2 ** SPACING_SHIFT - 1)) === 0) this.registers[at >>> SPACING_SHIFT] = register;
      register = TABLE[(register ^ bytes[at]) & 0xff] ^ (register >>> 8);
    }
    const rest = bytes.length & (2 ** SPACING_SHIFT - 1);
    if (rest === 0) this.registers[bytes.length >>> SPACING_SHIFT] = register;
    const step = multiply(LOW_POWERS[2 ** LOW_BITS - 1], LOW_POWERS[1]);
    this.highPowers = powers(step, (bytes.length >>> LOW_BITS) + 1);
  }

  /** CRC-32 of the bytes in [from, to), going on from the checksum `seed`, as an unsigned number. */
  checksum(from: number, to: number, seed: number): number {
    const length = to - from;
    const power = multiply(
      this.highPowers[length >>> LOW_BITS],
      LOW_POWERS[length & (2 ** LOW_BITS - 1)],
    );
    return ~(this.registerAt(to) ^ multiply(power, this.registerAt(from) ^ ~seed)) >>> 0;
  }

  private registerAt(position: number): number {
    const slot = position >>> SPACING_SHIFT;
    let register = this.registers[slot];
    for (let at = slot << SPACING_SHIFT; at < position; at += 1) {
      register = TABLE[(register ^ this.bytes[at]) & 0xff] ^ (register >>> 8);
    }
    return register;
  }
}
