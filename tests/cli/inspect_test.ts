/** `trilog inspect` and `trilog verify` on data directories that the storage layer wrote. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { describeEntry } from "../../cmd/stored_words.ts";
import { utf8 } from "../../lib/base/bytes.ts";
import { pack } from "../../lib/base/msgpack.ts";
import { encodeCommand as partitionCommand } from "../../lib/broker/partition_commands.ts";
import { type CommandTable, runProgram } from "../../lib/cli/program.ts";
import { notesOfLost, writeNotes } from "../../lib/broker/hosting_notes.ts";
import { DenoDisk } from "../../lib/storage/deno_disk.ts";
import { openDataDirectory } from "../../lib/storage/identity.ts";
import {
  commands as entries,
  directory,
  membershipOf,
  openLog,
  storeSnapshot,
} from "../storage/fixtures.ts";
import { sentBy } from "../broker/partition_support.ts";
import { encodeCommand as storeCommand } from "../../lib/kv/codec.ts";
import { encodeMembership } from "../../lib/raft/membership.ts";
import { EntryKind } from "../../lib/raft/types.ts";
import { openSessionCommand, sessionCommand } from "../../lib/replica/sessions.ts";
import { FakeTerminal } from "./fake_terminal.ts";

const commands: CommandTable = {
  inspect: () => import("../../cmd/inspect.ts"),
  verify: () => import("../../cmd/verify.ts"),
};

async function run(...words: string[]) {
  const terminal = new FakeTerminal();
  const onStart = () => new AbortController().signal;
  const status = await runProgram(words, { version: "1", commands, terminal, onStart });
  return { status, stdout: terminal.stdout, stderr: terminal.stderr };
}

/** A node's data directory with one group of 9 entries and a snapshot at entry 5. */
async function withDirectory(body: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "trilog-inspect-" });
  try {
    const disk = new DenoDisk(root);
    openDataDirectory(disk, { name: "a1", newReplicaId: () => "0123456789abcdef" }).close();
    const log = openLog(disk);
    log.append({ term: 2, vote: "r1", commit: 4 }, entries(1, 9, 2));
    log.syncNow();
    storeSnapshot(log, 5, 2);
    log.close();
    await body(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function segmentFile(root: string): string {
  const [name] = [...Deno.readDirSync(join(root, directory))].map((item) => item.name)
    .filter((name) => name.endsWith(".segment"));
  return join(root, directory, name);
}

Deno.test("inspect shows node, group, hard state, members, segments and snapshots", async () => {
  await withDirectory(async (root) => {
    const { status, stdout, stderr } = await run("inspect", root);
    assertEquals([status, stderr], [0, ""]);
    for (
      const part of [
        "a1    0123456789abcdef",
        "group p/1/0 in groups/00000001",
        "term 2, vote a1 (r1), commit 4",
        "entries 1 to 9, the last of term 2",
        "members a1 (r1), a2 (r2), a3 (r3)",
        "snapshot 0000000000000005-0000000000000002.snapshot: up to entry 5 of term 2, 100B",
      ]
    ) {
      assertStringIncludes(stdout, part);
    }
    assertEquals(stdout.includes("FAULT"), false);
  });
});

Deno.test("inspect lists records, of one group where it is told so", async () => {
  await withDirectory(async (root) => {
    const { stdout } = await run("inspect", root, "--records", "--group", "p/1/0");
    assertStringIncludes(stdout, "hard state: term 2, vote r1, commit 4");
    assertStringIncludes(stdout, "entry 9, term 2, 1970-01-01T00:00:01.009Z, command, 24 bytes");
    const other = await run("inspect", root, "--group", "atm");
    assertEquals(other.stdout.includes("group"), false);
  });
});

Deno.test("records are described in the words of their machines", () => {
  const sequenced = sessionCommand({
    session: 3,
    sequence: 7,
    lowestUnacknowledged: 7,
    command: storeCommand({
      op: "set",
      requestId: "r",
      key: utf8("k"),
      value: utf8("v"),
      ttlMs: null,
    }),
  });
  const metadata = sessionCommand({
    session: 1,
    sequence: 1,
    lowestUnacknowledged: 1,
    command: pack(["", "topics.delete", ["t"]]),
  });
  const cases: [string, Uint8Array, string][] = [
    ["kv", sequenced, 'set "k" to 1 bytes (session 3, request 7)'],
    ["kv", openSessionCommand(), "open a session"],
    ["metadata", metadata, 'topics.delete ["t"] (session 1, request 1)'],
    ["p/1/0@1", sentBy(7, 40, 3), "3 messages, producer 7 epoch 0 from sequence 40"],
    ["p/1/0@1", partitionCommand({ kind: "trim", index: 9 }), "trim, index 9"],
    ["p/1/0@1", utf8("x"), "not a command that this version knows"],
  ];
  for (const [group, data, words] of cases) {
    assertEquals(describeEntry(group, EntryKind.command, data), words);
  }
  assertEquals(describeEntry("kv", EntryKind.noop, new Uint8Array(0)), "");
  const members = encodeMembership(membershipOf("r1", "r2"));
  assertEquals(describeEntry("kv", EntryKind.membership, members), "voters a1, a2");
});

Deno.test("a no-op has no date", async () => {
  await withDirectory(async (root) => {
    const log = openLog(new DenoDisk(root));
    const data = new Uint8Array(0);
    log.append(null, [{ index: 10, term: 3, kind: EntryKind.noop, timeMs: 0, data }]);
    log.close();
    const { stdout } = await run("inspect", root, "--records");
    assertStringIncludes(stdout, "entry 10, term 3, noop, 0 bytes\n");
  });
});

Deno.test("inspect --json gives one object a line, with every record if asked", async () => {
  await withDirectory(async (root) => {
    const { stdout } = await run("inspect", root, "--json", "--records");
    const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(lines.slice(0, 2).map(({ kind }) => kind), ["directory", "group"]);
    assertEquals(lines[0].identity.name, "a1");
    assertEquals(lines[1].log.hardState, { term: 2, vote: "r1", commit: 4 });
    const recorded = lines.filter(({ record }) => record === "entry").map(({ index }) => index);
    assertEquals(recorded, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});

Deno.test("verify is silent about a sound directory and exits with 0", async () => {
  await withDirectory(async (root) => {
    const { status, stdout, stderr } = await run("verify", root);
    assertEquals([status, stdout, stderr], [0, "", `${root}: sound\n`]);
    assertEquals(await run("verify", root, "--json"), { status: 0, stdout: "", stderr: "" });
  });
});

Deno.test("verify names file and offset of every fault and exits with 1", async () => {
  await withDirectory(async (root) => {
    const file = segmentFile(root);
    const bytes = await Deno.readFile(file);
    bytes[bytes.length - 200] ^= 0xff;
    await Deno.writeFile(file, bytes);
    const before = await Deno.readFile(file);
    const { status, stdout, stderr } = await run("verify", root);
    assertEquals([status, stderr], [1, `${root}: 1 fault\n`]);
    const faults = (await run("verify", root, "--json")).stdout.trimEnd().split("\n");
    const fault = JSON.parse(faults[0]);
    assertEquals(file.endsWith(fault.file), true);
    assertEquals(fault.offset > 0 && fault.offset <= bytes.length - 200, true);
    assertStringIncludes(stdout, `${fault.file} at offset ${fault.offset}`);
    assertStringIncludes((await run("inspect", root)).stdout, "FAULT");
    // Looking changes nothing.
    assertEquals(await Deno.readFile(file), before);
  });
});

Deno.test("verify finds a broker's damaged or foreign notes on a replica", async () => {
  await withDirectory(async (root) => {
    const notes = { ...notesOfLost("p/1/0@0", "r1"), topic: "t", state: "open" } as const;
    writeNotes(new DenoDisk(root), directory, notes);
    const foreign = await run("verify", root);
    assertEquals(foreign.status, 1);
    assertStringIncludes(foreign.stdout, "it is of group p/1/0@0, the log beside it is of p/1/0");
    const file = join(root, directory, "hosting");
    const bytes = await Deno.readFile(file);
    bytes[bytes.length - 3] ^= 1;
    await Deno.writeFile(file, bytes);
    const damaged = await run("verify", root);
    assertEquals([damaged.status, damaged.stderr], [1, `${root}: 1 fault\n`]);
    assertStringIncludes(damaged.stdout, `${directory}/hosting`);
    assertStringIncludes((await run("inspect", root)).stdout, "FAULT");
  });
});

Deno.test("verify names damage that costs nothing as harmless, and exits with 0", async () => {
  await withDirectory(async (root) => {
    const file = join(root, directory, "synced");
    const bytes = await Deno.readFile(file);
    bytes[30] ^= 1;
    await Deno.writeFile(file, bytes);
    const { status, stdout, stderr } = await run("verify", root);
    assertEquals([status, stderr], [0, `${root}: sound\n`]);
    assertStringIncludes(stdout, `harmless: Cannot trust ${directory}/synced`);
    assertEquals(JSON.parse((await run("verify", root, "--json")).stdout).harmless, true);
  });
});

Deno.test("a place without a data directory is refused, and none is made", async () => {
  const root = await Deno.makeTempDir({ prefix: "trilog-inspect-" });
  try {
    const missing = join(root, "missing");
    for (const name of ["inspect", "verify"]) {
      assertEquals((await run(name, missing)).status, 1);
      assertStringIncludes((await run(name, missing)).stderr, "there is no such directory");
      assertStringIncludes((await run(name, root)).stderr, "it is no data directory of a node");
    }
    assertEquals([...Deno.readDirSync(root)], []);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
