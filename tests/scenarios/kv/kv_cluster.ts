/** Key-value servers and their clients on one network. */

import { utf8 } from "../../../lib/base/bytes.ts";
import { textOf } from "../../../lib/base/bytes.ts";
import { HistoryRecorder } from "../../../lib/check/recorder.ts";
import type { Peer } from "../../../lib/module/mod.ts";
import { Fleet } from "../fleet.ts";
import type { World } from "../world.ts";
import { type KvAnswer, type KvRequest, KvServer } from "./kv_server.ts";

/** A client that got no answer for so long asks another server. */
const CALL_MS = 1000;
/** Between two rounds of all servers that found no leader. */
const PAUSE_MS = 25;

export interface KvOptions {
  readonly size?: number;
  readonly reliable?: boolean;
  readonly snapshotAtBytes?: number;
}

export class KvCluster extends Fleet {
  readonly history: HistoryRecorder;
  private readonly snapshotAtBytes: number | null;
  private clients = 0;

  constructor(world: World, { size = 5, reliable = true, snapshotAtBytes }: KvOptions = {}) {
    super(world, size, reliable);
    this.history = new HistoryRecorder(world.clock);
    this.snapshotAtBytes = snapshotAtBytes ?? null;
    for (const id of this.ids) this.start(id);
    this.connectAll();
  }

  start(id: number): void {
    this.crash(id);
    const { clock } = this.world;
    const server = new KvServer(clock, this.persister(id), this.snapshotAtBytes);
    const raft = this.launch(id, (message) => server.apply(message));
    server.serve(raft);
    this.network.serve(serviceOf(id), (request) => server.handle(request));
  }

  override crash(id: number): void {
    this.network.remove(serviceOf(id));
    super.crash(id);
  }

  connectAll(): void {
    for (const id of this.ids) this.connect(id);
  }

  /** Splits the servers: who is in no list reaches nobody. */
  partition(...groups: readonly (readonly number[])[]): void {
    for (const id of this.ids) {
      const group = groups.findIndex((members) => members.includes(id));
      this.join(id, group < 0 ? null : group);
    }
  }

  /** A new client that reaches these servers. */
  client(reachable: readonly number[] = this.ids): KvClient {
    this.clients += 1;
    return new KvClient(this, `c${this.clients}`, reachable);
  }
}

export class KvClient {
  private readonly servers: readonly Peer[];
  private sequence = 0;
  /** Position of the server that answered last. */
  private leader = 0;

  constructor(
    private readonly cluster: KvCluster,
    private readonly name: string,
    reachable: readonly number[],
  ) {
    this.servers = cluster.ids.map((id) => cluster.network.end(name, serviceOf(id)));
    this.reach(reachable);
  }

  /** From now on, these servers are within reach. */
  reach(ids: readonly number[]): void {
    for (const id of this.cluster.ids) {
      this.cluster.network.enable(this.name, serviceOf(id), ids.includes(id));
    }
  }

  async get(key: string): Promise<string> {
    return (await this.request("get", key, ""))!;
  }

  async put(key: string, value: string): Promise<void> {
    await this.request("put", key, value);
  }

  async append(key: string, value: string): Promise<void> {
    await this.request("append", key, value);
  }

  private request(kind: KvRequest["kind"], key: string, value: string): Promise<string | null> {
    const invocation = { process: this.name, f: kind, key, value: kind === "get" ? null : value };
    return this.cluster.history.record(invocation, () => this.ask(kind, key, value));
  }

  /** Asks until some server answers, always for the same request. */
  private async ask(kind: KvRequest["kind"], key: string, value: string): Promise<string | null> {
    this.sequence += 1;
    const request: KvRequest = { client: this.name, sequence: this.sequence, kind, key, value };
    const bytes = utf8(JSON.stringify(request));
    for (let tries = 1;; tries += 1) {
      const answer = await this.call(this.servers[this.leader], bytes);
      if (answer?.done) return answer.value;
      this.leader = (this.leader + 1) % this.servers.length;
      if (tries % this.servers.length === 0) await this.cluster.world.sleep(PAUSE_MS);
    }
  }

  private async call(server: Peer, bytes: Uint8Array): Promise<KvAnswer | null> {
    const { clock } = this.cluster.world;
    const answer = await new Promise<Uint8Array | null>((resolve) => {
      const timer = clock.after(CALL_MS, () => resolve(null));
      server.call(bytes).then((answer) => {
        timer.cancel();
        resolve(answer);
      });
    });
    return answer === null ? null : JSON.parse(textOf(answer));
  }
}

function serviceOf(id: number): string {
  return `kv${id}`;
}
