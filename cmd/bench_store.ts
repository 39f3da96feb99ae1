/** `trilog bench kv` and `bench atm`: operations a second of a store or a bank that runs. */

import { utf8 } from "../lib/base/bytes.ts";
import { toTrilogError, TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { randomIdentity } from "../lib/base/system_random.ts";
import { AtmClient } from "../lib/atm/client.ts";
import { securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import type { FlagValues } from "../lib/cli/flags.ts";
import { printError, type Terminal } from "../lib/cli/terminal.ts";
import { KvClient, KvRemoteBackend } from "../lib/kv/client.ts";
import type { RpcClient } from "../lib/net/rpc_client.ts";
import { RemoteBackend } from "../lib/replica/backends.ts";
import { measured, printFigures, type Work } from "./bench_figures.ts";
import { newCaller } from "./caller.ts";
import { RecordFile, recordFlag } from "./record_file.ts";
import { RecordedAtmClient, RecordedKvClient } from "./recorded_clients.ts";

const flags = {
  connect: { type: "addresses", required: true, help: "nodes to ask" },
  messages: { type: "integer", min: 1, default: "20000", help: "operations of each kind" },
  inFlight: { type: "integer", min: 1, default: "64", help: "operations at a time" },
  record: recordFlag,
  ...securityFlags,
} as const;

const sizeFlag = { type: "size", default: "100", help: "bytes of a value" } as const;

/** Every client stays within this; an answer that takes longer is a failure. */
const TIMEOUT_MS = 5_000;
/** Different keys, all of them of this run. */
const KEYS = 1_000;
/** Different accounts: few, since accounts cannot be deleted. */
const ACCOUNTS = 16;
/** Others may deposit or withdraw while an account is emptied. */
const EMPTYING_TRIES = 5;
/** Never aborts: what was put there is taken away after Ctrl-C, too. */
const UNINTERRUPTED = new AbortController().signal;

export const benchKv = defineCommand({
  name: "kv",
  summary: "sets and gets a second of a key-value store",
  details:
    `Writes ${KEYS} keys, bench-ID-0 and so on, and deletes them at the end, also after a\n` +
    "failure or Ctrl-C.",
  examples: [
    "trilog bench kv --connect 127.0.0.1:6001",
    "trilog bench kv --connect 127.0.0.1:6001 --in-flight 1 --messages 2000 --json",
    "trilog bench kv --connect 127.0.0.1:6001 --record history.jsonl",
  ],
  flags: { ...flags, size: sizeFlag },
  interruption: "graceful",
  run: ({ flags, json, terminal, signal }) =>
    withCaller(flags, async (caller, history) => {
      const backend = new KvRemoteBackend(caller, flags.connect);
      const options = { backend, clock: systemClock, unique: randomIdentity };
      const prefix = `bench-${randomIdentity()}-`;
      const key = (number: number) => utf8(`${prefix}${number % KEYS}`);
      const clientOptions = { ...options, timeoutMs: TIMEOUT_MS };
      const clients = clientsOf(flags, () =>
        history === null
          ? new KvClient(clientOptions)
          : new RecordedKvClient(clientOptions, history));
      // In a recorded run every set has a value of its own, so that the checker tells them apart.
      const constant = new Uint8Array(flags.size).fill(97);
      const valueOf = (number: number) =>
        history === null ? constant : utf8(String(number).padEnd(flags.size, "a"));
      const deleteAll = () =>
        measured({ ...flags, messages: Math.min(flags.messages, KEYS) }, UNINTERRUPTED, async (
          number,
          worker,
        ) => {
          const request = { op: "delete", key: key(number), requestId: null } as const;
          requireDone(await clients[worker].run(request));
        });
      const figures = await cleaningUp(
        terminal,
        `keys ${prefix}*`,
        deleteAll,
        async () => {
          const sets = await measured(flags, signal, async (number, worker) => {
            const set = { op: "set", key: key(number), value: valueOf(number) } as const;
            requireDone(await clients[worker].run({ ...set, ttlMs: null, requestId: null }));
          });
          const gets = await measured(flags, signal, async (number, worker) => {
            requireDone(await clients[worker].run({ op: "get", key: key(number) }));
          });
          return { ...named("set", sets), ...named("get", gets) };
        },
      );
      const { size, inFlight } = flags;
      return await printFigures(terminal, json, { size, inFlight, ...figures });
    }),
});

export const benchAtm = defineCommand({
  name: "atm",
  summary: "deposits and balances a second of a bank",
  details:
    `Deposits into ${ACCOUNTS} accounts, bench-0 and so on, and withdraws what they hold at\n` +
    "the end, also after a failure or Ctrl-C. Accounts cannot be deleted: the empty\n" +
    "accounts remain, and with --record they are new ones, bench-ID-0 and so on.",
  examples: [
    "trilog bench atm --connect 127.0.0.1:7001",
    "trilog bench atm --connect 127.0.0.1:7001 --in-flight 1 --messages 2000 --json",
    "trilog bench atm --connect 127.0.0.1:7001 --in-flight 4 --messages 500 --record history.jsonl",
  ],
  flags,
  interruption: "graceful",
  run: ({ flags, json, terminal, signal }) =>
    withCaller(flags, async (caller, history) => {
      const backend = new RemoteBackend(caller, flags.connect);
      const options = { backend, clock: systemClock, unique: randomIdentity };
      const clients = clientsOf(flags, () =>
        history === null ? new AtmClient(options) : new RecordedAtmClient(options, history));
      // The checker must see every movement of an account from its first on.
      const prefix = history === null ? "bench-" : `bench-${randomIdentity()}-`;
      const account = (number: number) =>
        `${prefix}${number % ACCOUNTS}`;
      const emptyAll = () =>
        measured({ ...flags, messages: Math.min(flags.messages, ACCOUNTS) }, UNINTERRUPTED, (
          number,
          worker,
        ) => emptyAccount(clients[worker], account(number)));
      const figures = await cleaningUp(terminal, `money in ${prefix}*`, emptyAll, async () => {
        const deposits = await measured(flags, signal, async (number, worker) => {
          requireDone(await clients[worker].words(["deposit", account(number), "0.01"]));
        });
        const balances = await measured(flags, signal, async (number, worker) => {
          requireDone(await clients[worker].words(["balance", account(number)]));
        });
        return { ...named("deposit", deposits), ...named("balance", balances) };
      });
      return await printFigures(terminal, json, { inFlight: flags.inFlight, ...figures });
    }),
});

/** A client for each operation at a time. */
function clientsOf<C>({ inFlight }: Work, newClient: () => C): readonly C[] {
  return Array.from({ length: inFlight }, newClient);
}

/** Withdraws all that an account holds; one that was never opened is as good as empty. */
async function emptyAccount(client: AtmClient, account: string): Promise<void> {
  for (let left = EMPTYING_TRIES; left > 0; left -= 1) {
    const found = await client.run({ op: "balance", account });
    if (!found.ok && found.failure.code === "no_such_account") return;
    requireDone(found);
    if (!("balanceCents" in found.result) || found.result.balanceCents === 0) return;
    const cents = found.result.balanceCents;
    const taken = await client.run({ op: "withdraw", account, cents, requestId: null });
    if (taken.ok || taken.failure.code !== "insufficient_funds") requireDone(taken);
  }
}

/**
 * What `run` comes to, after `clean` has removed what it left. A cleaning that fails is only
 * reported; `left` says what it was to remove.
 */
async function cleaningUp<T>(
  terminal: Terminal,
  left: string,
  clean: () => Promise<unknown>,
  run: () => Promise<T>,
): Promise<T> {
  try {
    return await run();
  } finally {
    await clean().catch((thrown) =>
      printError(terminal, `${left} may remain: ${toTrilogError(thrown).message}`)
    );
  }
}

type CallerFlags = FlagValues<typeof securityFlags> & { readonly record?: string | undefined };

async function withCaller<T>(
  flags: CallerFlags,
  run: (caller: RpcClient, history: RecordFile | null) => Promise<T>,
): Promise<T> {
  const caller = newCaller(flags, "bench");
  const history = flags.record === undefined ? null : new RecordFile(flags.record, "bench");
  try {
    return await run(caller, history);
  } finally {
    history?.close();
    caller.close();
  }
}

type Failed = { readonly ok: false; readonly failure: { readonly message: string } };

function requireDone<Done extends { readonly ok: true }>(
  outcome: Done | Failed,
): asserts outcome is Done {
  if (!outcome.ok) {
    throw new TrilogError("unavailable", outcome.failure.message);
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
