/** What `--record` writes, and that benches leave nothing behind. */

import { assertEquals, assertRejects } from "@std/assert";
import { join } from "@std/path";
import { measured } from "../../cmd/bench_figures.ts";
import { RecordFile } from "../../cmd/record_file.ts";
import { RecordedAtmClient, RecordedKvClient } from "../../cmd/recorded_clients.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { checkHistory } from "../../lib/check/linearizability.ts";
import { readHistory } from "../../lib/check/history.ts";
import type { ModelName } from "../../lib/check/models/models.ts";
import { DEFAULT_TIMEOUT_MS, type KvBackend } from "../../lib/kv/client.ts";
import { parseLine } from "../../lib/kv/language.ts";
import { Bank } from "../atm/bank.ts";
import { VirtualClock } from "../atm/virtual_clock.ts";
import { Store } from "../kv/store.ts";

async function inFile(model: ModelName, test: (path: string) => Promise<void>) {
  const directory = Deno.makeTempDirSync();
  const path = join(directory, "history.jsonl");
  try {
    await test(path);
    const { operations } = readHistory(Deno.readTextFileSync(path));
    assertEquals(checkHistory(operations, model).verdict, "linearizable");
    return operations.map(({ f, key, input, outcome, output, error }) => {
      return [f, key, input, outcome, output, error];
    });
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** A machine that answers at once; while `lost`, its answers to commands get lost. */
class Direct {
  lost = false;

  constructor(private readonly served: Pick<Store | Bank, "applyBytes" | "machine">) {}

  command(command: Uint8Array): Promise<Uint8Array> {
    const answer = this.served.applyBytes(command);
    if (!this.lost) return Promise.resolve(answer);
    return Promise.reject(new TrilogError("connection_closed", "Cannot reach it: closed"));
  }

  query(question: Uint8Array): Promise<Uint8Array> {
    return Promise.resolve(this.served.machine.query(question));
  }
}

const clock = new VirtualClock();
let made = 0;
const unique = () => `u${made += 1}`;

function kvClient(served: Direct, file: RecordFile): RecordedKvClient {
  const backend = served as unknown as KvBackend;
  return new RecordedKvClient({ backend, clock, unique, timeoutMs: DEFAULT_TIMEOUT_MS }, file);
}

async function ask(client: RecordedKvClient, line: string, base64 = false) {
  const parsed = parseLine(line, base64);
  if (!parsed?.ok || parsed.request.op === "watch") throw new Error(line);
  return await clock.settle(client.run(parsed.request));
}

Deno.test("a recorded store client writes what it did in the words of the checker", async () => {
  const recorded = await inFile("kv", async (path) => {
    const backend = new Direct(new Store());
    const file = new RecordFile(path, "kv");
    const client = kvClient(backend, file);
    for (const line of ["set k v", "get k", "get none", "cas k w x", "cas k --absent x"]) {
      await ask(client, line);
    }
    for (const line of ["delete k", "delete k", "cas k --absent v", "list"]) {
      await ask(client, line);
    }
    file.close();
  });
  assertEquals(recorded, [
    ["set", "k", "v", "ok", null, null],
    ["get", "k", null, "ok", "v", null],
    ["get", "none", null, "ok", null, null],
    ["cas", "k", ["w", "x"], "fail", null, null],
    ["cas", "k", [null, "x"], "fail", null, null],
    ["delete", "k", null, "ok", true, null],
    ["delete", "k", null, "ok", false, null],
    ["cas", "k", [null, "v"], "ok", null, null],
  ]);
});

Deno.test("bytes that are not text are recorded as base64, unlike any text", async () => {
  const recorded = await inFile("kv", async (path) => {
    const file = new RecordFile(path, "kv");
    const client = kvClient(new Direct(new Store()), file);
    await ask(client, "set aw== /w==", true);
    await ask(client, "set l base64:/w==");
    file.close();
  });
  assertEquals(recorded.map(([, key, value]) => [key, value]), [
    ["k", "base64:/w=="],
    ["l", "base64:YmFzZTY0Oi93PT0="],
  ]);
});

Deno.test("an answer that is lost and a request id that may be a repeat are unknown", async () => {
  const recorded = await inFile("kv", async (path) => {
    const backend = new Direct(new Store());
    const file = new RecordFile(path, "kv");
    const client = kvClient(backend, file);
    backend.lost = true;
    await ask(client, "set k v");
    backend.lost = false;
    await ask(client, "set k w --request-id mine");
    await ask(client, "set k x");
    await ask(client, "set k w --request-id mine");
    await ask(client, "get k");
    file.close();
    const names = readHistory(Deno.readTextFileSync(path)).operations.map(({ process }) => process);
    assertEquals(new Set(names).size, 4, "a client whose request may be open gets no other one");
  });
  assertEquals(recorded.map(([, , value, outcome, output]) => [value, outcome, output]), [
    ["v", "unknown", null],
    ["w", "unknown", null],
    ["x", "ok", null],
    ["w", "unknown", null],
    [null, "ok", "x"],
  ]);
});

Deno.test("a key that expires is refused where it would be recorded", async () => {
  await inFile("kv", async (path) => {
    const file = new RecordFile(path, "kv");
    const client = kvClient(new Direct(new Store()), file);
    const outcome = await ask(client, "set k v --ttl 5s");
    assertEquals(outcome.ok ? null : outcome.failure.code, "invalid_argument");
    assertEquals((await ask(client, "get k")).ok, false);
    file.close();
  });
});

Deno.test("recorded customers of a bank share a file, in the order of time", async () => {
  const recorded = await inFile("bank", async (path) => {
    const backend = new Direct(new Bank());
    const files = [new RecordFile(path, "atm"), new RecordFile(path, "atm")];
    const [one, other] = files.map((file) =>
      new RecordedAtmClient({ backend: backend as never, clock, unique }, file)
    );
    await one.line("deposit a 5");
    await Promise.all([other.line("deposit b 1"), one.line("withdraw a 9")]);
    await Promise.all([other.line("balance b"), one.line("transfer a b 2.5")]);
    await other.line("balance none");
    await other.line("accounts");
    for (const file of files) file.close();
  });
  assertEquals(recorded.slice(0, 1), [["deposit", "a", "5.00", "ok", { balance: "5.00" }, null]]);
  assertEquals(recorded.at(-1), ["balance", "none", null, "fail", null, "no_such_account"]);
});

Deno.test("measuring begins no operation after a failure or an abort, and waits for the open", async () => {
  let begun = 0;
  let ended = 0;
  const operation = async (number: number) => {
    begun += 1;
    await undefined;
    ended += 1;
    if (number === 4) throw new TrilogError("unavailable", "Cannot do it");
  };
  const calm = new AbortController();
  const work = { messages: 100, inFlight: 3 };
  await assertRejects(() => measured(work, calm.signal, operation), TrilogError, "Cannot do it");
  assertEquals([begun < 10, ended], [true, begun]);
  calm.abort();
  const before = begun;
  await assertRejects(() => measured(work, calm.signal, operation), TrilogError, "interrupted");
  assertEquals(begun, before);
});
