/**
 * MACHINE. What the managers forget when they are recovered with loss (`trilog recover`) must not
 * be taken for news or given out twice: versions and numbers leap over all that may have been used.
 */

import { record } from "../base/codec.ts";
import { type Changed, changedCodec, type Command } from "./command.ts";

/** More changes than can have been lost. */
const VERSIONS = 1_000_000_000;
/** More topics, producers and generations than can have been made and lost. */
const NUMBERS = 1_000_000;

/** Every version and every counter goes on far above what it is. */
export const leap: Command<Record<never, never>, Changed> = {
  name: "cluster.leap",
  fields: record<Record<never, never>>({}),
  answer: changedCodec,
  apply(state) {
    state.version += VERSIONS;
    state.touch(true);
    for (const [purpose, next] of state.counters) state.counters.set(purpose, next + NUMBERS);
    return { version: state.version };
  },
};
