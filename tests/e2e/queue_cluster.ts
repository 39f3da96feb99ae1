/** Managers and brokers as real processes, killed and started again one by one. */

import { join } from "@std/path";
import { eventually, type Finished, freePort, type Harness, type Running } from "./harness.ts";

export interface Server {
  readonly role: "manager" | "broker";
  readonly id: string;
  readonly address: string;
  /** Address of a manager's HTTP API. */
  readonly http: string | null;
  readonly args: readonly string[];
  process: Running;
}

export interface ClusterShape {
  readonly managers?: number;
  readonly brokers?: number;
  /** Words for every manager, every broker. */
  readonly managerFlags?: readonly string[];
  readonly brokerFlags?: readonly string[];
  /** Whether managers serve HTTP. */
  readonly http?: boolean;
}

export class QueueCluster {
  readonly managers: Server[] = [];
  readonly brokers: Server[] = [];
  readonly data: string;
  /** Managers that clients, and new brokers, are told of. */
  bootstrap: string;

  constructor(private readonly harness: Harness, shape: ClusterShape = {}) {
    this.data = harness.temporaryDirectory();
    const { managers = 3, brokers = 3, managerFlags = [], brokerFlags = [] } = shape;
    const members = Array.from({ length: managers }, (_, at) => `m${at + 1}`)
      .map((id) => ({ id, address: `127.0.0.1:${freePort()}` }));
    this.bootstrap = members.map(({ address }) => address).join(",");
    const peers = members.map(({ id, address }) => `${id}=${address}`).join(",");
    for (const { id, address } of members) {
      const http = shape.http ? `127.0.0.1:${freePort()}` : null;
      const flags = ["--peers", peers, ...(http === null ? [] : ["--http", http]), ...managerFlags];
      this.managers.push({ ...this.launch("manager", id, address, flags), http });
    }
    for (let at = 1; at <= brokers; at += 1) this.addBroker(`b${at}`, brokerFlags);
  }

  get servers(): readonly Server[] {
    return [...this.managers, ...this.brokers];
  }

  addBroker(id: string, flags: readonly string[] = []): Server {
    const address = `127.0.0.1:${freePort()}`;
    const broker = this.launch("broker", id, address, ["--managers", this.bootstrap, ...flags]);
    this.brokers.push(broker);
    return broker;
  }

  /** Starts one more manager, blank, told of those that there are. */
  /** Starts a manager whose `--peers` names the others but for `unknown`. */
  addManager(id: string, unknown?: Server): Server {
    const address = `127.0.0.1:${freePort()}`;
    const known = this.managers.filter((manager) => manager !== unknown);
    const members = [...known, { id, address }];
    const peers = members.map((member) => `${member.id}=${member.address}`).join(",");
    const manager = this.launch("manager", id, address, ["--peers", peers]);
    this.managers.push(manager);
    return manager;
  }

  /** Clients are told of these managers only, from now on. */
  turnTo(managers: readonly Server[]): void {
    this.bootstrap = managers.map(({ address }) => address).join(",");
  }

  private launch(role: Server["role"], id: string, address: string, more: string[]): Server {
    const data = join(this.data, id);
    const args = [role, "--id", id, "--listen", address, "--data", data, ...more];
    return { role, id, address, http: null, args, process: this.harness.start(...args) };
  }

  restart(server: Server): void {
    server.process = this.harness.start(...server.args);
  }

  /** Runs a client command. */
  run(args: readonly string[], input = ""): Promise<Finished> {
    return this.harness.run([...args, "--bootstrap", this.bootstrap], input);
  }

  /** Starts a client command that goes on. */
  start(...args: string[]): Running {
    return this.harness.start(...args, "--bootstrap", this.bootstrap);
  }

  /** Runs a client command that must succeed; gives what it printed. */
  async done(args: readonly string[], input = ""): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, input);
    if (code !== 0) throw new Error(`trilog ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  }

  /** Waits until every broker is registered and alive. */
  async ready(): Promise<void> {
    const ids = this.brokers.map(({ id }) => id);
    await eventually("all brokers to be alive", async () => {
      const { brokers } = await this.status();
      const alive = brokers.filter((broker) => broker.alive).map(({ id }) => id);
      return ids.every((id) => alive.includes(id)) || null;
    });
  }

  /** `cluster status --json`, whose exit status says how the cluster is. */
  async status(): Promise<ClusterStatus> {
    const { stdout, stderr } = await this.run(["cluster", "status", "--json"]);
    if (stdout === "") throw new Error(`there is no status: ${stderr}`);
    return JSON.parse(stdout);
  }

  async createTopic(name: string, partitions = 1): Promise<void> {
    await this.done(["topic", "create", name, "--partitions", String(partitions)]);
  }

  /** Waits until every partition is on the wanted brokers, all of them alive. */
  async allOk(): Promise<void> {
    await eventually("every partition to be ok", async () => {
      const { partitions } = await this.status();
      return partitions.every(({ state }) => state === "ok") || null;
    });
  }

  /** Waits until a broker has that many replicas on its disk. */
  async hosts(broker: Server, replicas: number): Promise<void> {
    const directory = join(this.data, broker.id, "groups");
    await eventually(`${replicas} replicas on ${broker.id}`, () => {
      return [...Deno.readDirSync(directory)].length === replicas || null;
    });
  }

  /** The broker that leads a partition, as the managers know. */
  async leader(topic: string, partition = 0): Promise<Server> {
    return await eventually(`a leader of ${topic}/${partition}`, async () => {
      const { partitions } = await this.status();
      const found = partitions.find((one) => one.topic === topic && one.partition === partition);
      return this.brokers.find(({ id }) => id === found?.leader) ?? null;
    });
  }

  /** The manager that leads. */
  async leadingManager(): Promise<Server> {
    return await eventually("a leading manager", async () => {
      const { managers } = await this.status();
      const leader = managers.find(({ role }) => role === "leader");
      return this.managers.find(({ id }) => id === leader?.id) ?? null;
    });
  }
}

/** The part of `cluster status --json` that tests look at. */
export interface ClusterStatus {
  readonly managers: readonly { readonly id: string; readonly role: string }[];
  readonly brokers: readonly {
    readonly id: string;
    readonly alive: boolean;
    readonly led: number;
    readonly hosted: number;
    readonly held: number;
    readonly lastHeartbeatMs: number | null;
  }[];
  readonly partitions: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly state: string;
    readonly leader: string | null;
    readonly replicas: readonly string[];
    readonly voters: readonly string[];
    readonly startOffset: number;
    readonly endOffset: number;
  }[];
}

/** `count` numbered lines from `first` on. */
export function numberedLines(first: number, count: number): string[] {
  return Array.from({ length: count }, (_, at) => `line ${first + at}`);
}
