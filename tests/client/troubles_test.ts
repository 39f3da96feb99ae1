import { assertEquals } from "@std/assert";
import { type ErrorCode, TrilogError } from "../../lib/base/errors.ts";
import { Troubles } from "../../lib/client/troubles.ts";

function answer(code: ErrorCode, state: string): TrilogError {
  return new TrilogError(code, `Cannot produce to logs/0: ${state}`, { answered: true });
}
const refused = new TrilogError("unavailable", "Cannot reach b2:1: connection refused");
const b = (number: number) => ({ address: `b${number}:1`, name: `b${number}` });

Deno.test("an error names the brokers without an answer beside what another one said", () => {
  const troubles = new Troubles();
  troubles.note("p/1/0", "logs/0", b(1), answer("not_leader", "logs/0 has no leader just now"));
  const error = troubles.note("p/1/0", "logs/0", b(2), refused);
  assertEquals(error.code, "unavailable");
  assertEquals(
    error.message,
    "Cannot use logs/0: logs/0 has no leader just now; b2 (b2:1) does not answer",
  );
  assertEquals(troubles.current, error.message.slice("Cannot use logs/0: ".length));
});

Deno.test("an answer that says which brokers are missing is the whole reason", () => {
  const troubles = new Troubles();
  const state = "logs/0 has no majority: b2 and b3 not heard for 14 s";
  troubles.note("p/1/0", "logs/0", b(1), answer("not_leader", state));
  const error = troubles.note("p/1/0", "logs/0", b(2), refused);
  assertEquals(error.message, `Cannot use logs/0: ${state}`);
});

Deno.test("a success ends the trouble, and a refusal is passed on as it is", () => {
  const troubles = new Troubles();
  troubles.note("p/1/0", "logs/0", b(2), refused);
  troubles.succeeded("p/1/0");
  assertEquals(troubles.current, null);
  const refusal = answer("message_too_large", "it is too large");
  assertEquals(troubles.note("p/1/0", "logs/0", b(1), refusal), refusal);
});
