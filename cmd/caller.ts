/** How the commands that are clients call servers. */

import { systemClock } from "../lib/base/system_clock.ts";
import { systemRandom } from "../lib/base/system_random.ts";
import type { securityFlags } from "../lib/cli/common_flags.ts";
import type { FlagValues } from "../lib/cli/flags.ts";
import { newCounters } from "../lib/net/counters.ts";
import { clientPolicy } from "../lib/net/handshake.ts";
import { RpcClient } from "../lib/net/rpc_client.ts";
import { readToken } from "./server_setup.ts";

/** A caller with the token of the flags; `name` is for the servers' logs. Close it at the end. */
export function newCaller(flags: FlagValues<typeof securityFlags>, name: string): RpcClient {
  return new RpcClient({
    policy: clientPolicy(name, readToken(flags)),
    role: "client",
    clock: systemClock,
    random: systemRandom,
    counters: newCounters(),
  });
}
