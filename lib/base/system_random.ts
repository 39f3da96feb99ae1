/** Unpredictable randomness of the machine, for identities and for spreading timers. */

import type { Random } from "./prng.ts";
import { hexOf } from "./bytes.ts";

export const systemRandom: Random = {
  next: () => Math.random(),
  below: (bound) => Math.floor(Math.random() * bound),
};

/** A new identity: 16 hexadecimal digits (64 random bits). */
export function randomIdentity(): string {
  return hexOf(crypto.getRandomValues(new Uint8Array(8)));
}
