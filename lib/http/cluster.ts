/** Routes about the servers of the cluster. */

import {
  type BrokerStatus,
  type ClusterStatus,
  clusterStatusMethod,
  drainBrokerMethod,
  type ManagerStatus,
  removeBrokerMethod,
} from "../client/protocol.ts";
import type { Exchange, Queue, Route } from "./exchange.ts";
import { type JsonFields, success } from "./message.ts";

/** A manager that the leader heard within this time lives. */
const MANAGER_ALIVE_MS = 5_000;

export function clusterRoutes(queue: Queue): Route[] {
  return [
    {
      method: "GET",
      path: "/brokers",
      async run(exchange) {
        const status = await statusOf(queue, exchange);
        return success({ brokers: status.brokers.map((broker) => brokerFields(broker, status)) });
      },
    },
    {
      method: "GET",
      path: "/managers",
      async run(exchange) {
        const { managers } = await statusOf(queue, exchange);
        const writer = managers.find(({ role }) => role === "leader");
        return success({ writer: writer?.id ?? null, managers: managers.map(managerFields) });
      },
    },
    {
      method: "POST",
      path: "/brokers/drain",
      async run({ parameters, leftMs }) {
        const broker = parameters.text("broker");
        const draining = !parameters.flag("cancel");
        const request = { requestId: queue.newRequestId(), broker, draining };
        await queue.managers.request(drainBrokerMethod, request, leftMs());
        const state = draining ? "is being emptied: GET /brokers shows how far" : "is in use again";
        return success({ message: `Broker ${broker} ${state}` });
      },
    },
    {
      method: "POST",
      path: "/brokers/remove",
      async run({ parameters, leftMs }) {
        const broker = parameters.text("broker");
        const request = { requestId: queue.newRequestId(), broker };
        await queue.managers.request(removeBrokerMethod, request, leftMs());
        return success({ message: `Broker ${broker} removed` });
      },
    },
  ];
}

async function statusOf(queue: Queue, { parameters, leftMs }: Exchange): Promise<ClusterStatus> {
  const consistency = parameters.flag("stale") ? "stale" : "linearizable";
  return await queue.managers.request(clusterStatusMethod, { consistency }, leftMs());
}

function brokerFields(broker: BrokerStatus, { partitions }: ClusterStatus): JsonFields {
  const { id, address, rack, alive, draining, held, lastHeartbeatMs, replicaId } = broker;
  const names = (list: ClusterStatus["partitions"]) =>
    list.map(({ topic, partition }) => `${topic}/${partition}`);
  return {
    id,
    address,
    rack,
    alive,
    draining,
    // Replicas that it may have data of, also of partitions that are on their way elsewhere.
    replicas_held: held,
    // Milliseconds since then, as the leading manager heard it.
    last_heartbeat_ms: lastHeartbeatMs,
    partitions_led: names(partitions.filter(({ leader }) => leader === replicaId)),
    partitions_hosted: names(partitions.filter(({ replicas }) => replicas.includes(replicaId))),
  };
}

function managerFields({ id, address, role, behind, lastHeardMs }: ManagerStatus): JsonFields {
  const writer = role === "leader";
  return {
    id,
    address,
    role,
    writer,
    alive: writer || (lastHeardMs !== null && lastHeardMs < MANAGER_ALIVE_MS),
    last_heartbeat_ms: writer ? 0 : lastHeardMs,
    entries_behind: writer ? 0 : behind,
  };
}
