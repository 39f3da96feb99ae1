import { assertEquals } from "@std/assert";
import { EMPTY_BYTES } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import type { Entry, HardState, Message, Ready, SnapshotMeta } from "../../lib/raft/types.ts";
import { WriteQueue } from "../../lib/replica/write_queue.ts";
import type { LogStore } from "../../lib/storage/store.ts";

/** A store whose disk takes hard states but, while full, no entries and no new segment; or nothing. */
function fullable() {
  const written: (string | number)[] = [];
  const state = { full: false, nothing: false };
  const adopted: number[] = [];
  const adoptSnapshot = ({ last }: SnapshotMeta, { term, commit }: HardState) => {
    if (state.full) throw new TrilogError("disk_full", "Cannot adopt: full");
    written.push(`snapshot ${last.index}, term ${term}, commit ${commit}`);
  };
  const termAt = () => null;
  const append = (hardState: HardState | null, entries: readonly Entry[]) => {
    if (state.nothing || (state.full && entries.length > 0)) {
      throw new TrilogError("disk_full", "Cannot write: full");
    }
    if (hardState !== null) {
      const { term, commit } = hardState;
      written.push(commit === 0 ? `term ${term}` : `term ${term}, commit ${commit}`);
    }
    written.push(...entries.map(({ index }) => index));
  };
  const store = { append, adoptSnapshot, termAt } as unknown as LogStore;
  const onAdopted = ({ last }: SnapshotMeta) => adopted.push(last.index);
  const queue = new WriteQueue(store, { term: 0, vote: null, commit: 0 }, onAdopted);
  return { queue, written, state, adopted };
}

function entry(index: number, term = 1): Entry {
  return { index, term, kind: 1, timeMs: 0, data: EMPTY_BYTES };
}

function snapshotAt(index: number, term: number): SnapshotMeta {
  const nobody = { voters: [], outgoing: [], learners: [], learnersNext: [], nodes: {} };
  return { last: { index, term }, timeMs: 0, membership: nobody };
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

Deno.test("the core learns what is durable although later entries still wait for room", () => {
  const { queue, state } = fullable();
  queue.take(ready(1, { entries: [entry(1)], mustSync: true }));
  state.full = true;
  queue.take(ready(2, { entries: [entry(2)], mustSync: true }));
  queue.take(ready(3, { entries: [entry(3)], mustSync: true }));
  assertEquals(queue.startSync(), { sequence: 1, messages: [] });
  queue.finishSync();
  state.full = false;
  assertEquals(queue.retry(), true);
  assertEquals(queue.startSync(), { sequence: 3, messages: [] });
});

Deno.test("a snapshot waits for room, and term and vote pass it with the old commit index", () => {
  const { queue, written, state, adopted } = fullable();
  state.full = true;
  const first = { term: 3, vote: null, commit: 50 };
  const snapshot = snapshotAt(50, 3);
  const messagesAfterSync = [acknowledgement];
  queue.take(ready(1, { snapshot, hardState: first, mustSync: true, messagesAfterSync }));
  assertEquals([queue.blocked, queue.adopting, adopted], [true, true, []]);
  const voted = { term: 4, vote: "c", commit: 50 };
  queue.take(ready(2, { hardState: voted, mustSync: true, messagesAfterSync: [vote] }));
  assertEquals(written, ["term 3", "term 4"]);
  assertEquals(queue.startSync(), { sequence: 0, messages: [vote] });
  queue.finishSync();
  state.full = false;
  assertEquals(queue.retry(), true);
  // The new segment begins with the newest term and vote, not with those of the snapshot's time.
  assertEquals(written.slice(2), ["snapshot 50, term 4, commit 50"]);
  assertEquals([queue.adopting, adopted], [false, [50]]);
  assertEquals(queue.startSync(), { sequence: 2, messages: [acknowledgement] });
});

Deno.test("entries that wait and that a snapshot covers are dropped, those behind it are kept", () => {
  for (const [term, rest] of [[1, [4]], [2, []]] as const) {
    const { queue, written, state } = fullable();
    state.full = true;
    const entries = [entry(2), entry(3), entry(4)];
    queue.take(ready(1, { entries, mustSync: true, messagesAfterSync: [acknowledgement] }));
    const hardState = { term: 2, vote: null, commit: 3 };
    queue.take(ready(2, { snapshot: snapshotAt(3, term), hardState, mustSync: true }));
    assertEquals(queue.startSync().sequence, 0);
    queue.finishSync();
    state.full = false;
    assertEquals(queue.retry(), true);
    assertEquals(written, ["term 2", "snapshot 3, term 2, commit 3", ...rest]);
    assertEquals(queue.startSync(), { sequence: 2, messages: [] });
  }
});

Deno.test("a vote waits where its own hard state finds no room", () => {
  const { queue, written, state } = fullable();
  state.nothing = true;
  const hardState = { term: 2, vote: "c", commit: 0 };
  queue.take(ready(1, { hardState, mustSync: true, messagesAfterSync: [vote] }));
  const batch = queue.startSync();
  assertEquals([batch.messages, batch.sequence, written], [[], 0, []]);
  queue.finishSync();
  state.nothing = false;
  assertEquals(queue.retry(), true);
  assertEquals([written, queue.startSync().messages], [["term 2"], [vote]]);
});
