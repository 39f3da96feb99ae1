import { assertEquals } from "@std/assert";
import { EntryKind } from "../../lib/raft/types.ts";
import { copyLog } from "../../lib/storage/log_copy.ts";
import { openSegmentLog } from "../../lib/storage/segment_log.ts";
import {
  allEntries,
  change,
  commands,
  identity,
  membershipOf,
  openLog,
  storeSnapshot,
} from "./fixtures.ts";
import { JournalDisk } from "./journal_disk.ts";

const alone = membershipOf("r9");
const last = new Uint8Array([1, 2, 3]);

function openCopy(disk: JournalDisk) {
  return openSegmentLog(disk, {
    identity: { ...identity, group: "p/1/0@2" },
    directory: "groups/00000002",
    bootstrap: alone,
    segmentBytes: 500,
  });
}

Deno.test("a copy has the same entries, no old membership, and a term above all that was", async () => {
  const disk = new JournalDisk();
  const from = openLog(disk, { segmentBytes: 500 });
  from.append({ term: 4, vote: "r2", commit: 3 }, commands(1, 40, 4));
  from.append(null, [change(41, 4, membershipOf("r1", "r2")), ...commands(42, 45, 4)]);
  from.close();
  const source = openLog(disk, { segmentBytes: 500 });
  const to = openCopy(disk);
  let pauses = 0;
  await copyLog(source, to, {
    membership: alone,
    term: 7,
    commands: [last],
    pause: () => {
      pauses += 1;
      return Promise.resolve();
    },
  });
  assertEquals(pauses, 1);
  to.close();
  const copy = openCopy(disk);
  const entries = allEntries(source);
  const expected = entries.map((entry) =>
    entry.kind === EntryKind.membership
      ? { ...entry, kind: EntryKind.noop, data: new Uint8Array() }
      : entry
  );
  const added = { index: 46, term: 7, kind: EntryKind.command, timeMs: entries[44].timeMs };
  assertEquals(allEntries(copy), [...expected, { ...added, data: last }]);
  const { hardState, memberships, baseMembership, snapshot } = copy.recovered;
  assertEquals(hardState, { term: 7, vote: null, commit: 0 });
  assertEquals([memberships, baseMembership, snapshot], [[], alone, null]);
});

Deno.test("a log that begins at a snapshot is copied with it, under the new membership", async () => {
  const disk = new JournalDisk();
  const from = openLog(disk, { segmentBytes: 500 });
  from.append({ term: 3, vote: null, commit: 40 }, []);
  for (let at = 1; at <= 60; at += 10) from.append(null, commands(at, at + 9, 3));
  const first = from.segmentStarts()[1].first;
  const state = new Uint8Array(2_000_000).map((_, at) => at % 251);
  from.trimPrefix(storeSnapshot(from, first - 1, 3, state));
  from.close();
  const source = openLog(disk, { segmentBytes: 500 });
  const to = openCopy(disk);
  const pause = () => Promise.resolve();
  await copyLog(source, to, { membership: alone, term: 0, commands: [], pause });
  to.close();
  const copy = openCopy(disk);
  assertEquals(copy.firstIndex(), first);
  assertEquals(allEntries(copy), allEntries(source));
  assertEquals(copy.recovered.baseMembership, alone);
  assertEquals(copy.recovered.hardState, { term: 3, vote: null, commit: first - 1 });
  const reader = copy.openSnapshot(first - 1)!;
  assertEquals(reader.read(0, reader.size), state);
  assertEquals(reader.meta.membership, alone);
  reader.close();
});
