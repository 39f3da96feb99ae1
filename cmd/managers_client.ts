/** How commands ask the managers, without a look at the rest of the cluster. */

import { systemClock } from "../lib/base/system_clock.ts";
import { randomIdentity, systemRandom } from "../lib/base/system_random.ts";
import { Managers } from "../lib/client/managers.ts";
import type { Method } from "../lib/client/protocol.ts";
import { newCounters } from "../lib/net/counters.ts";
import { clientPolicy } from "../lib/net/handshake.ts";
import { type Caller, RpcClient } from "../lib/net/rpc_client.ts";
import type { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import type { FlagValues } from "../lib/cli/flags.ts";
import { readToken } from "./server_setup.ts";

type ClientFlags = FlagValues<typeof bootstrapFlags> & FlagValues<typeof securityFlags>;

/** Time for a request that a person waits for, in milliseconds. */
const REQUEST_MS = 5_000;

/** Asks whichever manager can answer; rejects after `deadlineMs`. */
export type Ask = <Request, Answer>(
  method: Method<Request, Answer>,
  request: Request,
  deadlineMs?: number,
) => Promise<Answer>;

/** Runs with connections to the managers, and to anybody, and closes them whatever happens. */
export async function withManagers<T>(
  flags: ClientFlags,
  run: (ask: Ask, caller: Caller, managers: Managers) => Promise<T>,
): Promise<T> {
  const rpc = new RpcClient({
    policy: clientPolicy("trilog", readToken(flags)),
    role: "client",
    clock: systemClock,
    random: systemRandom,
    counters: newCounters(),
  });
  const managers = new Managers(rpc, systemClock, systemRandom, flags.bootstrap);
  try {
    return await run(
      (method, request, deadlineMs = REQUEST_MS) => managers.request(method, request, deadlineMs),
      rpc,
      managers,
    );
  } finally {
    rpc.close();
  }
}

/** Names a change, so that its repeats are recognised. */
export const newRequestId: () => string = randomIdentity;
