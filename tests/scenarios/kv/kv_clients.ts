/**
 * The workload that most rows share: clients append to keys and read them back while servers are
 * split and restarted, three times over; at the end every append stands exactly once, in order.
 */

import { assert, assertEquals } from "@std/assert";
import { operationsOf } from "../../../lib/check/history.ts";
import { checkHistory } from "../../../lib/check/linearizability.ts";
import { T_MS } from "../fleet.ts";
import type { World } from "../world.ts";
import { type KvClient, KvCluster } from "./kv_cluster.ts";

const ROUNDS = 3;
const ROUND_MS = 5000;
/**
 * A client thinks between two requests for up to so long, times the number of clients: else virtual
 * time would stand still. All together ask about 250 times a second.
 */
const THINK_MS = 8;
/** A log that is kept short may reach eight times the size at which a snapshot is taken. */
const LOG_SLACK = 8;

export interface Workload {
  readonly clients: number;
  readonly servers?: number;
  readonly unreliable?: boolean;
  /** A random split in two, every 1.0 to 1.2 seconds. */
  readonly partitions?: boolean;
  /** All servers stop for a second after each round. */
  readonly restarts?: boolean;
  /** Any client uses any key; the history is checked for linearizability. */
  readonly randomKeys?: boolean;
  readonly snapshotAtBytes?: number;
}

export async function runWorkload(world: World, workload: Workload): Promise<void> {
  const { clients, servers, unreliable = false, snapshotAtBytes } = workload;
  const cluster = new KvCluster(world, {
    reliable: !unreliable,
    ...(servers === undefined ? {} : { size: servers }),
    ...(snapshotAtBytes === undefined ? {} : { snapshotAtBytes }),
  });
  for (let round = 0; round < ROUNDS; round += 1) {
    let stopped = false;
    const isStopped = () => stopped;
    const users = Array.from({ length: clients }, (_, number) => new User(cluster, number, round));
    const running = users.map((user) =>
      user.run(THINK_MS * clients, workload.randomKeys === true, isStopped)
    );
    const splitting = workload.partitions === true ? splitAgain(cluster, isStopped) : null;
    await world.sleep(ROUND_MS);
    stopped = true;
    await splitting;
    cluster.connectAll();
    if (workload.restarts === true) await restartAll(cluster);
    await Promise.all(running);
    if (workload.randomKeys !== true) { for (const user of users) await user.checkAppends(); }
    checkSizes(cluster, snapshotAtBytes);
  }
  checkOrder(cluster);
}

async function splitAgain(cluster: KvCluster, stopped: () => boolean): Promise<void> {
  const { world } = cluster;
  while (!stopped()) {
    const { random } = world;
    const left = cluster.ids.filter(() => random.chance(0.5));
    cluster.partition(left, cluster.ids.filter((id) => !left.includes(id)));
    await world.sleep(T_MS + random.below(T_MS / 5));
  }
}

async function restartAll(cluster: KvCluster): Promise<void> {
  for (const id of cluster.ids) cluster.crash(id);
  await cluster.world.sleep(T_MS);
  for (const id of cluster.ids) cluster.start(id);
  cluster.connectAll();
}

export function checkSizes(cluster: KvCluster, snapshotAtBytes: number | undefined): void {
  const { stateBytes, snapshotBytes } = cluster;
  if (snapshotAtBytes === undefined) {
    assertEquals(snapshotBytes, 0, "a snapshot was taken that nobody asked for");
  } else {
    const limit = LOG_SLACK * snapshotAtBytes;
    assert(stateBytes <= limit, `the log has ${stateBytes} bytes, more than ${limit}`);
  }
}

/** The whole history of all clients and keys is linearizable. */
function checkOrder(cluster: KvCluster): void {
  const operations = operationsOf(cluster.history.events);
  const { verdict, violation } = checkHistory(operations, "kv");
  assert(operations.length > 0, "no client did anything");
  assertEquals(verdict, "linearizable", `key ${violation?.part.name}`);
}

/** A client that appends to its own key, or to any. */
class User {
  private readonly client: KvClient;
  appended = 0;
  /** What its own key holds. */
  private value = "";

  constructor(
    private readonly cluster: KvCluster,
    private readonly number: number,
    private readonly round: number,
  ) {
    this.client = cluster.client();
  }

  private get key(): string {
    return `${this.round}/${this.number}`;
  }

  async run(thinkMs: number, randomKeys: boolean, stopped: () => boolean): Promise<void> {
    const { world, size } = this.cluster;
    while (!stopped()) {
      if (randomKeys) await this.useAnyKey(`${world.random.below(2 * size)}`);
      else await this.useOwnKey();
      await world.sleep(1 + world.random.below(thinkMs));
    }
  }

  private nextText(): string {
    const text = `x ${this.number} ${this.appended} y`;
    this.appended += 1;
    return text;
  }

  private async useOwnKey(): Promise<void> {
    if (this.cluster.world.random.chance(0.5)) {
      const text = this.nextText();
      await this.client.append(this.key, text);
      this.value += text;
    } else assertEquals(await this.client.get(this.key), this.value, `key ${this.key}`);
  }

  private async useAnyKey(key: string): Promise<void> {
    const { random } = this.cluster.world;
    if (random.chance(0.5)) await this.client.append(key, this.nextText());
    else if (random.chance(0.1)) await this.client.put(key, this.nextText());
    else await this.client.get(key);
  }

  async checkAppends(): Promise<void> {
    checkAppends(await this.client.get(this.key), this.number, this.appended);
  }
}

/** Every append of a client stands exactly once and in order. */
export function checkAppends(value: string, client: number, count: number): void {
  let after = 0;
  for (let number = 0; number < count; number += 1) {
    const text = `x ${client} ${number} y`;
    const at = value.indexOf(text);
    assert(at >= 0, `append ${text} is missing`);
    assertEquals(value.lastIndexOf(text), at, `append ${text} stands twice`);
    assert(at >= after, `append ${text} is out of order`);
    after = at + text.length;
  }
}
