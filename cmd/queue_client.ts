/** How the commands that are clients of the queue connect. */

import { Client } from "../lib/client/client.ts";
import type { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import type { FlagValues } from "../lib/cli/flags.ts";
import { readToken } from "./server_setup.ts";

type ClientFlags = FlagValues<typeof bootstrapFlags> & FlagValues<typeof securityFlags>;

/** Connects within `connectMs` (by default 5 s), runs, and closes whatever happens. */
export async function withClient<T>(
  flags: ClientFlags,
  run: (client: Client) => Promise<T>,
  connectMs?: number,
): Promise<T> {
  const token = readToken(flags);
  const options = { bootstrap: flags.bootstrap, token, name: "trilog" };
  const client = await Client.connect(options, connectMs);
  try {
    return await run(client);
  } finally {
    client.close();
  }
}
