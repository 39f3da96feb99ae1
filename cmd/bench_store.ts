/** `trilog bench kv` and `bench atm`: operations a second of a store or a bank that runs. */

import { utf8 } from "../lib/base/bytes.ts";
import { TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { randomIdentity } from "../lib/base/system_random.ts";
import { AtmClient } from "../lib/atm/client.ts";
import { securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import type { FlagValues } from "../lib/cli/flags.ts";
import { KvClient, KvRemoteBackend } from "../lib/kv/client.ts";
import type { RpcClient } from "../lib/net/rpc_client.ts";
import { RemoteBackend } from "../lib/replica/backends.ts";
import { newCaller } from "./caller.ts";
import { measured, printFigures } from "./bench_figures.ts";

const flags = {
  connect: { type: "addresses", required: true, help: "nodes to turn to" },
  messages: { type: "integer", min: 1, default: "20000", help: "operations of each kind" },
  inFlight: { type: "integer", min: 1, default: "64", help: "operations at a time" },
  ...securityFlags,
} as const;

const sizeFlag = { type: "size", default: "100", help: "bytes of a value" } as const;

/** Every client stays within this; an answer that takes longer is a failure. */
const TIMEOUT_MS = 5_000;
/** Different keys and accounts. */
const OBJECTS = 1_000;

export const benchKv = defineCommand({
  name: "kv",
  summary: "sets and gets a second of a key-value store",
  examples: [
    "trilog bench kv --connect 127.0.0.1:6001",
    "trilog bench kv --connect 127.0.0.1:6001 --in-flight 1 --messages 2000 --json",
  ],
  flags: { ...flags, size: sizeFlag },
  run: ({ flags, json, terminal }) =>
    withCaller(flags, async (caller) => {
      const backend = new KvRemoteBackend(caller, flags.connect);
      const options = { backend, clock: systemClock, unique: randomIdentity };
      const client = new KvClient({ ...options, timeoutMs: TIMEOUT_MS });
      const value = new Uint8Array(flags.size).fill(97);
      const sets = await measured(flags, async (number) => {
        const key = utf8(`bench-${number % OBJECTS}`);
        requireDone(await client.run({ op: "set", key, value, ttlMs: null, requestId: null }));
      });
      const gets = await measured(flags, async (number) => {
        requireDone(await client.run({ op: "get", key: utf8(`bench-${number % OBJECTS}`) }));
      });
      return await printFigures(terminal, json, {
        size: flags.size,
        inFlight: flags.inFlight,
        ...named("set", sets),
        ...named("get", gets),
      });
    }),
});

export const benchAtm = defineCommand({
  name: "atm",
  summary: "deposits and balances a second of a bank",
  examples: [
    "trilog bench atm --connect 127.0.0.1:7001",
    "trilog bench atm --connect 127.0.0.1:7001 --in-flight 1 --messages 2000 --json",
  ],
  flags,
  run: ({ flags, json, terminal }) =>
    withCaller(flags, async (caller) => {
      const backend = new RemoteBackend(caller, flags.connect);
      const client = new AtmClient({ backend, clock: systemClock, unique: randomIdentity });
      const account = (number: number) => `bench-${number % OBJECTS}`;
      const deposits = await measured(flags, async (number) => {
        requireDone(await client.words(["deposit", account(number), "0.01"]));
      });
      const balances = await measured(flags, async (number) => {
        requireDone(await client.words(["balance", account(number)]));
      });
      return await printFigures(terminal, json, {
        inFlight: flags.inFlight,
        ...named("deposit", deposits),
        ...named("balance", balances),
      });
    }),
});

async function withCaller<T>(
  flags: FlagValues<typeof securityFlags>,
  run: (caller: RpcClient) => Promise<T>,
): Promise<T> {
  const caller = newCaller(flags, "bench");
  try {
    return await run(caller);
  } finally {
    caller.close();
  }
}

type Answered =
  | { readonly ok: true }
  | { readonly ok: false; readonly failure: { readonly message: string } };

function requireDone(outcome: Answered): void {
  if (!outcome.ok) {
    throw new TrilogError("unavailable", `Cannot go on measuring: ${outcome.failure.message}`);
  }
}

/** The figures under names that begin with the operation's. */
function named(operation: string, figures: Readonly<Record<string, number>>) {
  return Object.fromEntries(
    Object.entries(figures).map(([name, value]) => [
      `${operation}${name[0].toUpperCase()}${name.slice(1)}`,
      value,
    ]),
  );
}
