/** Small histories, drawn by hand, for each rule of linearizability and of each model. */

import { assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { checkHistory } from "../../lib/check/linearizability.ts";
import type { ModelName } from "../../lib/check/models/models.ts";
import type { Value } from "../../lib/check/values.ts";
import { type Bar, historyOf } from "./bars.ts";

type At = Bar["at"];

/** Each sentence with its bars: those under `yes` are linearizable, those under `no` are not. */
interface Cases {
  readonly yes: Readonly<Record<string, readonly Bar[]>>;
  readonly no: Readonly<Record<string, readonly Bar[]>>;
}

function testCases(model: ModelName, { yes, no }: Cases): void {
  for (const [verdict, cases] of Object.entries({ linearizable: yes, not_linearizable: no })) {
    for (const [sentence, bars] of Object.entries(cases)) {
      Deno.test(`${model}: ${sentence}`, () => {
        assertEquals(checkHistory(historyOf(bars), model).verdict, verdict);
      });
    }
  }
}

const read = (output: Value, at: At): Bar => ({ f: "read", output, at });
const write = (input: Value, at: At): Bar => ({ f: "write", input, at });
const cas = (old: Value, next: Value, at: At): Bar => ({ f: "cas", input: [old, next], at });

testCases("register", {
  yes: {
    "no operations at all": [],
    "a new register reads as null": [read(null, [1, 2])],
    "a read sees the write before it": [write(1, [1, 2]), read(1, [3, 4])],
    "a read during a write sees the old value": [write(1, [1, 4]), read(null, [2, 3])],
    "a read during a write sees the new value": [write(1, [1, 4]), read(1, [2, 3])],
    "two writes at the same time come in either order": [
      write(1, [1, 4]),
      write(2, [2, 3]),
      read(1, [5, 6]),
    ],
    "a write of unknown outcome takes effect late": [
      write(1, [1]),
      write(2, [2, 3]),
      read(2, [4, 5]),
      read(1, [6, 7]),
    ],
    "a write of unknown outcome never takes effect": [
      write(1, [1]),
      read(null, [2, 3]),
      read(null, [4, 5]),
    ],
    "equal writes of unknown outcome each take effect once": [
      write(1, [1]),
      write(1, [2]),
      write(2, [3, 4]),
      read(1, [5, 6]),
      write(2, [7, 8]),
      read(1, [9, 10]),
    ],
    "a failed write with a reason did nothing": [
      { ...write(1, [1, 2]), fails: "unavailable" },
      read(null, [3, 4]),
    ],
    "a cas sets what it compared": [write(1, [1, 2]), cas(1, 2, [3, 4]), read(2, [5, 6])],
    "a cas that failed found another value": [
      write(1, [1, 2]),
      { ...cas(3, 2, [3, 4]), fails: true },
      read(1, [5, 6]),
    ],
    "a cas that answered false found another value": [{ ...cas(3, 2, [1, 2]), output: false }],
    "a cas that failed for a reason says nothing about the value": [
      write(1, [1, 2]),
      { ...cas(1, 2, [3, 4]), fails: "unavailable" },
      read(1, [5, 6]),
    ],
    "a cas of unknown outcome takes effect when its value comes": [
      cas(1, 2, [1]),
      write(1, [2, 3]),
      read(1, [4, 5]),
      read(2, [6, 7]),
    ],
    "a read of unknown outcome says nothing": [write(1, [1, 2]), { f: "read", at: [3] }],
    "values are compared by what they hold": [
      write({ b: [1], a: 2 }, [1, 2]),
      read({ a: 2, b: [1] }, [3, 4]),
    ],
    "registers of different keys do not see each other": [
      { ...write(1, [1, 2]), key: "a" },
      { ...read(null, [3, 4]), key: "b" },
    ],
  },
  no: {
    "a read of what was never written": [write(1, [1, 2]), read(2, [3, 4])],
    "a stale read after a write": [write(1, [1, 2]), write(2, [3, 4]), read(1, [5, 6])],
    "a read that goes back behind an earlier read": [
      write(1, [1, 2]),
      write(2, [3, 8]),
      read(2, [4, 5]),
      read(1, [6, 7]),
    ],
    "a value seen before the write was invoked": [read(1, [1, 2]), write(1, [3, 4])],
    "a write of unknown outcome that takes effect before it was invoked": [
      read(1, [1, 2]),
      write(1, [3]),
    ],
    "a write of unknown outcome that takes effect twice": [
      write(1, [1]),
      write(2, [2, 3]),
      read(1, [4, 5]),
      write(2, [6, 7]),
      read(1, [8, 9]),
    ],
    "a failed write that is read": [
      { ...write(1, [1, 2]), fails: "unavailable" },
      read(1, [3, 4]),
    ],
    "a cas that succeeded on another value": [write(1, [1, 2]), cas(3, 2, [3, 4])],
    "a cas that failed on its own value": [
      write(1, [1, 2]),
      { ...cas(1, 2, [3, 4]), fails: true },
    ],
    "two cas from the same value both succeed": [
      write(1, [1, 2]),
      cas(1, 2, [3, 6]),
      cas(1, 3, [4, 5]),
    ],
    "the number 1 read where the string was written": [write("1", [1, 2]), read(1, [3, 4])],
  },
});

const get = (output: Value, at: At, key = "k"): Bar => ({ f: "get", key, output, at });
const kv = (f: string, input: Value, at: At, key = "k"): Bar => ({ f, key, input, at });
const removal = (output: Value, at: At): Bar => ({ f: "delete", key: "k", output, at });

testCases("kv", {
  yes: {
    "a missing key reads as null or as nothing": [get(null, [1, 2]), get("", [3, 4])],
    "put and set are the same": [
      kv("put", "1", [1, 2]),
      get("1", [3, 4]),
      kv("set", "2", [5, 6]),
      get("2", [7, 8]),
    ],
    "appends at the same time come in either order": [
      kv("append", "a", [1, 4]),
      kv("append", "b", [2, 3]),
      get("ba", [5, 6]),
    ],
    "an append to a missing key makes it": [kv("append", "a", [1, 2]), get("a", [3, 4])],
    "an append of unknown outcome comes late": [
      kv("append", "a", [1]),
      kv("append", "b", [2, 3]),
      get("b", [4, 5]),
      get("ba", [6, 7]),
    ],
    "a deleted key is missing": [kv("set", "1", [1, 2]), removal(true, [3, 4]), get(null, [5, 6])],
    "a delete of a missing key says so": [removal(false, [1, 2])],
    "a cas on a missing key": [kv("cas", [null, "1"], [1, 2]), get("1", [3, 4])],
    "a cas for a missing key fails where there is an empty value": [
      kv("set", "", [1, 2]),
      { ...kv("cas", [null, "1"], [3, 4]), fails: true },
      get("", [5, 6]),
    ],
    "keys are independent": [kv("set", "1", [1, 2], "a"), get(null, [3, 4], "b")],
  },
  no: {
    "a lost append": [
      kv("append", "a", [1, 2]),
      kv("append", "b", [3, 4]),
      get("b", [5, 6]),
    ],
    "an append that came twice": [kv("append", "a", [1, 2]), get("aa", [3, 4])],
    "appends in the wrong order": [
      kv("append", "a", [1, 2]),
      kv("append", "b", [3, 4]),
      get("ba", [5, 6]),
    ],
    "two gets that disagree about the order": [
      kv("append", "a", [1, 8]),
      kv("append", "b", [2, 7]),
      get("a", [3, 4]),
      get("b", [5, 6]),
    ],
    "a get of a deleted value": [
      kv("set", "1", [1, 2]),
      removal(true, [3, 4]),
      get("1", [5, 6]),
    ],
    "a delete that found nothing where there was a value": [
      kv("set", "1", [1, 2]),
      removal(false, [3, 4]),
    ],
    "a delete that found a value where there was none": [removal(true, [1, 2])],
    "an empty value read as missing": [kv("set", "", [1, 2]), get(null, [3, 4])],
    "one bad key among good ones": [
      kv("set", "1", [1, 2], "a"),
      kv("set", "1", [3, 4], "b"),
      get("1", [5, 6], "a"),
      get("2", [7, 8], "b"),
    ],
  },
});

const append = (input: Value, output: Value, at: At): Bar => ({ f: "append", input, output, at });
const readAt = (input: number, output: Value, at: At): Bar => ({ f: "read", input, output, at });
const end = (output: number, at: At): Bar => ({ f: "end", output, at });

testCases("queue", {
  yes: {
    "messages get offsets in order": [
      append("a", 0, [1, 2]),
      append("b", 1, [3, 4]),
      readAt(0, "a", [5, 6]),
      readAt(1, "b", [7, 8]),
      readAt(2, null, [9, 10]),
      end(2, [11, 12]),
    ],
    "appends at the same time come in the order of their offsets": [
      append("a", 1, [1, 4]),
      append("b", 0, [2, 3]),
    ],
    "an append of unknown outcome takes an offset": [
      append("a", null, [1]),
      append("b", 1, [2, 3]),
      readAt(0, "a", [4, 5]),
    ],
    "an append of unknown outcome takes none": [append("a", null, [1]), append("b", 0, [2, 3])],
    "a refused append takes none": [
      { ...append("a", null, [1, 2]), fails: "overloaded" },
      append("b", 0, [3, 4]),
    ],
    "every message of a long log is found": [
      ...Array.from({ length: 100 }, (_, n) => append(n, n, [n * 2, n * 2 + 1])),
      ...Array.from({ length: 100 }, (_, n) => readAt(n, n, [n * 2 + 500, n * 2 + 501])),
    ],
    "partitions count for themselves": [
      { ...append("a", 0, [1, 2]), key: "t/0" },
      { ...append("b", 0, [3, 4]), key: "t/1" },
    ],
  },
  no: {
    "an acknowledged message is lost": [append("a", 0, [1, 2]), readAt(0, null, [3, 4])],
    "an offset is given twice": [append("a", 0, [1, 2]), append("b", 0, [3, 4])],
    "an offset is left out": [append("a", 0, [1, 2]), append("b", 2, [3, 4])],
    "a message is at another's offset": [
      append("a", 0, [1, 2]),
      append("b", 1, [3, 4]),
      readAt(0, "b", [5, 6]),
    ],
    "offsets against the order of time": [append("a", 1, [1, 2]), append("b", 0, [3, 4])],
    "the end goes back": [append("a", 0, [1, 2]), end(1, [3, 4]), end(0, [5, 6])],
    "a message of a long log is wrong": [
      ...Array.from({ length: 100 }, (_, n) => append(n, n, [n * 2, n * 2 + 1])),
      readAt(37, 38, [500, 501]),
    ],
  },
});

const deposit = (key: string, input: Value, at: At): Bar => ({ f: "deposit", key, input, at });
const withdraw = (key: string, input: Value, at: At): Bar => ({ f: "withdraw", key, input, at });
const balance = (key: string, output: Value, at: At): Bar => ({ f: "balance", key, output, at });
const transfer = (from: string, to: string, amount: Value, at: At): Bar => ({
  f: "transfer",
  input: { from, to, amount },
  at,
});
const accounts = (output: Value, at: At): Bar => ({ f: "accounts", output, at });
const opened = [deposit("a", 100, [1, 2]), deposit("b", 50, [3, 4])];

testCases("bank", {
  yes: {
    "money moves": [
      ...opened,
      transfer("a", "b", 30, [5, 6]),
      accounts({ a: 70, b: 80 }, [7, 8]),
      withdraw("b", 80, [9, 10]),
      balance("b", 0, [11, 12]),
    ],
    "amounts as text are cents": [deposit("a", "1.5", [1, 2]), balance("a", "1.50", [3, 4])],
    "answers with balances are compared": [
      { ...deposit("a", 100, [1, 2]), output: { balance: "1.00" } },
      { ...withdraw("a", 30, [3, 4]), output: { balance: 70 } },
      { ...deposit("b", 1, [5, 6]), output: { balance: 1 } },
      { ...transfer("a", "b", 1, [7, 8]), output: { fromBalance: 69, toBalance: 2 } },
    ],
    "a refusal for want of money during a deposit": [
      ...opened,
      deposit("a", 100, [5, 8]),
      { ...withdraw("a", 150, [6, 7]), fails: "insufficient_funds" },
    ],
    "a missing account is refused": [
      ...opened,
      { ...transfer("a", "c", 1, [5, 6]), fails: "no_such_account" },
      { ...balance("c", null, [7, 8]), fails: "no_such_account" },
    ],
    "a transfer of unknown outcome moves all or nothing": [
      ...opened,
      transfer("a", "b", 30, [5]),
      accounts({ a: 100, b: 50 }, [6, 7]),
      accounts({ a: 70, b: 80 }, [8, 9]),
    ],
    "what is unavailable moved nothing": [
      ...opened,
      { ...withdraw("a", 30, [5, 6]), fails: "unavailable" },
      balance("a", 100, [7, 8]),
    ],
    "a balance beyond the limit is refused": [
      deposit("a", "90000000000000.00", [1, 2]),
      { ...deposit("a", 1, [3, 4]), fails: "balance_limit" },
    ],
  },
  no: {
    "a lost update": [
      ...opened,
      deposit("a", 1, [5, 8]),
      deposit("a", 1, [6, 7]),
      balance("a", 101, [9, 10]),
    ],
    "money is made by a transfer": [
      ...opened,
      transfer("a", "b", 30, [5, 6]),
      accounts({ a: 100, b: 80 }, [7, 8]),
    ],
    "half of a transfer is seen": [
      ...opened,
      transfer("a", "b", 30, [5, 10]),
      balance("b", 80, [6, 7]),
      balance("a", 100, [8, 9]),
    ],
    "more is withdrawn than there was": [...opened, withdraw("b", 51, [5, 6])],
    "a refusal for want of money where there was enough": [
      ...opened,
      { ...withdraw("a", 100, [5, 6]), fails: "insufficient_funds" },
    ],
    "a refusal for want of an account that there was": [
      ...opened,
      { ...withdraw("a", 1, [5, 6]), fails: "no_such_account" },
    ],
    "an account that nobody opened": [...opened, balance("c", 0, [5, 6])],
    "a transfer to an account that nobody opened": [...opened, transfer("a", "c", 1, [5, 6])],
    "a wrong balance in an answer": [{ ...deposit("a", 100, [1, 2]), output: { balance: 200 } }],
    "a refusal for the limit far below it": [
      { ...deposit("a", 1, [1, 2]), fails: "balance_limit" },
    ],
  },
});

const senseless: readonly (readonly [ModelName, string, Bar])[] = [
  ["register", "knows read, write and cas", { f: "get", at: [1, 2] }],
  ["register", "a cas takes [old, new]", { f: "cas", input: 1, at: [1, 2] }],
  ["kv", "knows get, put, set, append, delete and cas", { f: "read", at: [1, 2] }],
  ["kv", "5 is not a string", { f: "put", input: 5, at: [1, 2] }],
  ["kv", "a cas takes [old, new]", { f: "cas", input: ["a"], at: [1, 2] }],
  ["queue", "knows append, read and end", { f: "dequeue", at: [1, 2] }],
  ["queue", "-1 is no offset", { f: "read", input: -1, at: [1, 2] }],
  ["queue", '"a" is no offset', { f: "append", input: "a", output: "a", at: [1, 2] }],
  ["bank", "knows deposit, withdraw", { f: "pay", at: [1, 2] }],
  ["bank", "it names no account", { f: "deposit", input: 1, at: [1, 2] }],
  ["bank", '"1.234" is no amount', { f: "deposit", key: "a", input: "1.234", at: [1, 2] }],
  ["bank", "-5 is no amount", { f: "deposit", key: "a", input: -5, at: [1, 2] }],
  ["bank", "a transfer takes {from, to, amount}", { f: "transfer", input: 1, at: [1, 2] }],
  ["bank", "balances by account", { f: "accounts", output: 1, at: [1, 2] }],
];

for (const [model, state, bar] of senseless) {
  Deno.test(`${model}: ${bar.f} that makes no sense is refused: ${state}`, () => {
    assertThrows(() => checkHistory(historyOf([bar]), model), TrilogError, state);
  });
}
