/** Checks of what programs pass to the library; a wrong option is named at once. */

import { TrilogError } from "../base/errors.ts";
import { isValidName } from "../base/limits.ts";
import { parseAddress } from "../net/address.ts";

/** Timers of the system take 31 bits; a longer one would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** `value` where it is a number of at least `least`; throws `invalid_argument` where it is not. */
export function numberOption(name: string, value: number, least: number): number {
  if (typeof value === "number" && value >= least) return value;
  throw invalidOption(name, value, `a number of at least ${least}`);
}

/** The same for a whole number. */
export function wholeOption(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw invalidOption(name, value, `a whole number of at least ${least}`);
}

/** A time in milliseconds as {@link numberOption} takes it, no longer than a timer can wait. */
export function durationOption(name: string, value: number, least: number): number {
  return Math.min(numberOption(name, value, least), LONGEST_TIMER_MS);
}

/** `value` where it is one of `choices`; throws `invalid_argument` where it is not. */
export function choiceOption<T extends string>(
  name: string,
  value: T,
  choices: readonly T[],
): T {
  if (choices.includes(value)) return value;
  throw invalidOption(name, value, `one of ${choices.join(", ")}`);
}

/** `value` where it may name a topic, a group or an instance; throws `invalid_argument`. */
export function nameOption(name: string, value: string): string {
  if (isValidName(value)) return value;
  const form = "a name of 1 to 249 letters, digits, dots, underscores and dashes";
  throw invalidOption(name, value, form);
}

/** `value` where it is printable text without spaces, or empty; throws `invalid_argument`. */
export function labelOption(name: string, value: string): string {
  if (typeof value === "string" && /^[!-~]{0,249}$/.test(value)) return value;
  throw invalidOption(name, value, "up to 249 printable characters without spaces");
}

/** `addresses` where they are one `host:port` or more; throws `invalid_argument`. */
export function addressesOption(name: string, addresses: readonly string[]): readonly string[] {
  if (!Array.isArray(addresses) || addresses.length === 0) {
    throw invalidOption(name, addresses, "a list of at least one address");
  }
  for (const address of addresses) parseAddress(address);
  return addresses;
}

function invalidOption(name: string, value: unknown, expected: string): TrilogError {
  return new TrilogError(
    "invalid_argument",
    `Cannot use option ${name}: ${JSON.stringify(value) ?? typeof value} is not ${expected}`,
  );
}
