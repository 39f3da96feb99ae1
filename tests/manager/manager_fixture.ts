/** Managers over a replication that is instant: what one applies, all apply. */

import { sleep } from "../../lib/base/clock.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { silentLogger } from "../../lib/base/logger.ts";
import { pack, unpack } from "../../lib/base/msgpack.ts";
import {
  type ClusterStatus,
  clusterStatusMethod,
  createTopicMethod,
  type HeartbeatBrokerAnswer,
  heartbeatBrokerMethod,
  type HeartbeatBrokerRequest,
  type Method,
  registerBrokerMethod,
} from "../../lib/client/protocol.ts";
import { Manager, type ManagerNode } from "../../lib/manager/manager.ts";
import { MetadataMachine } from "../../lib/manager/metadata.ts";
import type { UpkeepSettings } from "../../lib/manager/upkeep_desk.ts";
import type { Call, Handler } from "../../lib/net/rpc.ts";
import type { NodeStatus } from "../../lib/replica/node_protocol.ts";
import { VirtualClock } from "../atm/virtual_clock.ts";
import { unlimited } from "./fixture.ts";

export const second = 1000;
const names = ["m1", "m2", "m3"];

interface Server {
  readonly machine: MetadataMachine;
  readonly manager: Manager;
  readonly handlers: Map<string, Handler>;
}

export class Managers {
  readonly clock = new VirtualClock();
  readonly servers = new Map<string, Server>();
  leader: string | null = "m1";
  term = 1;
  /** Whether the leader's no-op is committed. */
  readReady = true;
  /** Whether the leader still reaches a majority. */
  quorum = true;
  private index = 0;

  constructor(
    liveness = { intervalMs: second, timeToDeadMs: 10 * second },
    upkeep?: UpkeepSettings,
    groupRetentionMs = 0,
  ) {
    for (const name of names) {
      const machine = new MetadataMachine();
      const handlers = new Map<string, Handler>();
      const manager = new Manager({
        node: this.node(name, machine),
        machine,
        rpc: { handle: (method, handler) => void handlers.set(method, handler) },
        clock: this.clock,
        logger: silentLogger,
        liveness,
        groupRetentionMs,
        ...(upkeep === undefined ? {} : { upkeep }),
      });
      this.servers.set(name, { machine, manager, handlers });
    }
  }

  /** Lets time pass, and with it everything that is due. */
  async pass(durationMs: number): Promise<void> {
    await this.clock.settle(sleep(this.clock, durationMs));
  }

  elect(name: string | null): void {
    this.leader = name;
    this.term += 1;
  }

  /** Asks a manager (the leader by default) through the bytes that would travel. */
  async call<Request, Answer>(
    method: Method<Request, Answer>,
    request: Request,
    name: string = this.leader ?? "m1",
  ): Promise<Answer> {
    const call = { deadlineMs: 30 * second, method: method.name } as Call;
    const handler = this.servers.get(name)!.handlers.get(method.name)!;
    const params = unpack(pack(method.request.encode(request)));
    return method.answer.decode(unpack(pack(await handler(params, call))), method.name);
  }

  /** The same, with the passing of the time that the answer takes. */
  ask<Request, Answer>(
    method: Method<Request, Answer>,
    request: Request,
    name?: string,
  ): Promise<Answer> {
    return this.clock.settle(this.call(method, request, name));
  }

  async register(...ids: string[]): Promise<void> {
    for (const id of ids) {
      const identity = { id, replicaId: `r-${id}`, address: `${id}:9101`, rack: "" };
      await this.ask(registerBrokerMethod, { ...identity, clusterId: null });
    }
  }

  heartbeat(
    id: string,
    more: Partial<HeartbeatBrokerRequest> = {},
  ): Promise<HeartbeatBrokerAnswer> {
    return this.ask(heartbeatBrokerMethod, beat(id, more));
  }

  async createTopic(
    name: string,
    manager?: string,
    partitions = 1,
    requestId = `create-${name}`,
  ): Promise<void> {
    const topic = { requestId, name, partitions, settings: unlimited };
    await this.ask(createTopicMethod, topic, manager);
  }

  status(): Promise<ClusterStatus> {
    return this.ask(clusterStatusMethod, { consistency: "linearizable" });
  }

  async aliveBrokers(): Promise<string[]> {
    const { brokers } = await this.status();
    return brokers.filter(({ alive }) => alive).map(({ id }) => id);
  }

  stop(): void {
    for (const { manager } of this.servers.values()) manager.stop();
  }

  private node(name: string, machine: MetadataMachine): ManagerNode {
    return {
      service: {
        command: (bytes) => Promise.resolve().then(() => this.replicate(name, bytes)),
        query: (question, stale) =>
          Promise.resolve().then(() => {
            if (!stale) this.requireQuorum();
            return machine.query(question);
          }),
      },
      replica: {
        stampMs: () => this.clock.wallMs(),
        status: () => ({
          role: this.leader === name ? "leader" : "follower",
          term: this.term,
          readReady: this.leader === name && this.readReady,
        }),
      },
      status: () => this.nodeStatus(name),
    };
  }

  private requireQuorum(): void {
    if (this.quorum && this.leader !== null) return;
    throw new TrilogError("unavailable", "Cannot reach a quorum: test");
  }

  private replicate(name: string, bytes: Uint8Array): Uint8Array {
    this.requireQuorum();
    this.index += 1;
    const context = { index: this.index, term: this.term, timeMs: this.clock.wallMs() };
    let answer = new Uint8Array(0);
    for (const [other, { machine }] of this.servers) {
      const applied = machine.apply(bytes, context);
      if (other === name) answer = new Uint8Array(applied);
    }
    return answer;
  }

  private nodeStatus(name: string): NodeStatus {
    return {
      name,
      replicaId: `r-${name}`,
      address: `${name}:9001`,
      cluster: "c1",
      role: this.leader === name ? "leader" : "follower",
      term: this.term,
      leader: this.leader,
      leaderAddress: this.leader === null ? null : `${this.leader}:9001`,
      commit: this.index,
      applied: this.index,
      lastIndex: this.index,
      caughtUp: null,
      members: [...names, "m3~0bad"].map((member) => ({
        name: member,
        replicaId: `r-${member}`,
        address: `${member}:9001`,
        role: member.includes("~") ? "learner" : "voter",
        lag: this.leader === name && member !== name ? 0 : null,
        heardMs: this.leader === name && member !== name ? 20 : null,
      })),
    };
  }
}

export function beat(
  id: string,
  more: Partial<HeartbeatBrokerRequest> = {},
): HeartbeatBrokerRequest {
  const nothing = { assignmentVersion: 0, led: [], hosted: [], maxWaitMs: 0, commitMs: null };
  return { replicaId: `r-${id}`, ...nothing, ...more };
}

/** Managers that have named their cluster, with brokers b1 to bN registered. */
export async function managersWith(
  brokers: number,
  upkeep?: UpkeepSettings,
): Promise<Managers> {
  const managers = new Managers(undefined, upkeep);
  await managers.pass(2 * second);
  const ids = Array.from({ length: brokers }, (_, at) => `b${at + 1}`);
  await managers.register(...ids);
  return managers;
}
