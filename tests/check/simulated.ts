/**
 * Histories of simulated clients and objects. The objects here are written apart from the models,
 * as plainly as possible: each operation takes effect at one point between its invocation and its
 * answer, which makes the history linearizable.
 */

import type { Prng } from "../../lib/base/prng.ts";
import type { HistoryEvent } from "../../lib/check/history.ts";
import type { ModelName } from "../../lib/check/models/models.ts";
import type { Value } from "../../lib/check/values.ts";
import { type Bar, eventsOf } from "./bars.ts";

export interface SimulationOptions {
  readonly clients: number;
  readonly operations: number;
  readonly keys: number;
  /** Of all operations, how many never get an answer. */
  readonly unknown: number;
}

interface Request {
  readonly f: string;
  readonly key?: string;
  readonly input?: Value;
}

/** An answer, or how it fails. */
type Reply = { readonly output: Value } | { readonly fails: string | true };

interface SimulatedObject {
  request(random: Prng): Request;
  answer(request: Request): Reply;
}

/** The events of one run. */
export function simulatedHistory(
  model: ModelName,
  random: Prng,
  options: SimulationOptions,
): HistoryEvent[] {
  const object = OBJECTS[model](options.keys);
  const plans = planned(random, options).sort((left, right) => left.point - right.point);
  const bars = plans.flatMap(({ process, at, point }): Bar[] => {
    const request = object.request(random);
    if (point === Infinity) return [{ process, ...request, at }];
    const reply = object.answer(request);
    return at.length === 1
      ? [{ process, ...request, at }]
      : [{ process, ...request, ...reply, at }];
  });
  return eventsOf(bars);
}

interface Plan {
  readonly process: string;
  readonly at: Bar["at"];
  /** When it takes effect; of an unknown outcome perhaps much later, or never. */
  readonly point: number;
}

/** When each client asks and is answered; a client whose outcome is unknown takes a new name. */
function planned(random: Prng, { clients, operations, unknown }: SimulationOptions): Plan[] {
  const free = Array.from({ length: clients }, (_, client) => ({ client, life: 0, time: 0 }));
  return Array.from({ length: operations }, (): Plan => {
    const one = random.pick(free);
    const process = `${one.client}.${one.life}`;
    const call = one.time + random.next();
    const point = call + random.next() * 3;
    const answer = point + random.next();
    if (random.chance(unknown)) {
      one.life += 1;
      one.time = answer;
      const never = random.chance(0.3);
      return { process, at: [call], point: never ? Infinity : point + random.next() * 10 };
    }
    one.time = answer;
    return { process, at: [call, answer], point };
  });
}

const OBJECTS: { readonly [Name in ModelName]: (keys: number) => SimulatedObject } = {
  register: simulatedRegister,
  kv: simulatedMap,
  queue: simulatedQueue,
  bank: simulatedBank,
};

function simulatedRegister(keys: number): SimulatedObject {
  const values = new Map<string, Value>();
  return {
    request(random) {
      const key = String(random.below(keys));
      const f = random.pick(["read", "write", "cas"]);
      const input = f === "read"
        ? null
        : f === "write"
        ? random.below(4)
        : [random.below(4), random.below(4)];
      return { f, key, input };
    },
    answer({ f, key = "", input = null }) {
      const value = values.get(key) ?? null;
      if (f === "read") return { output: value };
      const [old, next] = f === "cas" ? input as [number, number] : [value, input];
      if (old !== value) return { fails: true };
      values.set(key, next);
      return { output: input };
    },
  };
}

function simulatedMap(keys: number): SimulatedObject {
  const values = new Map<string, string>();
  let made = 0;
  return {
    request(random) {
      const key = String(random.below(keys));
      const f = random.pick(["get", "get", "put", "append", "append", "delete", "cas"]);
      made += 1;
      const given = f === "cas" ? [values.get(key) ?? null, `c${made}`] : `v${made}`;
      return { f, key, input: f === "get" || f === "delete" ? null : given };
    },
    answer({ f, key = "", input = null }) {
      const value = values.get(key) ?? null;
      if (f === "get") return { output: value };
      if (f === "delete") return { output: values.delete(key) };
      if (f === "cas") {
        const [old, next] = input as [string | null, string];
        if (old !== value) return { fails: true };
        values.set(key, next);
      } else values.set(key, f === "put" ? input as string : `${value ?? ""}${input}`);
      return { output: null };
    },
  };
}

function simulatedQueue(keys: number): SimulatedObject {
  const logs = new Map<string, Value[]>();
  const logOf = (key: string) => {
    if (!logs.has(key)) logs.set(key, []);
    return logs.get(key)!;
  };
  let made = 0;
  return {
    request(random) {
      const key = String(random.below(keys));
      const f = random.pick(["append", "append", "read", "end"]);
      made += 1;
      if (f === "append") return { f, key, input: `m${made}` };
      return f === "end" ? { f, key } : { f, key, input: random.below(logOf(key).length + 2) };
    },
    answer({ f, key = "", input = null }) {
      const log = logOf(key);
      if (f === "append") return { output: log.push(input) - 1 };
      return { output: f === "end" ? log.length : log[input as number] ?? null };
    },
  };
}

function simulatedBank(keys: number): SimulatedObject {
  const held: Record<string, number> = {};
  return {
    request(random) {
      const key = `a${random.below(keys)}`;
      const f = random.pick(["deposit", "withdraw", "balance", "transfer", "accounts"]);
      const amount = random.between(1, 100);
      if (f === "accounts") return { f };
      if (f === "balance") return { f, key };
      if (f !== "transfer") return { f, key, input: amount };
      return { f, input: { from: key, to: `a${random.below(keys)}`, amount } };
    },
    answer({ f, key, input = null }) {
      if (f === "accounts") return { output: { ...held } };
      const { from, to, amount } = f === "transfer"
        ? input as { from: string; to: string; amount: number }
        : { from: f === "deposit" ? null : key!, to: f === "deposit" ? key! : null, amount: input };
      const isMissing = (account: string | null) => account !== null && !(account in held);
      if (isMissing(from) || (f === "transfer" && isMissing(to))) {
        return { fails: "no_such_account" };
      }
      if (f === "balance") return { output: held[key!] };
      if (from !== null && held[from] < (amount as number)) return { fails: "insufficient_funds" };
      if (from !== null) held[from] -= amount as number;
      if (to !== null) held[to] = (held[to] ?? 0) + (amount as number);
      return f === "transfer" || key === undefined
        ? { output: null }
        : { output: { balance: held[key] } };
    },
  };
}
