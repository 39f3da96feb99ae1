/** What the servers (`atm`, `kv`, `manager`, `broker`) set up alike from their common flags. */

import { TrilogError } from "../lib/base/errors.ts";
import { createLogger } from "../lib/base/logger.ts";
import { Histogram } from "../lib/base/metrics.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { randomIdentity, systemRandom } from "../lib/base/system_random.ts";
import type { FlagValues } from "../lib/cli/flags.ts";
import type { nodeFlags, securityFlags } from "../lib/cli/common_flags.ts";
import type { ProcessOptions } from "../lib/replica/process.ts";
import { DenoDisk } from "../lib/storage/deno_disk.ts";
import { PooledDisk } from "../lib/storage/pooled_disk.ts";
import { TimedDisk } from "../lib/storage/timed_disk.ts";
import { descriptorLimit, type DescriptorShares, shareDescriptors } from "./descriptors.ts";

export interface ServerFlags extends FlagValues<typeof nodeFlags> {
  readonly id: string;
  readonly listen: string;
  readonly data: string;
}

/**
 * Options of a server's process. `writeLog` takes the lines of its log. Throws `usage` for an
 * address beyond loopback without a token, unless `--insecure` says that this is meant.
 */
export function processOptions(
  flags: ServerFlags,
  writeLog: (line: string) => void,
  shares: DescriptorShares = shareDescriptors(descriptorLimit(), false),
): Omit<ProcessOptions, "onFatal"> {
  refuseOpenDoor(flags.listen, flags);
  const token = readToken(flags);
  if (flags.electionTimeout < 2 * flags.raftHeartbeat) {
    throw new TrilogError(
      "usage",
      "Cannot start: --election-timeout must be at least twice --raft-heartbeat",
    );
  }
  const logger = createLogger({
    level: flags.logLevel,
    format: flags.logFormat,
    clock: systemClock,
    write: writeLog,
  });
  const syncTimes = new Histogram();
  return {
    name: flags.id,
    listen: flags.listen,
    advertise: flags.advertise,
    token,
    disk: new PooledDisk(
      new TimedDisk(new DenoDisk(flags.data), systemClock, syncTimes),
      shares.files,
    ),
    maxConnections: shares.connections,
    syncTimes,
    clock: systemClock,
    random: systemRandom,
    logger: logger.with({ node: flags.id }),
    heartbeatMs: flags.raftHeartbeat,
    electionTimeoutMs: flags.electionTimeout,
    newIdentity: randomIdentity,
  };
}

/** Throws `usage` for an address that others can reach, without a token or leave for it. */
export function refuseOpenDoor(
  address: string,
  flags: Pick<ServerFlags, "tokenFile" | "insecure">,
): void {
  if (flags.insecure || flags.tokenFile !== undefined || isLoopback(address)) return;
  throw new TrilogError(
    "usage",
    `Cannot listen on ${address}: it is open to others and there is no --token-file ` +
      "(--insecure allows it)",
  );
}

/** The token in `--token-file`, without blanks and newlines around it; "" for none. */
export function readToken(flags: FlagValues<typeof securityFlags>): string {
  const { tokenFile } = flags;
  if (tokenFile === undefined) return "";
  let token: string;
  try {
    token = Deno.readTextFileSync(tokenFile).trim();
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new TrilogError("usage", `Cannot read token file ${tokenFile}: ${reason}`);
  }
  if (token === "") {
    throw new TrilogError("usage", `Cannot use token file ${tokenFile}: it is empty`);
  }
  return token;
}

/** Whether only processes of this machine can reach `host:port`. */
export function isLoopback(address: string): boolean {
  const host = address.slice(0, address.lastIndexOf(":"));
  return host === "localhost" || host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host);
}
