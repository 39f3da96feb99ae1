import { assertEquals } from "@std/assert";
import { EMPTY_BYTES } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import type { Entry, HardState, Message, Ready } from "../../lib/raft/types.ts";
import { WriteQueue } from "../../lib/replica/write_queue.ts";
import type { LogStore } from "../../lib/storage/store.ts";

/** A store whose disk takes hard states but, while full, no entries. */
function fullable() {
  const written: (string | number)[] = [];
  const state = { full: false };
  const append = (hardState: HardState | null, entries: readonly Entry[]) => {
    if (state.full && entries.length > 0) throw new TrilogError("disk_full", "Cannot write: full");
    if (hardState !== null) written.push(`term ${hardState.term}`);
    written.push(...entries.map(({ index }) => index));
  };
  const queue = new WriteQueue({ append } as unknown as LogStore);
  return { queue, written, state };
}

function entry(index: number): Entry {
  return { index, term: 1, kind: 1, timeMs: 0, data: EMPTY_BYTES };
}

const acknowledgement: Message = {
  kind: "append_response",
  from: "b",
  to: "a",
  term: 1,
  round: 1,
  prevIndex: 1,
  match: 1,
  hint: null,
};

const vote: Message = {
  kind: "vote_response",
  from: "b",
  to: "c",
  term: 2,
  preVote: false,
  requestTerm: 2,
  granted: true,
  owedLeaseMs: 0,
};

function ready(sequence: number, parts: Partial<Ready>): Ready {
  return {
    sequence,
    hardState: null,
    mustSync: false,
    snapshot: null,
    entries: [],
    messages: [],
    messagesAfterSync: [],
    committed: [],
    fetches: [],
    snapshotsToSend: [],
    outcomes: [],
    ...parts,
  };
}

Deno.test("an acknowledgement repeated while its entries wait for room waits with them", () => {
  const { queue, state } = fullable();
  state.full = true;
  const entries = [entry(1)];
  queue.take(ready(1, { entries, mustSync: true, messagesAfterSync: [acknowledgement] }));
  assertEquals(queue.take(ready(2, { messagesAfterSync: [acknowledgement] })), "kept");
  assertEquals(queue.startSync(), { sequence: 0, messages: [] });
  queue.finishSync();
  state.full = false;
  assertEquals(queue.retry(), true);
  const messages = [acknowledgement, acknowledgement];
  assertEquals(queue.startSync(), { sequence: 2, messages });
});

Deno.test("a vote passes entries that wait for room, and stays the last word", () => {
  const { queue, written, state } = fullable();
  state.full = true;
  const old = { term: 1, vote: null, commit: 0 };
  queue.take(ready(1, { hardState: old, entries: [entry(1)], mustSync: true }));
  const hardState = { term: 2, vote: "c", commit: 0 };
  const messagesAfterSync = [vote, acknowledgement];
  queue.take(ready(2, { hardState, mustSync: true, messagesAfterSync }));
  assertEquals(queue.startSync(), { sequence: 0, messages: [vote] });
  queue.finishSync();
  state.full = false;
  assertEquals(queue.retry(), true);
  assertEquals(written, ["term 1", "term 2", 1]);
  assertEquals(queue.startSync(), { sequence: 2, messages: [acknowledgement] });
});
