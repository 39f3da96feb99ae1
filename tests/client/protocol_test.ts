import { assertEquals, assertThrows } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { pack, type Packable, unpack } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";
import {
  alterTopicMethod,
  claimMethod,
  clusterStatusMethod,
  commitMethod,
  committedOffsetMethod,
  createTopicMethod,
  deletedGroupsMethod,
  deleteGroupMethod,
  deleteTopicMethod,
  describeGroupMethod,
  fetchMethod,
  groupHeartbeatMethod,
  heartbeatBrokerMethod,
  joinGroupMethod,
  leaveGroupMethod,
  listGroupsMethod,
  listOffsetsMethod,
  metadataMethod,
  type Method,
  movePartitionMethod,
  produceMethod,
  registerBrokerMethod,
  reserveGenerationMethod,
} from "../../lib/client/protocol.ts";

interface Sample {
  readonly method: Method<unknown, unknown>;
  readonly request: unknown;
  readonly answer: unknown;
}

function sample<Request, Answer>(
  method: Method<Request, Answer>,
  request: Request,
  answer: Answer,
): Sample {
  return { method: method as Method<unknown, unknown>, request, answer };
}

const settings = { retentionBytes: 1024, retentionMs: 0 };
const where = { groupId: "p/42/0", epoch: 1 };
const claim = { ...where, group: "g", generation: 7, member: "consumer-1" };
const offsets = { startOffset: 3, endOffset: 2 ** 40 };
const broker = { id: "b1", replicaId: "00ff", address: "127.0.0.1:9101", rack: "", alive: true };
const group = {
  name: "billing",
  born: 2,
  state: "rebalancing" as const,
  strategy: "range" as const,
  generation: 17,
  members: 1,
  partitions: 1,
  topics: ["logs"],
};
const member = { group: "billing", member: "f00d" };
const manager = { id: "m1", replicaId: "aa", address: "127.0.0.1:9001" };

const samples: readonly Sample[] = [
  sample(metadataMethod, { topics: ["logs"], consistency: "stale" }, {
    clusterId: "c1",
    version: 9,
    topics: [{
      name: "logs",
      settings,
      partitions: [{ ...where, partition: 0, replicas: ["00ff"], leader: null, leaderTerm: 0 }],
    }],
    brokers: [broker],
    managers: [{ ...manager, leader: true }],
  }),
  sample(createTopicMethod, { requestId: "r", name: "logs", partitions: 3, settings }, {
    version: 1,
  }),
  sample(
    alterTopicMethod,
    { requestId: "r", name: "logs", partitions: null, retentionBytes: 0, retentionMs: null },
    { version: 1 },
  ),
  sample(
    movePartitionMethod,
    { requestId: "r", topic: "logs", partition: 2, brokers: ["b1", "b2"] },
    { version: 1 },
  ),
  sample(deleteTopicMethod, { requestId: "r", name: "logs" }, { version: 1 }),
  sample(
    registerBrokerMethod,
    { id: "b1", replicaId: "00ff", address: "127.0.0.1:9101", rack: "r1", clusterId: null },
    { clusterId: "c1", heartbeatIntervalMs: 1000 },
  ),
  sample(
    heartbeatBrokerMethod,
    {
      replicaId: "00ff",
      assignmentVersion: 4,
      led: [{
        ...where,
        ...offsets,
        term: 2,
        membershipIndex: 1,
        voters: ["00ff"],
        sizeBytes: 10,
      }],
      hosted: [{ ...where, quarantined: true, repairing: false }],
      maxWaitMs: 900,
      commitMs: null,
    },
    {
      intervalMs: 1000,
      assignments: {
        version: 5,
        replicas: [{
          ...where,
          topic: "logs",
          partition: 0,
          replicas: ["00ff"],
          founders: ["00ff"],
          bootstrap: true,
          begun: false,
          leaderTerm: 7,
          membershipIndex: 40,
          settings,
          recovery: { endOffset: 9 },
        }],
        tombstones: [where],
        peers: [{ replicaId: "00ff", id: "b1", address: "127.0.0.1:9101" }],
        superseded: ["0bad"],
      },
    },
  ),
  sample(clusterStatusMethod, { consistency: "linearizable" }, {
    clusterId: "c1",
    version: 9,
    term: 3,
    managers: [{ ...manager, role: "leader", behind: 0, lastHeardMs: null }],
    brokers: [{
      ...broker,
      lastHeartbeatMs: 12,
      led: 1,
      hosted: 2,
      held: 2,
      draining: false,
      commitMs: 7,
    }],
    partitions: [{
      ...where,
      ...offsets,
      topic: "logs",
      partition: 0,
      leader: "00ff",
      leaderTerm: 2,
      replicas: ["00ff"],
      voters: [],
      quarantined: ["00ff"],
      repairing: ["00ff"],
      sizeBytes: 0,
    }],
    tombstones: 0,
    heartbeatIntervalMs: 1_000,
  }),
  sample(produceMethod, { ...where, batch: new Uint8Array([1, 2]), acks: "quorum" }, {
    baseOffset: 2 ** 52,
    timeMs: 1_700_000_000_000,
    duplicate: false,
  }),
  sample(
    fetchMethod,
    {
      ...where,
      offset: 5,
      maxBytes: 1024,
      minBytes: 1,
      maxWaitMs: 500,
      isolation: "committed",
    },
    { batches: [new Uint8Array([1]), new Uint8Array(0)], ...offsets },
  ),
  sample(listOffsetsMethod, { ...where, at: "time", timeMs: 17 }, { offset: 4 }),
  sample(claimMethod, { ...claim, born: 5 }, { offset: null }),
  sample(commitMethod, { ...claim, offset: 12 }, { offset: 12 }),
  sample(
    joinGroupMethod,
    {
      ...member,
      client: "",
      topics: ["logs"],
      returning: true,
      strategy: "round_robin",
      sessionTimeoutMs: 10_000,
      instance: "worker-3",
    },
    { generation: 17 },
  ),
  sample(
    groupHeartbeatMethod,
    {
      ...member,
      generation: 16,
      released: [{ groupId: "p/42/0", generation: 3 }],
      maxWaitMs: 2_500,
      instance: null,
    },
    {
      generation: 17,
      partitions: [{
        groupId: "p/42/0",
        generation: 3,
        topic: "logs",
        partition: 0,
        revoked: true,
        born: 2,
      }],
      pending: 2,
    },
  ),
  sample(leaveGroupMethod, member, { generation: 18 }),
  sample(listGroupsMethod, { consistency: "linearizable" }, { groups: [group] }),
  sample(describeGroupMethod, { group: "billing" }, {
    group,
    members: [{
      id: "f00d",
      client: "trilog-consume",
      topics: ["logs"],
      sessionTimeoutMs: 10_000,
      instance: null,
      lastHeardMs: null,
    }],
    partitions: [{ topic: "logs", partition: 0, owner: "f00d", generation: 3, target: null }],
  }),
  sample(reserveGenerationMethod, { requestId: "r", group: "billing", topic: "logs" }, {
    generation: 19,
    born: 18,
  }),
  sample(deleteGroupMethod, { requestId: "r", group: "billing" }, { generation: 19 }),
  sample(deletedGroupsMethod, { groups: [{ group: "billing", generation: 3 }] }, {
    groups: [{ group: "billing", below: 20 }],
  }),
  sample(committedOffsetMethod, { ...where, group: "billing", born: 2 }, {
    ...offsets,
    offset: null,
    lag: 4,
  }),
];

Deno.test("every request and answer comes back from its bytes as it was", () => {
  for (const { method, request, answer } of samples) {
    const through = (packed: Packable) => unpack(pack(packed));
    const { request: requests, answer: answers } = method;
    assertEquals(requests.decode(through(requests.encode(request)), "request"), request);
    assertEquals(answers.decode(through(answers.encode(answer)), "answer"), answer);
  }
});

Deno.test("no two methods share a name", () => {
  const names = new Set(samples.map(({ method }) => method.name));
  assertEquals(names.size, samples.length);
});

Deno.test("a changed, missing or added field is malformed, or decodes to what it says", () => {
  const random = new Prng(11);
  const junk: Packable[] = [null, -1, 1.5, 2 ** 60, "", "a b", "\u0000", [], [[]], true, { a: 1 }];
  let refused = 0;
  for (let round = 0; round < 3000; round += 1) {
    const { method, request, answer } = random.pick(samples);
    const codec = random.chance(0.5) ? method.request : method.answer;
    const value = codec === method.request ? request : answer;
    const damaged = damage(random, codec.encode(value), junk);
    try {
      assertEquals(codec.encode(codec.decode(damaged, "damaged")), damaged);
    } catch (thrown) {
      if (!(thrown instanceof TrilogError)) throw thrown;
      assertEquals(thrown.code, "malformed");
      refused += 1;
    }
  }
  assertEquals(refused > 2000, true);
});

function damage(random: Prng, packed: Packable, junk: readonly Packable[]): Packable {
  if (!Array.isArray(packed) || packed.length === 0 || random.chance(0.1)) return random.pick(junk);
  const fields = [...packed as Packable[]];
  const at = random.below(fields.length);
  const way = random.below(4);
  if (way === 0) fields.splice(at, 1);
  else if (way === 1) fields.splice(at, 0, random.pick(junk));
  else fields[at] = damage(random, fields[at], junk);
  return fields;
}

Deno.test("a batch to produce is a view into the received bytes, not a copy", () => {
  const batch = new Uint8Array(limits.batchBytes);
  const request = { ...where, batch, acks: "quorum" } as const;
  const bytes = pack(produceMethod.request.encode(request));
  const decoded = produceMethod.request.decode(unpack(bytes), "produce");
  assertEquals(decoded.batch.buffer, bytes.buffer);
  assertEquals(decoded.batch.length, limits.batchBytes);
});

Deno.test("topic names are judged by the managers, so that they can say invalid_topic", () => {
  const request = { requestId: "r", name: "../x", partitions: 1, settings };
  const packed = createTopicMethod.request.encode(request);
  assertEquals(createTopicMethod.request.decode(packed, "request").name, "../x");
  const unnamed = [...packed as Packable[]].with(0, "");
  assertThrows(() => createTopicMethod.request.decode(unnamed, "request"), TrilogError);
});
