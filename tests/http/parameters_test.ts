import { assertEquals } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { Parameters } from "../../lib/http/parameters.ts";

function of(query: string, body: string | Uint8Array = ""): Parameters {
  return Parameters.of({ query, body: typeof body === "string" ? utf8(body) : body });
}

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (thrown) {
    if (thrown instanceof TrilogError) return thrown.code;
    throw thrown;
  }
  return "no error";
}

Deno.test("parameters come from the query string, from a JSON body, or some from each", () => {
  for (
    const parameters of [
      of("topic=t+1%C3%A9&partition=3"),
      of("", `{"topic":"t 1é","partition":3}`),
      of("topic=t+1%C3%A9", `{"partition":"3"}`),
    ]
  ) {
    assertEquals(parameters.text("topic"), "t 1é");
    assertEquals(parameters.whole("partition"), 3);
  }
});

Deno.test("a parameter may have a second name, be left out, or be null", () => {
  assertEquals(of("topic_name=t").text("name", "topic_name"), "t");
  assertEquals(of("").optionalWhole("partition"), null);
  assertEquals(of("", `{"partition":null}`).optionalWhole("partition"), null);
  assertEquals(codeOf(() => of("").text("topic")), "invalid_argument");
  assertEquals(codeOf(() => of("").whole("consumer_id")), "invalid_argument");
});

Deno.test("numbers are whole, from 0 on and exact", () => {
  assertEquals(of("n=9007199254740991").whole("n"), 2 ** 53 - 1);
  for (const text of ["-1", "1.5", "1e3", "", " 1", "0x10", "9007199254740992", "NaN"]) {
    const query = `n=${encodeURIComponent(text)}`;
    assertEquals(codeOf(() => of(query).whole("n")), "invalid_argument", text);
  }
  for (const json of ["-1", "1.5", "1e400", "true", "[1]", "{}", `"x"`]) {
    assertEquals(codeOf(() => of("", `{"n":${json}}`).whole("n")), "invalid_argument", json);
  }
});

Deno.test("a text is a text, and Unicode", () => {
  for (const json of ["1", "true", "[]", "{}", "null", `"\\ud800"`]) {
    assertEquals(codeOf(() => of("", `{"m":${json}}`).text("m")), "invalid_argument", json);
  }
  assertEquals(of("", `{"m":""}`).text("m"), "");
});

Deno.test("flags are given, true or false", () => {
  for (const query of ["stale", "stale=true"]) assertEquals(of(query).flag("stale"), true);
  for (const query of ["", "stale=false"]) assertEquals(of(query).flag("stale"), false);
  assertEquals(of("", `{"stale":true}`).flag("stale"), true);
  assertEquals(codeOf(() => of("stale=yes").flag("stale")), "invalid_argument");
});

Deno.test("a request id is 1 to 249 characters, or a number", () => {
  assertEquals(of("").requestId(), null);
  assertEquals(of("request_id=a b").requestId(), "a b");
  assertEquals(of("", `{"request_id":7}`).requestId(), "7");
  for (const id of ["", "x".repeat(250)]) {
    assertEquals(codeOf(() => of(`request_id=${id}`).requestId()), "invalid_argument");
  }
});

Deno.test("what is no JSON object, not UTF-8 or given twice is malformed", () => {
  for (const body of ["[1]", "1", "null", `"x"`, "{", "topic=t", "{}x", "[".repeat(100_000)]) {
    assertEquals(codeOf(() => of("", body)), "malformed", body.slice(0, 9));
  }
  assertEquals(codeOf(() => of("", new Uint8Array([0x7b, 0xff, 0x7d]))), "malformed");
  for (const query of ["a=1&a=1", "a=%ff", "a=%"]) {
    assertEquals(codeOf(() => of(query)), "malformed", query);
  }
  assertEquals(codeOf(() => of("a=1", `{"a":1}`)), "malformed");
});

Deno.test("names that objects have of themselves are names like any other", () => {
  const parameters = of("", `{"__proto__":{"topic":"x"},"constructor":1}`);
  assertEquals(codeOf(() => parameters.text("topic")), "invalid_argument");
  assertEquals(codeOf(() => of("").whole("toString")), "invalid_argument");
});
