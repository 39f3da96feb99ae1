/** The state of the bank as a whole: frozen, streamed, limited. */

import { assert, assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { limits } from "../../lib/base/limits.ts";
import { pack } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";
import type { Answer } from "../../lib/atm/codec.ts";
import { BankMachine } from "../../lib/atm/machine.ts";
import { Bank } from "./bank.ts";

function codeOf(answer: Answer): string {
  return answer.kind === "refused" ? answer.code : "ok";
}

Deno.test("a frozen bank is the bank of its moment, whatever moves while it is taken", () => {
  const bank = new Bank();
  const random = new Prng(4);
  const act = () => {
    const [from, to] = [`a${random.below(3_000)}`, `a${random.below(3_000)}`];
    if (random.chance(0.5)) bank.deposit(to, random.between(1, 1_000));
    else bank.transfer(from, to, random.between(1, 500));
  };
  for (let step = 0; step < 10_000; step += 1) act();
  const before = bank.machine.snapshot();
  const parts: Uint8Array[] = [];
  for (const part of bank.machine.freeze()) {
    parts.push(part);
    for (let step = 0; step < 100; step += 1) act();
  }
  assert(parts.length > 5, "it comes in parts");
  const copy = new BankMachine();
  copy.restoreParts(parts);
  assertEquals(copy.snapshot(), before);
});

Deno.test("a bank that has reached its limit refuses what adds to it, and money stays whole", () => {
  const bank = new Bank(new BankMachine(3_000));
  let accounts = 0;
  while (codeOf(bank.deposit(`a${accounts}`, 100)) === "ok") accounts += 1;
  assert(accounts > 10, `${accounts} accounts`);
  for (let at = 0; at < 3; at += 1) bank.deposit("a0", 1);
  assertEquals(codeOf(bank.deposit("a0", 1)), "storage_full");
  assertEquals(codeOf(bank.withdraw("a0", 1)), "storage_full");
  assertEquals(codeOf(bank.transfer("a0", "a1", 1)), "storage_full");
  const { total, deposited, withdrawn } = bank.machine.totals();
  assertEquals(total, deposited - withdrawn);
  const copy = new Bank(new BankMachine(3_000));
  copy.machine.restore(bank.machine.snapshot());
  const again = { op: "withdraw", requestId: "another", account: "a1", cents: 1 } as const;
  assertEquals(codeOf(copy.repeat(again)), "storage_full");
});

Deno.test("an account whose history is full moves money in a bank that is full", () => {
  const bank = new Bank(new BankMachine(limits.historyEntries * 37 + 100));
  for (let at = 0; at < limits.historyEntries + 5; at += 1) {
    assertEquals(codeOf(bank.deposit("a", 1)), "ok");
  }
  assertEquals(codeOf(bank.deposit("b", 1)), "storage_full");
});

Deno.test("a bank's snapshot of version 1, which was one value, is still restored", () => {
  const requests = [1, [["id-1", utf8("command"), utf8("answer")]]];
  const machine = new BankMachine();
  machine.restore(pack([1, ["150", "50", [["alice", 100, 0]], new Uint8Array(0), requests]]));
  assertEquals(machine.totals(), { total: 100n, deposited: 150n, withdrawn: 50n });
  const copy = new BankMachine();
  copy.restore(machine.snapshot());
  assertEquals(copy.snapshot(), machine.snapshot());
});
