import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { type Answer, type Command, encodeCommand } from "../../lib/atm/codec.ts";
import { BankMachine } from "../../lib/atm/machine.ts";
import { REQUEST_WINDOW, ticketedRequestId } from "../../lib/replica/requests.ts";
import { Bank, restored } from "./bank.ts";

function deposit(requestId: string, cents = 100, account = "alice"): Command {
  return { op: "deposit", requestId, account, cents };
}

function codeOf(answer: Answer): string {
  return answer.kind === "refused" ? answer.code : answer.kind;
}

Deno.test("a repeated request gets its first answer and moves nothing", () => {
  const bank = new Bank();
  const first = bank.repeat(deposit("r1"));
  bank.repeat(deposit("r2", 50));
  const before = bank.machine.snapshot();
  for (let times = 0; times < 3; times += 1) assertEquals(bank.repeat(deposit("r1")), first);
  assertEquals(bank.machine.snapshot(), before);
  assertEquals(bank.balance("alice"), 150);
});

Deno.test("a refusal is an answer like others: its repeat is refused although money came in", () => {
  const bank = new Bank();
  bank.repeat(deposit("r1", 10));
  const withdraw: Command = { op: "withdraw", requestId: "w", account: "alice", cents: 20 };
  assertEquals(codeOf(bank.repeat(withdraw)), "insufficient_funds");
  bank.repeat(deposit("r2", 90));
  assertEquals(codeOf(bank.repeat(withdraw)), "insufficient_funds");
  assertEquals(bank.balance("alice"), 100);
});

Deno.test("an id that stands for another command is refused, whatever differs", () => {
  const bank = new Bank();
  bank.repeat(deposit("x"));
  bank.repeat(deposit("y", 100, "bob"));
  const others: Command[] = [
    deposit("x", 101),
    deposit("x", 100, "bob"),
    { op: "withdraw", requestId: "x", account: "alice", cents: 100 },
    { op: "transfer", requestId: "x", from: "alice", to: "bob", cents: 100 },
  ];
  for (const other of others) assertEquals(codeOf(bank.repeat(other)), "invalid_argument");
  assertEquals(bank.balance("alice"), 100);
  assertEquals(bank.balance("bob"), 100);
});

Deno.test("repeats are known after a snapshot and a restore, also the oldest one", () => {
  const bank = new Bank();
  const firsts = Array.from({ length: 20 }, (_, at) => bank.repeat(deposit(`r${at}`, at + 1)));
  const copy = new Bank();
  copy.machine.restore(bank.machine.snapshot());
  copy.index = bank.index;
  firsts.forEach((first, at) => assertEquals(copy.repeat(deposit(`r${at}`, at + 1)), first));
  assertEquals(copy.machine.snapshot(), bank.machine.snapshot());
});

Deno.test("the window forgets in log order, and the same on a machine that was restored", () => {
  const bank = new Bank();
  for (let at = 0; at < REQUEST_WINDOW; at += 1) bank.repeat(deposit(`r${at}`, 1));
  // A repeat does not make its request any younger.
  bank.repeat(deposit("r0", 1));
  assertEquals(bank.balance("alice"), REQUEST_WINDOW);
  const copy = new Bank();
  copy.machine.restore(bank.machine.snapshot());
  copy.index = bank.index;
  for (const each of [bank, copy]) {
    // These push out r0 and r1; r1 is then new again and pushes out r2.
    for (const id of ["s0", "s1", "r1"]) each.repeat(deposit(id, 1));
    each.repeat(deposit("r3", 1));
  }
  assertEquals(bank.balance("alice"), REQUEST_WINDOW + 3, "r1 was forgotten, r3 was not");
  assertEquals(copy.machine.snapshot(), bank.machine.snapshot());
});

Deno.test("an id with a ticket is refused once it may have been forgotten, never carried out twice", () => {
  const bank = new Bank();
  const requests = () => {
    const answer = bank.ask({ op: "requests" });
    assert(answer.kind === "requests");
    return answer.requests;
  };
  bank.repeat(deposit("before", 1));
  const id = ticketedRequestId(requests(), "abc");
  assertEquals(id, "t1.abc");
  const first = bank.repeat(deposit(id, 1));
  for (let at = 0; at < REQUEST_WINDOW - 1; at += 1) bank.repeat(deposit(`r${at}`, 1));
  assertEquals(bank.repeat(deposit(id, 1)), first);
  const before = bank.balance("alice");
  bank.repeat(deposit("pushes-it-out", 1));
  assertEquals(codeOf(bank.repeat(deposit(id, 1))), "session_expired");
  assertEquals(bank.balance("alice"), before! + 1);
  assertEquals(requests(), REQUEST_WINDOW + 2);
});

Deno.test("repeats and crashes at random leave the same bank as each command once", () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    const prng = new Prng(seed);
    const once = new Bank();
    const often = new Bank();
    const sent: { command: Command; answer: Answer }[] = [];
    for (let step = 0; step < 200; step += 1) {
      const command = randomCommand(prng, `id-${step}`);
      const answer = once.repeat(command);
      often.index = once.index - 1;
      assertEquals(often.repeat(command), answer);
      sent.push({ command, answer });
      if (prng.chance(0.4)) {
        const again = prng.pick(sent);
        assertEquals(often.repeat(again.command), again.answer);
      }
      if (prng.chance(0.1)) often.machine.restore(restored(often.machine).snapshot());
    }
    assertEquals(often.machine.snapshot(), once.machine.snapshot());
  }
});

function randomCommand(prng: Prng, requestId: string): Command {
  const names = ["a", "b", "c"];
  const cents = prng.between(1, 500);
  if (prng.chance(0.4)) return deposit(requestId, cents, prng.pick(names));
  if (prng.chance(0.4)) return { op: "withdraw", requestId, account: prng.pick(names), cents };
  const [from, to] = prng.shuffled(names);
  return { op: "transfer", requestId, from, to, cents };
}

Deno.test("what a request was is kept apart from the buffer it arrived in", () => {
  const machine = new BankMachine();
  const context = { index: 1, term: 1, timeMs: 1 };
  const command = encodeCommand(deposit("r1"));
  const buffer = command.slice();
  const first = machine.apply(buffer, context);
  buffer.fill(0);
  assertEquals(machine.apply(command, { ...context, index: 2 }), first);
});
