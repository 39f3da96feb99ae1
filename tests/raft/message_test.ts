import { assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { pack, type Packable, unpack } from "../../lib/base/msgpack.ts";
import { utf8 } from "../../lib/base/bytes.ts";
import { encodeMembership } from "../../lib/raft/membership.ts";
import { messageFromWire, messageToWire } from "../../lib/raft/message.ts";
import { EntryKind, type Message } from "../../lib/raft/types.ts";
import { Prng } from "../../lib/base/prng.ts";
import { membershipOf } from "./disks.ts";

const envelope = { from: "a", to: "b", term: 7 };
const entry = (index: number, kind: EntryKind, data: Uint8Array) => ({
  index,
  term: 6,
  kind,
  timeMs: 1_700_000_000_000,
  data,
});

const MESSAGES: readonly Message[] = [
  {
    kind: "vote_request",
    ...envelope,
    preVote: true,
    last: { index: 3, term: 2 },
    transfer: false,
  },
  {
    kind: "vote_response",
    ...envelope,
    preVote: false,
    requestTerm: 6,
    granted: true,
    owedLeaseMs: 9,
  },
  {
    kind: "append_request",
    ...envelope,
    prev: { index: 3, term: 2 },
    entries: [
      entry(4, EntryKind.noop, new Uint8Array(0)),
      entry(5, EntryKind.command, utf8("x")),
      entry(6, EntryKind.membership, encodeMembership(membershipOf(["1", "2"], ["3"]))),
    ],
    commit: 3,
    round: 8,
    leaseMs: 50,
  },
  { kind: "append_response", ...envelope, round: 1, prevIndex: 3, match: 5, hint: null },
  {
    kind: "append_response",
    ...envelope,
    round: 1,
    prevIndex: 3,
    match: null,
    hint: { index: 2, term: 1 },
  },
  { kind: "append_response", ...envelope, round: 1, prevIndex: 3, match: null, hint: null },
  { kind: "heartbeat_request", ...envelope, commit: 4, round: 9, leaseMs: 0, synced: 5 },
  { kind: "heartbeat_response", ...envelope, round: 9, lastSynced: 4 },
  { kind: "removal_notice", ...envelope, membership: { index: 4, term: 2 } },
  { kind: "read_index_request", ...envelope, context: 2 ** 52 },
  { kind: "read_index_response", ...envelope, context: 1, index: null },
  { kind: "read_index_response", ...envelope, context: 1, index: 4 },
  { kind: "timeout_now", ...envelope },
];

Deno.test("every message comes back from its wire form", () => {
  for (const message of MESSAGES) {
    const wire = unpack(pack(messageToWire(message)));
    assertEquals(messageFromWire("a", "b", wire), message);
  }
});

Deno.test("an entry's data is a view into the frame, not a copy", () => {
  const bytes = pack(messageToWire(MESSAGES[2]));
  const message = messageFromWire("a", "b", unpack(bytes));
  assertEquals(message.kind === "append_request" && message.entries[1].data.buffer, bytes.buffer);
});

Deno.test("a body with a field missing, left over or of another type is refused as malformed", () => {
  const refused = (wire: Packable) => {
    const error = assertThrows(() => messageFromWire("a", "b", wire), TrilogError);
    assertEquals(error.code, "malformed");
  };
  for (const message of MESSAGES) {
    const wire = messageToWire(message) as Packable[];
    refused([...wire, 0]);
    for (let at = 0; at < wire.length; at += 1) {
      refused(wire.slice(0, at));
      for (const wrong of ["1", -1, 1.5, 2 ** 60, { a: 1 }]) refused(wire.with(at, wrong));
    }
  }
  for (const wire of [null, 1, "x", {}, [99, 1], new Uint8Array(3)]) refused(wire);
});

Deno.test("entries that do not follow each other or the term are refused as malformed", () => {
  const request = (...entries: Packable[]) => [2, 7, 3, 2, entries, 0, 1, 0];
  const data = utf8("x");
  messageFromWire("a", "b", request(4, 2, 1, 0, data, 5, 7, 1, 0, data));
  for (
    const wire of [
      request(5, 2, 1, 0, data),
      request(4, 1, 1, 0, data),
      request(4, 8, 1, 0, data),
      request(4, 2, 3, 0, data),
      request(4, 2, 1, 0, "x"),
      request(4, 2, 2, 0, data),
      request(4, 2, 1, 0),
    ]
  ) assertThrows(() => messageFromWire("a", "b", wire), TrilogError);
});

Deno.test("damaged frames end in a message or a malformed error, never in anything else", () => {
  const random = new Prng(5);
  for (let round = 0; round < 3_000; round += 1) {
    const bytes = pack(messageToWire(random.pick(MESSAGES)));
    bytes[random.below(bytes.length)] = random.below(256);
    try {
      messageFromWire("a", "b", unpack(bytes));
    } catch (thrown) {
      assertEquals((thrown as TrilogError).code, "malformed");
    }
  }
});
