import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  completionsOf,
  LINE_CHARACTERS,
  parseLine,
  parseWords,
  type Request,
} from "../../lib/atm/language.ts";

function requestOf(line: string): Request {
  const parsed = parseLine(line);
  assert(parsed !== null && parsed.ok, `${line} is a command`);
  return parsed.request;
}

function failureOf(line: string) {
  const parsed = parseLine(line);
  assert(parsed !== null && !parsed.ok, `${line} is refused`);
  return parsed.failure;
}

Deno.test("every command of the language is read", () => {
  const requestId = null;
  assertEquals(requestOf("deposit alice 100"), {
    op: "deposit",
    account: "alice",
    cents: 10_000,
    requestId,
  });
  assertEquals(requestOf("withdraw alice 0.5"), {
    op: "withdraw",
    account: "alice",
    cents: 50,
    requestId,
  });
  assertEquals(requestOf("transfer a b 1.25"), {
    op: "transfer",
    from: "a",
    to: "b",
    cents: 125,
    requestId,
  });
  assertEquals(requestOf("balance alice"), { op: "balance", account: "alice" });
  assertEquals(requestOf("history alice"), { op: "history", account: "alice" });
  for (const op of ["accounts", "members", "status", "help", "quit"] as const) {
    assertEquals(requestOf(op), { op });
  }
});

Deno.test("blanks, tabs, quotes and a carriage return at the end part words and are no words", () => {
  const plain = requestOf("deposit alice 100");
  for (
    const line of [
      "  deposit   alice  100  ",
      "\tdeposit\talice\t100",
      "deposit alice 100\r",
      "deposit alice 100 \r",
      `deposit "alice" '100'`,
      `"deposit" alice "100"`,
    ]
  ) assertEquals(requestOf(line), plain);
  for (const blank of ["", " ", "\t", "\r", "  \r"]) assertEquals(parseLine(blank), null);
});

Deno.test("a request id may stand anywhere and in either spelling", () => {
  for (
    const line of [
      "deposit alice 1 --request-id abc",
      "deposit alice 1 --request-id=abc",
      "deposit --request-id abc alice 1",
      "deposit alice --request-id 'abc' 1",
    ]
  ) {
    assertEquals(requestOf(line), {
      op: "deposit",
      account: "alice",
      cents: 100,
      requestId: "abc",
    });
  }
  assertEquals(parseWords(["transfer", "a", "b", "1", "--request-id", "t1.x"]), {
    ok: true,
    request: { op: "transfer", from: "a", to: "b", cents: 100, requestId: "t1.x" },
  });
});

Deno.test("request ids that are missing, malformed, doubled or out of place are refused", () => {
  for (
    const line of [
      "deposit alice 1 --request-id",
      "deposit alice 1 --request-id=",
      "deposit alice 1 --request-id 'a b'",
      "deposit alice 1 --request-id a --request-id b",
      "balance alice --request-id a",
      "accounts --request-id a",
    ]
  ) {
    const { code, message } = failureOf(line);
    assertEquals(code, "unknown_command");
    assertStringIncludes(message, "--request-id");
  }
});

Deno.test("a quoted word is never a flag: a name may look like one", () => {
  assertEquals(requestOf(`balance "--request-id"`), { op: "balance", account: "--request-id" });
});

Deno.test("what is no command is refused with what is expected", () => {
  const { op, code, message } = failureOf("depsit alice 1");
  assertEquals([op, code], ["depsit", "unknown_command"]);
  assertStringIncludes(message, "deposit, withdraw, balance");
  for (
    const line of ["DEPOSIT alice 1", "__proto__", "constructor", "''", "-- deposit a 1", "/x"]
  ) {
    assertEquals(failureOf(line).code, "unknown_command");
  }
  assertEquals(failureOf("balance 'alice").message, "Cannot run a command: a quote is not closed");
  assertEquals(failureOf("x".repeat(LINE_CHARACTERS + 1)).code, "unknown_command");
  assertEquals(parseWords([]).ok, false);
});

Deno.test("too few or too many words are refused with how the command is typed", () => {
  for (
    const line of [
      "deposit",
      "deposit alice",
      "deposit alice 1 2",
      "deposit alice 1 000",
      "deposit al ice 1",
      "transfer a b",
      "transfer a 1",
      "balance",
      "balance a b",
      "accounts all",
      "quit now",
    ]
  ) {
    const { op, code, message } = failureOf(line);
    assertEquals(code, "unknown_command");
    assertStringIncludes(message, `Cannot run ${op}: it is typed ${op}`);
  }
});

const BAD_NAMES = [
  "''",
  ".",
  "..",
  "../x",
  "a/b",
  "'a b'",
  "al\u0007ice",
  "al\u001b[31mice",
  "alice\0",
  "al\rice",
  "al\nice",
  "al\u0085ice",
  "al\u00a0ice",
  "\u202ealice",
  "\u0430lice",
  "al\ufffdice",
  "a".repeat(250),
  "$alice",
  "a*",
];

for (const name of BAD_NAMES) {
  Deno.test(`the account name ${JSON.stringify(name.slice(0, 20))} is refused and shown escaped`, () => {
    for (
      const line of [
        `deposit ${name} 1`,
        `withdraw ${name} 1`,
        `balance ${name}`,
        `history ${name}`,
        `transfer ${name} bob 1`,
        `transfer bob ${name} 1`,
      ]
    ) {
      const { code, message } = failureOf(line);
      assertEquals(code, "invalid_account");
      assert(/^[\x20-\x7e]+$/.test(message), "the message is printable ASCII");
    }
  });
}

Deno.test("a control character in a name is shown by its number", () => {
  assertStringIncludes(failureOf("balance al\u001bice").message, '"al\\u{1b}ice"');
});

Deno.test("names use all that is allowed", () => {
  for (const account of ["a", "A-b_c.9", "-", "-5", "...", "1", "a".repeat(249)]) {
    assertEquals(requestOf(`balance ${account}`), { op: "balance", account });
  }
});

Deno.test("bad amounts are refused in every command that takes one", () => {
  for (const amount of ["-5", "+5", "1.234", "1e3", "NaN", "99999999999999999999", "''", "0"]) {
    for (const line of [`deposit a ${amount}`, `withdraw a ${amount}`, `transfer a b ${amount}`]) {
      assertEquals(failureOf(line).code, "invalid_amount");
    }
  }
});

Deno.test("a transfer to the same account is refused", () => {
  assertEquals(failureOf("transfer alice alice 1").code, "same_account");
});

Deno.test("the first word is completed, later ones are not", () => {
  assertEquals(completionsOf("h"), ["history", "help"]);
  assertEquals(completionsOf("  de"), ["deposit"]);
  assertEquals(completionsOf("").length, 11);
  assertEquals(completionsOf("deposit a"), []);
  assertEquals(completionsOf("x"), []);
});
