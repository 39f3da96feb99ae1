import { assert, assertEquals, assertThrows } from "@std/assert";
import { InvariantError } from "../../lib/base/assert.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { pack } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";
import { type Answer, decodeAnswer, encodeCommand } from "../../lib/atm/codec.ts";
import { BankMachine } from "../../lib/atm/machine.ts";
import { Bank, restored } from "./bank.ts";

const MOST = limits.balanceCents;

function refused(code: string, account: string | null = null, balanceCents: number | null = null) {
  return { kind: "refused", code, account, balanceCents } as Answer;
}

Deno.test("a deposit opens the account, withdrawals and transfers move what is there", () => {
  const bank = new Bank();
  assertEquals(bank.deposit("alice", 10_000), {
    kind: "balance",
    account: "alice",
    balanceCents: 10_000,
  });
  bank.deposit("bob", 1);
  assertEquals(bank.withdraw("alice", 2_500), {
    kind: "balance",
    account: "alice",
    balanceCents: 7_500,
  });
  assertEquals(bank.transfer("alice", "bob", 7_500), {
    kind: "transferred",
    from: "alice",
    to: "bob",
    fromCents: 0,
    toCents: 7_501,
  });
  assertEquals(bank.machine.totals(), { total: 7_501n, deposited: 10_001n, withdrawn: 2_500n });
});

Deno.test("a refusal names the account in the way and changes nothing but the request memory", () => {
  const bank = new Bank();
  bank.deposit("alice", 100);
  bank.deposit("full", MOST);
  const before = bank.ask({ op: "accounts", after: "" });
  assertEquals(bank.withdraw("alice", 101), refused("insufficient_funds", "alice", 100));
  assertEquals(bank.withdraw("nobody", 1), refused("no_such_account", "nobody"));
  assertEquals(bank.transfer("nobody", "alice", 1), refused("no_such_account", "nobody"));
  assertEquals(bank.transfer("alice", "nobody", 1), refused("no_such_account", "nobody"));
  assertEquals(bank.transfer("alice", "full", 101), refused("insufficient_funds", "alice", 100));
  assertEquals(bank.transfer("alice", "full", 1), refused("balance_limit", "full", MOST));
  assertEquals(bank.deposit("full", 1), refused("balance_limit", "full", MOST));
  assertEquals(bank.transfer("alice", "alice", 1), refused("same_account", "alice"));
  assertEquals(bank.ask({ op: "accounts", after: "" }), before);
  assertEquals(
    bank.ask({ op: "balance", account: "nobody" }),
    refused("no_such_account", "nobody"),
  );
  assertEquals(
    bank.ask({ op: "history", account: "nobody" }),
    refused("no_such_account", "nobody"),
  );
});

Deno.test("balances reach the limit exactly, and sums beyond 2^53 stay exact", () => {
  const bank = new Bank();
  bank.deposit("a", MOST - 1);
  assertEquals(bank.deposit("a", 2), refused("balance_limit", "a", MOST - 1));
  assertEquals(bank.deposit("a", 1), { kind: "balance", account: "a", balanceCents: MOST });
  bank.deposit("b", MOST);
  bank.deposit("c", 1);
  assertEquals(bank.machine.totals().total, 2n * BigInt(MOST) + 1n);
  const totals = bank.ask({ op: "totals" });
  assert(totals.kind === "totals");
  assertEquals(totals.totalCents, "18000000000000001");
  assertEquals(restored(bank.machine).totals(), bank.machine.totals());
});

Deno.test("names and amounts are judged again by the machine, and nothing is remembered of them", () => {
  const bank = new Bank();
  bank.deposit("alice", 100);
  const before = bank.machine.snapshot();
  for (const account of ["", ".", "..", "a b", "a/b", "a\u0007", "é", "a".repeat(250)]) {
    assertEquals(bank.deposit(account, 1), refused("invalid_account"));
    assertEquals(bank.withdraw(account, 1), refused("invalid_account"));
    assertEquals(bank.transfer("alice", account, 1), refused("invalid_account"));
    assertEquals(bank.transfer(account, "alice", 1), refused("invalid_account"));
    assertEquals(bank.ask({ op: "balance", account }), refused("invalid_account"));
    assertEquals(bank.ask({ op: "history", account }), refused("invalid_account"));
  }
  for (const cents of [0, -1, 1.5, NaN, Infinity, -Infinity, MOST + 1, 2 ** 60]) {
    assertEquals(bank.deposit("alice", cents), refused("invalid_amount"));
    assertEquals(bank.withdraw("alice", cents), refused("invalid_amount"));
    assertEquals(bank.transfer("alice", "bob", cents), refused("invalid_amount"));
  }
  assertEquals(bank.machine.snapshot(), before);
});

Deno.test("names that are properties of every object are accounts like others", () => {
  const bank = new Bank();
  for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
    assertEquals(bank.withdraw(name, 1), refused("no_such_account", name));
    bank.deposit(name, 5);
    assertEquals(bank.balance(name), 5);
  }
});

Deno.test("bytes that are no command are refused, never thrown, and change nothing", () => {
  const bank = new Bank();
  bank.deposit("alice", 100);
  const before = bank.machine.snapshot();
  const prng = new Prng(11);
  const good = encodeCommand({ op: "transfer", requestId: "r", from: "a", to: "b", cents: 3 });
  const bad = [
    new Uint8Array(0),
    pack(null),
    pack("deposit"),
    pack([]),
    pack([1]),
    pack([1, "r", "alice"]),
    pack([1, "r", "alice", 1, 1]),
    pack([1, "r", "alice", "1"]),
    pack([1, 7, "alice", 1]),
    pack([1, "", "alice", 1]),
    pack([1, "bad id", "alice", 1]),
    pack([1, "r", null, 1]),
    pack([3, "r", "alice", 1]),
    pack([9, "r", "alice", 1]),
    pack({ op: "deposit" }),
    ...Array.from({ length: good.length }, (_, length) => good.subarray(0, length)),
    ...Array.from(
      { length: 500 },
      () => Uint8Array.from({ length: prng.below(40) }, () => prng.below(256)),
    ),
  ];
  for (const bytes of bad) {
    assertEquals(decodeAnswer(bank.applyBytes(bytes)), refused("malformed"));
  }
  for (const bytes of bad) {
    assertEquals(decodeAnswer(bank.machine.query(bytes)), refused("malformed"));
  }
  assertEquals(bank.machine.snapshot(), before);
});

Deno.test("history tells each movement with index, time, balance and the other side", () => {
  const bank = new Bank();
  bank.deposit("alice", 300);
  bank.deposit("bob", 50);
  bank.transfer("alice", "bob", 100);
  bank.withdraw("bob", 20);
  bank.withdraw("bob", 9_999);
  const bob = bank.ask({ op: "history", account: "bob" });
  const time = 1_700_000_000_000;
  assertEquals(bob, {
    kind: "history",
    account: "bob",
    entries: [
      {
        index: 2,
        timeMs: time + 2,
        movement: "deposit",
        cents: 50,
        balanceCents: 50,
        other: null,
      },
      {
        index: 3,
        timeMs: time + 3,
        movement: "transfer_in",
        cents: 100,
        balanceCents: 150,
        other: "alice",
      },
      {
        index: 4,
        timeMs: time + 4,
        movement: "withdraw",
        cents: 20,
        balanceCents: 130,
        other: null,
      },
    ],
  });
  const alice = bank.ask({ op: "history", account: "alice" });
  assert(alice.kind === "history");
  assertEquals(alice.entries.map((entry) => [entry.movement, entry.balanceCents, entry.other]), [
    ["deposit", 300, null],
    ["transfer_out", 200, "bob"],
  ]);
});

Deno.test("the last 1,000 movements of an account are kept", () => {
  const bank = new Bank();
  for (let done = 0; done < limits.historyEntries + 5; done += 1) bank.deposit("alice", 1);
  const history = bank.ask({ op: "history", account: "alice" });
  assert(history.kind === "history");
  assertEquals(history.entries.length, 1_000);
  assertEquals(history.entries[0].balanceCents, 6);
  assertEquals(history.entries.at(-1)!.balanceCents, 1_005);
  const copy = decodeAnswer(restored(bank.machine).query(pack([3, "alice"])));
  assertEquals(copy, history);
});

Deno.test("accounts come in the order of their names, in pages that lose and repeat none", () => {
  const bank = new Bank();
  const long = "x".repeat(240);
  const names = Array.from({ length: 6_000 }, (_, at) => `${long}${String(at).padStart(5, "0")}`);
  for (const name of new Prng(5).shuffled(names)) bank.deposit(name, 1);
  const seen: string[] = [];
  let pages = 0;
  for (let more = true; more; pages += 1) {
    const page = bank.ask({ op: "accounts", after: seen.at(-1) ?? "" });
    assert(page.kind === "accounts" && page.accounts.length > 0);
    for (const [name] of page.accounts) seen.push(name);
    more = page.more;
  }
  assertEquals(seen, names);
  assertEquals(pages, 2);
  assertEquals(bank.ask({ op: "accounts", after: "y" }), {
    kind: "accounts",
    accounts: [],
    more: false,
  });
});

/** One random command; small amounts, few accounts, and now and then nonsense or the limit. */
function randomStep(bank: Bank, prng: Prng): Answer {
  const names = ["a", "b", "c", "d", "e", "no name"];
  const cents = prng.pick([1, 5, 99, 1_000, prng.below(5_000), MOST, MOST - 1, 0, -3, 0.5]);
  switch (prng.below(3)) {
    case 0:
      return bank.deposit(prng.pick(names), cents);
    case 1:
      return bank.withdraw(prng.pick(names), cents);
    default:
      return bank.transfer(prng.pick(names), prng.pick(names), cents);
  }
}

Deno.test("random commands conserve money, keep every balance in range and agree with a ledger", () => {
  const kinds = new Set<string>();
  for (let seed = 1; seed <= 20; seed += 1) {
    const bank = new Bank();
    const prng = new Prng(seed);
    for (let step = 0; step < 400; step += 1) {
      const answer = randomStep(bank, prng);
      kinds.add(answer.kind === "refused" ? answer.code : answer.kind);
      const { total, deposited, withdrawn } = bank.machine.totals();
      assertEquals(total, deposited - withdrawn);
    }
    const page = bank.ask({ op: "accounts", after: "" });
    assert(page.kind === "accounts");
    for (const [name, cents] of page.accounts) {
      assert(Number.isSafeInteger(cents) && cents >= 0 && cents <= MOST);
      const history = bank.ask({ op: "history", account: name });
      assert(history.kind === "history");
      assertEquals(history.entries.reduce((sum, entry) => sum + signed(entry), 0), cents);
      assertEquals(history.entries.at(-1)!.balanceCents, cents);
    }
  }
  assertEquals([...kinds].sort(), [
    "balance",
    "balance_limit",
    "insufficient_funds",
    "invalid_account",
    "invalid_amount",
    "no_such_account",
    "same_account",
    "transferred",
  ]);
});

function signed({ movement, cents }: { movement: string; cents: number }): number {
  return movement === "deposit" || movement === "transfer_in" ? cents : -cents;
}

Deno.test("at every step a restored copy has the same bytes, and goes on as the original does", () => {
  const prng = new Prng(77);
  const bank = new Bank();
  const shadow = new Bank();
  for (let step = 0; step < 300; step += 1) {
    const script = prng.fork();
    const answer = randomStep(bank, script);
    const snapshot = bank.machine.snapshot();
    const copy = new BankMachine();
    copy.restore(snapshot);
    assertEquals(copy.snapshot(), snapshot);
    assertEquals(bank.machine.snapshot(), snapshot, "taking a snapshot changes nothing");
    // The shadow forgets itself and lives from the original's last snapshot at every step.
    if (answer.kind === "refused") continue;
    shadow.machine.restore(snapshot);
    shadow.index = bank.index;
    const next = { op: "deposit", requestId: `next-${step}`, account: "z", cents: 1 } as const;
    assertEquals(shadow.repeat(next), bank.repeat(next));
    assertEquals(shadow.machine.snapshot(), bank.machine.snapshot());
  }
});

Deno.test("restoring replaces everything: nothing of the old state remains", () => {
  const bank = new Bank();
  bank.deposit("alice", 1);
  const other = new Bank();
  other.repeat({ op: "deposit", requestId: "auto-1", account: "mallory", cents: 999 });
  other.machine.restore(bank.machine.snapshot());
  assertEquals(other.balance("mallory"), null);
  assertEquals(other.machine.snapshot(), bank.machine.snapshot());
  other.machine.restore(new BankMachine().snapshot());
  assertEquals(other.machine.totals(), { total: 0n, deposited: 0n, withdrawn: 0n });
  assertEquals(other.ask({ op: "accounts", after: "" }), {
    kind: "accounts",
    accounts: [],
    more: false,
  });
});

Deno.test("a snapshot of a newer version, a cut one and one that makes money are refused whole", () => {
  const bank = new Bank();
  bank.deposit("alice", 100);
  const before = bank.machine.snapshot();
  const newer = pack([2, "who knows"]);
  const error = assertThrows(() => bank.machine.restore(newer), TrilogError);
  assertEquals(error.code, "unsupported_version");
  assertThrows(() => bank.machine.restore(new Uint8Array(0)), TrilogError);
  assertThrows(() => bank.machine.restore(before.subarray(0, before.length - 1)), TrilogError);
  const forged = pack([1, ["100", "0", [["alice", 101, 0]], new Uint8Array(0), [0, []]]]);
  assertThrows(() => bank.machine.restore(forged), InvariantError);
  assertEquals(bank.machine.snapshot(), before);
});
