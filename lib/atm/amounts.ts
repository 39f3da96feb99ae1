/** Money as people write it, `12.34`, and as the bank keeps it: whole cents. */

import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { visible } from "../base/visible.ts";

const AMOUNT = /^([0-9]+)(?:\.([0-9]{1,2}))?$/;

/** More digits before the point than any amount within the limit has. */
const WHOLE_DIGITS = 15;

/** Whether `cents` may be moved: a whole number from 1 to `limits.balanceCents`. */
export function isAmount(cents: number): boolean {
  return Number.isSafeInteger(cents) && cents > 0 && cents <= limits.balanceCents;
}

/**
 * The cents of a decimal amount with at most two digits after the point. Throws `invalid_amount`
 * for anything else: signs, exponents, other scripts' digits, zero, and what is above the limit.
 */
export function parseAmount(text: string): number {
  const parts = AMOUNT.exec(text);
  if (parts === null) {
    throw refused(text, "an amount is digits, with at most two more after a point, such as 12.50");
  }
  const whole = parts[1].replace(/^0+/, "");
  const cents = whole.length > WHOLE_DIGITS
    ? Infinity
    : Number(whole) * 100 + Number((parts[2] ?? "").padEnd(2, "0"));
  if (cents === 0) throw refused(text, "an amount must be above zero");
  if (cents > limits.balanceCents) {
    throw refused(text, `an amount must not be above ${formatCents(limits.balanceCents)}`);
  }
  return cents;
}

/** `12.34` for 1234: always two digits after the point, no separators. `cents` is not negative. */
export function formatCents(cents: number | bigint): string {
  const digits = String(cents).padStart(3, "0");
  return `${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

function refused(text: string, state: string): TrilogError {
  return new TrilogError("invalid_amount", `Cannot use amount ${visible(text)}: ${state}`);
}
