/** How commands ask the managers, without a look at the rest of the cluster. */

import { systemClock } from "../lib/base/system_clock.ts";
import { randomIdentity, systemRandom } from "../lib/base/system_random.ts";
import { Managers } from "../lib/client/managers.ts";
import type { Method } from "../lib/client/protocol.ts";
import type { Caller } from "../lib/net/rpc_client.ts";
import type { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { newCaller } from "./caller.ts";
import type { FlagValues } from "../lib/cli/flags.ts";

type ClientFlags = FlagValues<typeof bootstrapFlags> & FlagValues<typeof securityFlags>;

/** Time for a request that a person waits for, in milliseconds. */
const REQUEST_MS = 5_000;

/**
 * Asks whichever manager can answer; rejects after `deadlineMs`. `heldMs`: see `Managers.request`.
 */
export type Ask = <Request, Answer>(
  method: Method<Request, Answer>,
  request: Request,
  deadlineMs?: number,
  heldMs?: number,
) => Promise<Answer>;

/** Runs with connections to the managers, and to anybody, and closes them whatever happens. */
export async function withManagers<T>(
  flags: ClientFlags,
  run: (ask: Ask, caller: Caller, managers: Managers) => Promise<T>,
): Promise<T> {
  const rpc = newCaller(flags, "trilog");
  const managers = new Managers(rpc, systemClock, systemRandom, flags.bootstrap);
  try {
    return await run(
      (method, request, deadlineMs = REQUEST_MS, heldMs) =>
        managers.request(method, request, deadlineMs, heldMs),
      rpc,
      managers,
    );
  } finally {
    rpc.close();
  }
}

/** Names a change, so that its repeats are recognised. */
export const newRequestId: () => string = randomIdentity;
