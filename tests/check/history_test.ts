/** Reading histories in their three forms, and refusing what is none. */

import { assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { type Operation, readHistory } from "../../lib/check/history.ts";

/** What the forms have in common. */
function essence({ process, f, key, input, outcome, output, error }: Operation) {
  return { process, f, key, input, outcome, output, error };
}

const EXPECTED = [
  { process: "0", f: "write", key: null, input: 1, outcome: "ok", output: 1, error: null },
  { process: "1", f: "read", key: null, input: null, outcome: "ok", output: 1, error: null },
  { process: "2", f: "cas", key: null, input: [1, 2], outcome: "fail", output: null, error: null },
  {
    process: "0",
    f: "cas",
    key: null,
    input: [1, 3],
    outcome: "unknown",
    output: null,
    error: "timed-out",
  },
  {
    process: "1",
    f: "read",
    key: null,
    input: null,
    outcome: "unknown",
    output: null,
    error: null,
  },
];

const JSON_LINES = `
{"process":0,"type":"invoke","f":"write","value":1,"time":1}
{"process":"1","type":"invoke","f":"read","value":null,"time":1.5}
{"process":0,"type":"ok","f":"write","value":1,"time":2}
{"process":1,"type":"ok","f":"read","value":1,"time":2}
{"process":2,"type":"invoke","f":"cas","value":[1,2],"time":3}
{"process":2,"type":"fail","f":"cas","value":[1,2],"time":4}
{"process":0,"type":"invoke","f":"cas","value":[1,3],"time":5}
{"process":0,"type":"info","f":"cas","error":"timed-out","time":6}
{"process":1,"type":"invoke","f":"read"}
`;

const JEPSEN_LOG = `INFO  jepsen.util - 0 :invoke :write 1
INFO  jepsen.util - 1\t:invoke\t:read\tnil
INFO  jepsen.util - 0 :ok :write 1
INFO  jepsen.core - something else
INFO  jepsen.util - :nemesis :info :start nil
INFO  jepsen.util - 1 :ok :read 1
INFO  jepsen.util - 2 :invoke :cas [1 2]
INFO  jepsen.util - 2 :fail :cas [1 2]
INFO  jepsen.util - 0 :invoke :cas [1 3]
INFO  jepsen.util - 0 :info :cas :timed-out
INFO  jepsen.util - 1 :invoke :read nil
`;

const JEPSEN_MAPS = `{:process 0, :type :invoke, :f :write, :value 1, :time 1000000}
{:process 1, :type :invoke, :f :read, :value nil, :time 1500000}
{:process 0, :type :ok, :f :write, :value 1, :time 2000000}
{:process :nemesis, :type :info, :f :start, :value nil}
{:process 1, :type :ok, :f :read, :value 1, :time 2000000}
{:process 2, :type :invoke, :f :cas, :value [1 2], :time 3000000}
{:process 2, :type :fail, :f :cas, :value [1 2], :time 4000000}
#jepsen.history.Op{:process 0, :type :invoke, :f :cas, :value [1 3], :index 7}
{:process 0, :type :info, :f :cas, :value [1 3], :error :timed-out}
{:process 1, :type :invoke, :f :read}
`;

for (
  const [form, text] of Object.entries({
    "json": JSON_LINES,
    "jepsen-log": JEPSEN_LOG,
    "jepsen-maps": JEPSEN_MAPS,
  })
) {
  Deno.test(`the form ${form} is detected and read`, () => {
    const history = readHistory(text);
    assertEquals(history.form, form);
    assertEquals(history.operations.map(essence), EXPECTED as unknown[]);
  });
}

Deno.test("times are milliseconds, in Jepsen's maps nanoseconds", () => {
  const timesOf = (text: string) =>
    readHistory(text).operations.slice(0, 2).map((operation) => [
      operation.calledMs,
      operation.returnedMs,
    ]);
  assertEquals(timesOf(JSON_LINES), [[1, 2], [1.5, 2]]);
  assertEquals(timesOf(JEPSEN_MAPS), timesOf(JSON_LINES));
  assertEquals(timesOf(JEPSEN_LOG), [[null, null], [null, null]]);
});

Deno.test("positions count events, and what is not known never returns", () => {
  const positions = readHistory(JEPSEN_LOG).operations.map(({ number, calledAt, returnedAt }) => [
    number,
    calledAt,
    returnedAt,
  ]);
  assertEquals(positions, [[0, 0, 2], [1, 1, 3], [2, 4, 5], [3, 6, null], [4, 8, null]]);
});

Deno.test("values and keys of maps: strings with escapes, lists, maps, numbers, keywords", () => {
  const read = (value: string) =>
    readHistory(`{:process 0, :type :invoke, :f :put, :key 5, :value ${value}}`).operations[0];
  assertEquals(read('"a \\"b\\" \\\\ \\n, c"').input, 'a "b" \\ \n, c');
  assertEquals(read("[1 -2.5 1e3 7N true false nil]").input, [1, -2.5, 1000, 7, true, false, null]);
  assertEquals(read("{:from 1, :to (2 3)}").input, { from: 1, to: [2, 3] });
  assertEquals(read(":word").input, ":word");
  assertEquals(read("1").key, "5");
});

const first = '{"process":0,"type":"invoke","f":"read"}';

const broken: readonly (readonly [name: string, text: string, message: string])[] = [
  ["an empty file", "\n\n", "it is empty"],
  ["a file of another kind", "hello\n", "its first line is neither"],
  ["a line that is not JSON", `${first}\n\nnonsense`, "line 3: it is not JSON"],
  ["a line that is no object", `${first}\n[1]`, "line 2: it is not a JSON object"],
  ["a missing process", '{"type":"invoke","f":"read"}', "line 1: process is neither"],
  ["an unknown type", '{"process":0,"type":"done","f":"read"}', 'line 1: type is "done", not one'],
  ["a missing function", '{"process":0,"type":"invoke"}', "line 1: f is missing, not a word"],
  ["a time that is no number", `{"process":0,"type":"invoke","f":"r","time":"1"}`, 'time is "1"'],
  ["a process that asks twice", `${first}\n${first}`, "line 2: process 0 invokes read before"],
  [
    "an answer without a question",
    '{"process":0,"type":"ok","f":"read"}',
    "line 1: process 0 has an answer to read that it did not invoke",
  ],
  [
    "an answer to another question",
    `${first}\n{"process":0,"type":"ok","f":"write"}`,
    "line 2: process 0 invoked read, the answer is to write",
  ],
  [
    "an answer about another key",
    `{"process":0,"type":"invoke","f":"get","key":"a"}\n` +
    `{"process":0,"type":"ok","f":"get","key":"b"}`,
    "line 2: process 0 invoked key a, answered is b",
  ],
  [
    "time that goes back",
    '{"process":0,"type":"invoke","f":"read","time":5}\n' +
    '{"process":0,"type":"ok","f":"read","time":4}',
    "line 2: time goes back from 5 ms to 4 ms",
  ],
  ["a map that does not end", "{:process 0, :type", "line 1: } is missing at column 19"],
  ["a string that does not end", '{:process "0', "line 1: the string does not end"],
  ["a map with an odd number of forms", "{:process}", "line 1: a map has a name without a value"],
  ["something behind the map", "{:process 0} 5", "line 1: something follows the value"],
  ["a bracket out of place", "{:process ]}", "line 1: ] is out of place"],
  ["nesting without end", `{:process ${"[".repeat(100)}`, "line 1: more than 32 levels"],
  [
    "a log line that is cut",
    "INFO  jepsen.util - 0 :invoke :read nil\nINFO  jepsen.util - 0 :ok",
    "line 2: it is not of the form",
  ],
  ["a log that turns into something else", "INFO  jepsen.core - x\nhello", "line 2: it is not of"],
];

for (const [name, text, message] of broken) {
  Deno.test(`${name} is refused with what is wrong and where`, () => {
    const error = assertThrows(() => readHistory(text), TrilogError, message);
    assertEquals(error.code, "malformed");
  });
}
