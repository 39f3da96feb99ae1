/** The scenarios notice what they are for: servers with a fault put in fail them. */

import { assertEquals, assertRejects } from "@std/assert";
import { walkSync } from "@std/fs";
import { join } from "@std/path";
import { textOf, utf8 } from "../../lib/base/bytes.ts";
import { MemoryPersister, RaftServer } from "../../lib/module/mod.ts";
import { decodeState, encodeRecord } from "../../lib/module/wire.ts";
import { KvServer } from "./kv/kv_server.ts";
import { raftTests, scenarios } from "./scenarios.ts";
import { play } from "./world.ts";

/** Replaces methods while `run` runs. */
async function withFault<T extends object>(
  owner: T,
  faults: Record<string, unknown>,
  run: () => Promise<void>,
): Promise<void> {
  const names = Object.keys(faults);
  const kept = names.map((name) => Object.getOwnPropertyDescriptor(owner, name)!);
  names.forEach((name) => Object.defineProperty(owner, name, { value: faults[name] }));
  try {
    await run();
  } finally {
    names.forEach((name, at) => Object.defineProperty(owner, name, kept[at]));
  }
}

/** Some of five seeds shows the fault with a failure that says `message`. */
async function fails(name: string, message: string): Promise<void> {
  const scenario = scenarios.find((one) => one.name === name)!;
  await assertRejects(
    async () => {
      for (let seed = 1; seed <= 5; seed += 1) await play(scenario, seed, false);
    },
    Error,
    message,
  );
}

Deno.test("servers that forget everything fail the scenarios of persistence", () =>
  withFault(MemoryPersister.prototype, { copy: () => new MemoryPersister() }, async () => {
    await fails("persistence 1", "term 1 has two leaders");
  }));

Deno.test("servers that remember their votes but not their logs fail them too", () => {
  const copy = function (this: MemoryPersister) {
    const { term, vote } = decodeState(this.readState()).hard;
    const forgetful = new MemoryPersister();
    forgetful.append(encodeRecord(null, { term, vote, commit: 0 }, []));
    return forgetful;
  };
  return withFault(MemoryPersister.prototype, { copy }, async () => {
    await fails("persistence 1", "others 11");
  });
});

Deno.test("a server that wrongly believes to lead fails every scenario", () =>
  withFault(RaftServer.prototype, { getState: () => ({ term: 1, isLeader: true }) }, async () => {
    await fails("basic agreement", "term 1 has two leaders");
  }));

Deno.test("persistent state that is not cut fails the scenarios of snapshots", () =>
  withFault(RaftServer.prototype, { snapshot: () => {} }, async () => {
    await fails("snapshots: basic", "the persistent state has");
    await fails("kv: snapshots: sizes", "the log has");
  }));

Deno.test("a service without sessions executes repeats and fails", () => {
  // deno-lint-ignore no-explicit-any
  const prototype = KvServer.prototype as any;
  const { execute } = prototype;
  const forgetful = function (this: { state: { sessions: unknown } }, request: unknown) {
    this.state.sessions = {};
    return execute.call(this, request);
  };
  return withFault(prototype, { execute: forgetful }, async () => {
    await fails("kv: one key", "stands twice");
  });
});

Deno.test("reads of a server's own state are not linearizable", () => {
  // deno-lint-ignore no-explicit-any
  const prototype = KvServer.prototype as any;
  const { handle } = prototype;
  const hasty = function (this: { state: { data: Record<string, string> } }, bytes: Uint8Array) {
    const { kind, key } = JSON.parse(textOf(bytes));
    if (kind !== "get") return handle.call(this, bytes);
    const answer = { value: this.state.data[key] ?? "", done: true };
    return Promise.resolve(utf8(JSON.stringify(answer)));
  };
  return withFault(prototype, { handle: hasty }, async () => {
    await fails("kv: all of it", "linearizable");
  });
});

/** `deno test -A --filter election` runs two tests of the whole tree: the course's. */
Deno.test("no other test answers to the filter that picks the two basic ones", () => {
  const root = join(import.meta.dirname!, "..");
  const others: string[] = [];
  for (const { path } of walkSync(root, { exts: [".ts"], includeDirs: false })) {
    const names = Deno.readTextFileSync(path).matchAll(/Deno\.test\(\s*(["'`])(.*?)\1/g);
    for (const [, , name] of names) {
      if (name.includes("election")) others.push(`rename this test, without that word: ${name}`);
    }
  }
  assertEquals(others, []);
  const ours = raftTests.map(({ name }) => name).filter((name) => name.includes("election"));
  assertEquals(ours, ["initial election", "re-election"]);
});
