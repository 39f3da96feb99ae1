import { assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { pack, type Packable, unpack } from "../../lib/base/msgpack.ts";
import { formatAddress, parseAddress } from "../../lib/net/address.ts";
import {
  clientPolicy,
  encodeAnswer,
  encodeHello,
  equalSecret,
  type HandshakePolicy,
  judgeAnswer,
  judgeByRecord,
  judgeHello,
  type RemoteIdentity,
} from "../../lib/net/handshake.ts";

interface PolicyChanges {
  readonly clusterId?: string | null;
  readonly replicaId?: string;
  readonly token?: string;
  readonly startCounter?: number;
  readonly admitPeer?: HandshakePolicy["admitPeer"];
}

function policyOf(changes: PolicyChanges = {}): HandshakePolicy {
  const { clusterId = "c1", replicaId = "r1", startCounter = 3 } = changes;
  return {
    local: () => ({ clusterId, replicaId, name: `n-${replicaId}`, startCounter }),
    token: changes.token ?? "secret",
    admitPeer: changes.admitPeer ?? (() => null),
  };
}

const HELLO: readonly Packable[] = ["trilog", 2, "c1", "r2", "b", 0, 5, "secret", "r1"];

function helloWith(changes: Record<number, Packable>): Uint8Array {
  return pack(HELLO.map((field, index) => index in changes ? changes[index] : field));
}

/** The code that a hello is refused with, or "admitted". */
async function verdict(payload: Uint8Array, policy = policyOf()): Promise<string> {
  try {
    await judgeHello(policy, payload);
    return "admitted";
  } catch (thrown) {
    return (thrown as TrilogError).code;
  }
}

Deno.test("a right hello is admitted with the identity it tells", async () => {
  assertEquals(await judgeHello(policyOf(), helloWith({})), {
    clusterId: "c1",
    replicaId: "r2",
    name: "b",
    startCounter: 5,
    role: "peer",
  });
});

const refusals: readonly [string, Record<number, Packable>, string][] = [
  ["another magic", { 0: "kafka" }, "bad_handshake"],
  ["another magic and version", { 0: 7, 1: 9 }, "bad_handshake"],
  ["an older version", { 1: 0 }, "unsupported_version"],
  ["a newer version", { 1: 3 }, "unsupported_version"],
  ["an older version", { 1: 1 }, "unsupported_version"],
  ["a version that is no number", { 1: "1" }, "unsupported_version"],
  ["another cluster", { 2: "c2" }, "wrong_cluster"],
  ["a cluster id that is a number", { 2: 1 }, "bad_handshake"],
  ["a replica id with a slash", { 3: "../x" }, "bad_handshake"],
  ["an empty replica id", { 3: "" }, "bad_handshake"],
  ["a peer without a replica", { 3: null }, "bad_handshake"],
  ["a name with control characters", { 4: "a\u0007b" }, "bad_handshake"],
  ["a name that is a path", { 4: ".." }, "bad_handshake"],
  ["a very long name", { 4: "a".repeat(250) }, "bad_handshake"],
  ["an unknown role", { 5: 2 }, "bad_handshake"],
  ["a negative start counter", { 6: -1 }, "bad_handshake"],
  ["a broken start counter", { 6: 1.5 }, "bad_handshake"],
  ["a wrong token", { 7: "secrets" }, "unauthorized"],
  ["no token", { 7: "" }, "unauthorized"],
  ["a token that is no text", { 7: null }, "bad_handshake"],
  ["a wish for another replica", { 8: "r7" }, "wrong_replica"],
  ["a wish that is no identity", { 8: 5 }, "bad_handshake"],
];

for (const [what, changes, code] of refusals) {
  Deno.test(`a hello with ${what} is refused as ${code}`, async () => {
    assertEquals(await verdict(helloWith(changes)), code);
  });
}

Deno.test("a wrong token is noticed before anything of the cluster is told", async () => {
  assertEquals(await verdict(helloWith({ 2: "c2", 7: "guess" })), "unauthorized");
  assertEquals(await verdict(helloWith({ 7: "guess", 8: "r7" })), "unauthorized");
});

Deno.test("missing and additional fields, and what is no array, are refused", async () => {
  for (const value of [HELLO.slice(0, 8), [...HELLO, 1], "trilog", null, {}, []] as Packable[]) {
    assertEquals(await verdict(pack(value)), "bad_handshake");
  }
  assertEquals(await verdict(new Uint8Array([0xc1])), "bad_handshake");
});

Deno.test("a blank peer and a blank acceptor are left to the policy", async () => {
  const asked: RemoteIdentity[] = [];
  const refuse = new TrilogError("wrong_cluster", "Cannot admit b: it is blank");
  const strict = policyOf({
    admitPeer: (peer) => {
      asked.push(peer);
      return peer.clusterId === null ? refuse : null;
    },
  });
  assertEquals(await verdict(helloWith({ 2: null })), "admitted");
  assertEquals(await verdict(helloWith({ 2: null }), strict), "wrong_cluster");
  assertEquals(await verdict(helloWith({}), policyOf({ clusterId: null })), "admitted");
  assertEquals(asked.map((peer) => peer.replicaId), ["r2"]);
});

Deno.test("clients need no identity and are not judged as peers", async () => {
  const policy = policyOf({ admitPeer: () => new TrilogError("superseded", "Cannot") });
  assertEquals(await verdict(helloWith({ 2: null, 3: null, 5: 1, 8: null }), policy), "admitted");
  assertEquals(
    await verdict(helloWith({ 2: "c2", 3: null, 5: 1, 8: null }), policy),
    "wrong_cluster",
  );
});

Deno.test("a superseded or rolled-back identity is refused by what is remembered of it", async () => {
  const record = { superseded: false, highestStartCounter: 6 };
  const rolledBack = policyOf({ admitPeer: (peer) => judgeByRecord(peer, record) });
  assertEquals(await verdict(helloWith({ 6: 5 }), rolledBack), "rolled_back");
  assertEquals(await verdict(helloWith({ 6: 6 }), rolledBack), "admitted");
  const superseded = policyOf({
    admitPeer: (peer) => Promise.resolve(judgeByRecord(peer, { ...record, superseded: true })),
  });
  assertEquals(await verdict(helloWith({ 6: 9 }), superseded), "superseded");
});

async function dialTo(acceptor: HandshakePolicy, dialler: HandshakePolicy, to: string | null) {
  const hello = pack(encodeHello(dialler, "peer", to));
  let refusal: TrilogError | null = null;
  await judgeHello(acceptor, hello).catch((thrown) => refusal = thrown);
  return await judgeAnswer(dialler, "peer", to, pack(encodeAnswer(acceptor, refusal)));
}

Deno.test("the dialler learns who answered", async () => {
  const answer = await dialTo(policyOf(), policyOf({ replicaId: "r2" }), "r1");
  assertEquals(answer.refusal, null);
  assertEquals(answer.identity, {
    clusterId: "c1",
    replicaId: "r1",
    name: "n-r1",
    startCounter: 3,
    role: "peer",
  });
});

Deno.test("the dialler learns who answers in place of the replica it wants", async () => {
  const answer = await dialTo(policyOf(), policyOf({ replicaId: "r2" }), "r7");
  assertEquals([answer.refusal?.code, answer.identity?.replicaId], ["wrong_replica", "r1"]);
});

Deno.test("who is refused for its token or cluster learns nothing but that", async () => {
  const guess = await dialTo(policyOf(), policyOf({ replicaId: "r2", token: "guess" }), null);
  assertEquals([guess.refusal?.code, guess.identity], ["unauthorized", null]);
  const other = await dialTo(policyOf(), policyOf({ replicaId: "r2", clusterId: "c2" }), null);
  assertEquals([other.refusal?.code, other.identity], ["wrong_cluster", null]);
});

Deno.test("the dialler too refuses a superseded, rolled-back or foreign acceptor", async () => {
  const code = async (changes: PolicyChanges, answer: Packable) =>
    (await judgeAnswer(policyOf(changes), "peer", "r1", pack(answer))).refusal?.code;
  const right = ["trilog", 2, null, "c1", "r1", "n", 3];
  const record = { superseded: false, highestStartCounter: 4 };
  assertEquals(await code({}, right), undefined);
  assertEquals(
    await code({ admitPeer: (peer) => judgeByRecord(peer, record) }, right),
    "rolled_back",
  );
  assertEquals(await code({ clusterId: "c2" }, right), "wrong_cluster");
  assertEquals(await code({}, ["trilog", 2, null, "c1", "r3", "n", 3]), "wrong_replica");
  assertEquals(await code({}, ["trilog", 2, null, null, null, "", 0]), "bad_handshake");
});

Deno.test("a client takes whoever answers, of whatever start", async () => {
  const right = pack(["trilog", 2, null, "c1", "r1", "n", 3]);
  const answer = await judgeAnswer(clientPolicy("me"), "client", null, right);
  assertEquals([answer.refusal, answer.identity?.replicaId], [null, "r1"]);
});

Deno.test("secrets are equal only as a whole", () => {
  assertEquals(equalSecret("", ""), true);
  assertEquals(equalSecret("abc", "abc"), true);
  for (const other of ["", "ab", "abd", "abcd", "\u0000bc"]) {
    assertEquals(equalSecret("abc", other), false);
    assertEquals(equalSecret(other, "abc"), false);
  }
});

Deno.test("the frames of the handshake are as documented", () => {
  const hello = encodeHello(policyOf(), "client", null);
  assertEquals(unpack(pack(hello)), ["trilog", 2, "c1", "r1", "n-r1", 1, 3, "secret", null]);
  const refusal = new TrilogError("unauthorized", "Cannot");
  assertEquals(
    encodeAnswer(policyOf(), refusal),
    ["trilog", 2, ["unauthorized", "Cannot", false, null], null, null, "", 0],
  );
});

Deno.test("addresses are read and written, IPv6 in brackets", () => {
  for (const text of ["127.0.0.1:0", "host-1.example:9001", "[::1]:65535"]) {
    assertEquals(formatAddress(parseAddress(text)), text);
  }
  for (const text of ["", "host", ":1", "host:", "host:65536", "::1:80", "a b:1", "host:1x"]) {
    const error = assertThrows(() => parseAddress(text), TrilogError);
    assertEquals(error.code, "invalid_argument");
  }
});
