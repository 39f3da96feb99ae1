/** Real brokers in one process, on real sockets and directories, under managers that obey a test. */

import { join } from "@std/path";
import { sleep } from "../../lib/base/clock.ts";
import { toTrilogError, TrilogError } from "../../lib/base/errors.ts";
import { silentLogger } from "../../lib/base/logger.ts";
import { Prng } from "../../lib/base/prng.ts";
import { systemClock } from "../../lib/base/system_clock.ts";
import { randomIdentity } from "../../lib/base/system_random.ts";
import { recordsOf } from "../../lib/batch/batch_reader.ts";
import { displayText } from "../../lib/base/bytes.ts";
import { Broker } from "../../lib/broker/broker.ts";
import {
  type AssignedReplica,
  deletedGroupsMethod,
  fetchMethod,
  type FetchRequest,
  heartbeatBrokerMethod,
  type HeartbeatBrokerRequest,
  type LedPartition,
  metadataMethod,
  type Method,
  produceMethod,
  registerBrokerMethod,
  type RegisterBrokerRequest,
} from "../../lib/client/protocol.ts";
import { newCounters } from "../../lib/net/counters.ts";
import { clientPolicy } from "../../lib/net/handshake.ts";
import { RpcClient } from "../../lib/net/rpc_client.ts";
import { DenoDisk } from "../../lib/storage/deno_disk.ts";
import type { Disk, DiskFile } from "../../lib/storage/disk.ts";
import { LOOPBACK, TestNode } from "../net/helpers.ts";

export const CLUSTER = "00000000000000c1";
const PATIENCE_MS = 15_000;

/** Tries until `attempt` gives something else than null or undefined and does not throw. */
export async function eventually<T>(
  what: string,
  attempt: () => Promise<T | null | undefined> | T | null | undefined,
): Promise<T> {
  const endMs = systemClock.monotonicMs() + PATIENCE_MS;
  let last: unknown = null;
  while (systemClock.monotonicMs() < endMs) {
    try {
      const value = await attempt();
      if (value !== null && value !== undefined) return value;
    } catch (thrown) {
      last = thrown;
    }
    await sleep(systemClock, 10);
  }
  throw new Error(`not within ${PATIENCE_MS} ms: ${what}; last: ${last}`);
}

/** A real directory whose device is full when a test says so, or small. */
export class TightDisk extends DenoDisk {
  full = false;
  capacityBytes = Infinity;

  /** Bytes of all files. */
  usedBytes(path = ""): number {
    let sum = 0;
    for (const { name, isDirectory } of Deno.readDirSync(join(this.root, path))) {
      const inside = join(path, name);
      sum += isDirectory ? this.usedBytes(inside) : Deno.statSync(join(this.root, inside)).size;
    }
    return sum;
  }

  override open(path: string, mode: "read" | "write" | "create"): DiskFile {
    const file = super.open(path, mode);
    const writeAt = file.writeAt.bind(file);
    file.writeAt = (position, bytes) => {
      const grows = position + bytes.length - file.size();
      if (grows > 0 && this.usedBytes() + grows > this.capacityBytes) {
        throw new TrilogError("disk_full", `Cannot write ${path}: the device is small`);
      }
      // Hard states are small, and have a reserve of their own.
      if (this.full && bytes.length > 256) {
        throw new TrilogError("disk_full", `Cannot write ${path}: the device is full`);
      }
      writeAt(position, bytes);
    };
    return file;
  }
}

type Wanted = Pick<AssignedReplica, "replicas" | "founders"> & Partial<AssignedReplica>;

/** Answers registrations and heartbeats as a test wants it; decides nothing by itself. */
export class ObedientManagers {
  readonly node = new TestNode({ replicaId: "m1", clusterId: CLUSTER, startCounter: 2 ** 20 });
  readonly registered = new Map<string, RegisterBrokerRequest>();
  readonly heartbeats = new Map<string, HeartbeatBrokerRequest>();
  /** By group id. */
  readonly wanted = new Map<string, AssignedReplica>();
  tombstones: { groupId: string; epoch: number; replicaId: string }[] = [];
  superseded: string[] = [];
  version = 1;
  /** Answers nobody. */
  silent = false;
  /** Consumer groups that were deleted, and below which generation. */
  readonly deletedGroups = new Map<string, number>();

  constructor() {
    this.serve(registerBrokerMethod, (request) => {
      const old = [...this.registered.values()].find(({ id, replicaId }) =>
        id === request.id && replicaId !== request.replicaId
      );
      if (old !== undefined && !this.superseded.includes(old.replicaId)) {
        this.superseded.push(old.replicaId);
      }
      const known = this.registered.get(request.replicaId)?.address === request.address;
      this.registered.set(request.replicaId, request);
      if (!known) this.version += 1;
      return { clusterId: CLUSTER, heartbeatIntervalMs: 50 };
    });
    this.serve(heartbeatBrokerMethod, (request) => {
      this.heartbeats.set(request.replicaId, request);
      if (this.superseded.includes(request.replicaId)) {
        throw new TrilogError("superseded", "Cannot take heartbeat: the identity was replaced");
      }
      const newer = request.assignmentVersion < this.version;
      return { intervalMs: 50, assignments: newer ? this.assignments(request.replicaId) : null };
    });
    this.serve(deletedGroupsMethod, ({ groups }) => ({
      groups: groups.flatMap(({ group, generation }) => {
        const below = this.deletedGroups.get(group) ?? 0;
        return generation < below ? [{ group, below }] : [];
      }),
    }));
    this.serve(metadataMethod, () => {
      const { version } = this;
      return { clusterId: CLUSTER, version, topics: [], brokers: [], managers: [] };
    });
  }

  get address(): string {
    return this.node.address;
  }

  /** Wants a partition so from now on. */
  want(groupId: string, wanted: Wanted): void {
    this.version += 1;
    this.wanted.set(groupId, {
      groupId,
      epoch: 1,
      topic: groupId,
      partition: 0,
      bootstrap: true,
      begun: false,
      leaderTerm: 0,
      membershipIndex: 0,
      settings: { retentionBytes: 0, retentionMs: 0 },
      recovery: null,
      ...wanted,
    });
  }

  bury(groupId: string, replicaId: string, epoch = 1): void {
    this.version += 1;
    this.tombstones.push({ groupId, epoch, replicaId });
  }

  /** What the leader last reported of a group; of several, the one of the latest term. */
  report(groupId: string): LedPartition | undefined {
    return [...this.heartbeats.values()].flatMap(({ led }) => led)
      .filter((led) => led.groupId === groupId).sort((left, right) => right.term - left.term)[0];
  }

  private assignments(replicaId: string) {
    return {
      version: this.version,
      // Everybody who has, or had, a part in it hears of a partition.
      replicas: [...this.wanted.values()].map((wanted) => ({
        ...wanted,
        bootstrap: wanted.bootstrap && wanted.founders.includes(replicaId),
        // The first one's log goes on after a recovery.
        recovery: wanted.replicas[0] === replicaId ? wanted.recovery : null,
      })).filter(({ groupId }) =>
        !this.tombstones.some((one) => one.groupId === groupId && one.replicaId === replicaId)
      ),
      tombstones: this.tombstones.filter((one) => one.replicaId === replicaId)
        .map(({ groupId, epoch }) => ({ groupId, epoch })),
      peers: [...this.registered.values()].map(({ replicaId, id, address }) => {
        return { replicaId, id, address };
      }),
      superseded: this.superseded,
    };
  }

  private serve<Request, Answer>(
    { name, request, answer }: Method<Request, Answer>,
    run: (request: Request) => Answer,
  ): void {
    this.node.rpc.handle(name, (params) => {
      if (this.silent) throw new TrilogError("unavailable", "Cannot answer: silent");
      return answer.encode(run(request.decode(params, name)));
    });
  }
}

interface Running {
  readonly broker: Broker;
  readonly disk: TightDisk;
  fatal: unknown;
}

export class TestBrokers {
  readonly managers = new ObedientManagers();
  readonly rpc: RpcClient;
  private readonly root = Deno.makeTempDirSync();
  private readonly running = new Map<string, Running>();
  segmentBytes = 1024 * 1024;

  constructor() {
    this.rpc = new RpcClient({
      policy: clientPolicy("test", ""),
      role: "client",
      clock: systemClock,
      random: new Prng(1),
      counters: newCounters(),
    });
  }

  /** Runs `test` with brokers `b1` to `b<count>`, and cleans up after it. */
  static async with(count: number, test: (cluster: TestBrokers) => Promise<void>): Promise<void> {
    const cluster = new TestBrokers();
    await cluster.run(count, () => test(cluster));
  }

  async run(count: number, test: () => Promise<void>): Promise<void> {
    try {
      for (let number = 1; number <= count; number += 1) this.start(`b${number}`);
      await eventually("all register", () => this.managers.heartbeats.size >= count || null);
      await test();
    } finally {
      await this.end();
    }
  }

  start(name: string, listen = LOOPBACK, capacityBytes = Infinity): Running {
    const disk = new TightDisk(this.directory(name));
    disk.capacityBytes = capacityBytes;
    const running: { -readonly [Field in keyof Running]: Running[Field] } = {
      broker: undefined!,
      disk,
      fatal: null,
    };
    running.broker = Broker.start({
      name,
      listen,
      token: "",
      disk: disk as Disk,
      clock: systemClock,
      random: new Prng(name.charCodeAt(1)),
      logger: silentLogger,
      heartbeatMs: 40,
      electionTimeoutMs: 200,
      newIdentity: randomIdentity,
      onFatal: (error) => {
        running.fatal = error;
      },
      managers: [this.managers.address],
      rack: "",
      segmentBytes: this.segmentBytes,
      retentionEveryMs: 50,
      offsetCleaningEveryMs: 50,
    });
    this.running.set(name, running);
    return running;
  }

  /** Ends a broker without handing anything over. */
  async kill(name: string): Promise<void> {
    const { broker } = this.get(name);
    this.running.delete(name);
    broker.process.host.stop();
    await broker.stop();
  }

  get(name: string): Running {
    return this.running.get(name)!;
  }

  directory(name: string): string {
    return join(this.root, name);
  }

  wipe(name: string): void {
    Deno.removeSync(this.directory(name), { recursive: true });
  }

  id(name: string): string {
    return this.get(name).broker.process.directory.replicaId;
  }

  ids(...names: string[]): string[] {
    return names.map((name) => this.id(name));
  }

  hosted(name: string, groupId = "g") {
    return this.get(name).broker.hosting.get(groupId);
  }

  partition(name: string, groupId = "g") {
    return this.hosted(name, groupId)?.partition ?? null;
  }

  /** Names of the brokers that lead a group just now. */
  leaders(groupId = "g"): string[] {
    return [...this.running.keys()].filter((name) => {
      const replica = this.partition(name, groupId)?.replica;
      return replica?.isLeader && replica.status().readReady;
    });
  }

  async led(by: string, groupId = "g"): Promise<void> {
    await eventually(`${by} leads ${groupId}`, () => {
      const leaders = this.leaders(groupId);
      return leaders.length === 1 && leaders[0] === by ? true : null;
    });
  }

  /** One partition `g` with replicas on these brokers, led by the first. */
  async host(...names: string[]): Promise<void> {
    const replicas = this.ids(...names);
    this.managers.want("g", { replicas, founders: replicas });
    await this.led(names[0]);
  }

  /** One call to a broker; rejects with the refusal. */
  async call<Request, Answer>(
    name: string,
    method: Method<Request, Answer>,
    request: Request,
    deadlineMs = 5_000,
  ): Promise<Answer> {
    const { address } = this.get(name).broker;
    const params = method.request.encode(request);
    return method.answer.decode(
      await this.rpc.call(address, method.name, params, { deadlineMs }),
      method.name,
    );
  }

  produce(name: string, batch: Uint8Array, groupId = "g", deadlineMs = 2_000) {
    const request = { groupId, epoch: 1, batch, acks: "quorum" } as const;
    return this.call(name, produceMethod, request, deadlineMs);
  }

  /** Produces to whoever leads until it is acknowledged; a batch with a producer is never doubled. */
  async deliver(batch: Uint8Array, groupId = "g"): Promise<number> {
    return await eventually("a batch is delivered", async () => {
      const [leader] = this.leaders(groupId);
      return leader === undefined ? null : (await this.produce(leader, batch, groupId)).baseOffset!;
    });
  }

  fetch(name: string, offset: number, more: Partial<FetchRequest> = {}) {
    return this.call(name, fetchMethod, {
      groupId: "g",
      epoch: 1,
      offset,
      maxBytes: 1024 * 1024,
      minBytes: 1,
      maxWaitMs: 0,
      isolation: "linearizable",
      ...more,
    });
  }

  /** All messages from `offset` on as the leader hands them out, as `OFFSET:VALUE`. */
  async messages(name: string, offset = 0): Promise<string[]> {
    const found: string[] = [];
    for (let next = offset;;) {
      const { batches, endOffset } = await this.fetch(name, next);
      for (const batch of batches) {
        for (const record of recordsOf(batch)) {
          if (record.offset >= next) found.push(`${record.offset}:${displayText(record.value!)}`);
          next = Math.max(next, record.offset + 1);
        }
      }
      if (next >= endOffset) return found;
    }
  }

  private async end(): Promise<void> {
    for (const { broker } of this.running.values()) await broker.process.stop();
    this.rpc.close();
    await this.managers.node.mux.close(100);
    for (const { fatal } of this.running.values()) if (fatal !== null) throw fatal;
    Deno.removeSync(this.root, { recursive: true });
  }
}

/** The code that a call is refused with. */
export async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "no refusal";
  } catch (thrown) {
    return toTrilogError(thrown).code;
  }
}
