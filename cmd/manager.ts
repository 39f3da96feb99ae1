/** `trilog manager`: one of the managers of a queue cluster. */

import { TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { memberFlags, nodeFlags } from "../lib/cli/common_flags.ts";
import { metricsMethod } from "../lib/client/protocol.ts";
import { printError } from "../lib/cli/terminal.ts";
import { Manager } from "../lib/manager/manager.ts";
import { ManagerMetrics } from "../lib/manager/manager_metrics.ts";
import { MetadataMachine } from "../lib/manager/metadata.ts";
import { Node } from "../lib/replica/node.ts";
import { processFamilies } from "../lib/replica/process_metrics.ts";
import { descriptorLimit, shareDescriptors } from "./descriptors.ts";
import { ManagerHttp } from "./manager_http.ts";
import { processOptions, refuseOpenDoor } from "./server_setup.ts";
import { serve } from "./serving.ts";

/** The Raft group of the managers. */
export const MANAGERS_GROUP = "metadata";
/** A checkpoint is taken each time the log has grown by this much. */
const SEGMENT_BYTES = 16 * 2 ** 20;

/** Flags that only managers have, and that `trilog up` passes on to them. */
export const ownFlags = {
  ...memberFlags,
  heartbeatInterval: {
    type: "duration",
    default: "1s",
    help: "how often brokers are asked to report",
  },
  timeToDead: {
    type: "duration",
    default: "10s",
    help: "silence after which a broker is declared dead",
  },
  replaceAfter: {
    type: "duration",
    default: "10m",
    help: "time dead after which a broker's replicas are rebuilt elsewhere",
  },
  groupRetention: {
    type: "duration",
    default: "7d",
    help: "time without members after which a group and its offsets are deleted; 0: never",
  },
  rebalance: {
    type: "choice",
    choices: ["auto", "off"],
    default: "auto",
    help: "even out replicas and leaders by itself, a few partitions at a time",
  },
} as const;

export const command = defineCommand({
  name: "manager",
  summary: "run a manager of a queue cluster",
  details: "Managers agree on brokers, topics and placements. Any majority of them is enough.",
  examples: [
    "trilog manager --id m1 --listen 127.0.0.1:9001 --data ./m1 --peers m1=127.0.0.1:9001",
    "trilog manager --id m2 --listen 127.0.0.1:9002 --data ./m2" +
    " --peers m1=127.0.0.1:9001,m2=127.0.0.1:9002,m3=127.0.0.1:9003",
  ],
  interruption: "server",
  flags: {
    id: { type: "name", required: true, help: "name of this manager, such as m1" },
    listen: {
      type: "address",
      required: true,
      help: "address for managers, brokers and clients alike; port 0 picks one",
    },
    peers: { type: "members", required: true, help: "every manager, this one included" },
    data: { type: "path", required: true, help: "directory of this manager's own data" },
    http: { type: "address", help: "address of the HTTP API (default: none)" },
    ...ownFlags,
    ...nodeFlags,
  },
  run({ flags, terminal, signal }) {
    if (!flags.peers.some(({ name }) => name === flags.id)) {
      throw usage(`--peers does not name ${flags.id}`);
    }
    const liveness = {
      intervalMs: flags.heartbeatInterval,
      timeToDeadMs: flags.timeToDead,
      takeoverMs: flags.takeoverAfter,
    };
    if (liveness.intervalMs === 0 || liveness.timeToDeadMs <= liveness.intervalMs) {
      throw usage("--time-to-dead must be longer than --heartbeat-interval, and that above 0");
    }
    if (flags.http !== undefined) refuseOpenDoor(flags.http, flags);
    const shares = shareDescriptors(descriptorLimit(), flags.http !== undefined);
    const options = processOptions(flags, (line) => printError(terminal, line), shares);
    return serve(terminal, signal, (onFatal) => {
      // A node that finds its log rotted starts again with a machine of its own.
      let machine!: MetadataMachine;
      const node = Node.start({
        ...options,
        onFatal,
        group: MANAGERS_GROUP,
        machine: () => machine = new MetadataMachine(),
        peers: flags.peers,
        segmentBytes: SEGMENT_BYTES,
        takeoverMs: flags.takeoverAfter,
      });
      const { rpc } = node.process;
      const { logger } = options;
      const metrics = new ManagerMetrics(systemClock);
      const timed = metrics.timed(node);
      const clock = systemClock;
      const upkeep = { replaceAfterMs: flags.replaceAfter, rebalancing: flags.rebalance };
      const manager = new Manager({
        node: timed,
        machine,
        rpc,
        clock,
        logger,
        liveness,
        upkeep,
        groupRetentionMs: flags.groupRetention,
      });
      rpc.handle(metricsMethod.name, () => {
        const own = metrics.families(machine.state, manager.leaderships);
        const families = [...own, ...processFamilies(node.process)];
        return metricsMethod.answer.encode({ families });
      });
      const http = flags.http === undefined ? null : new ManagerHttp({
        name: flags.id,
        listen: flags.http,
        token: options.token,
        managers: flags.peers.map(({ address }) => address),
        node,
        maxConnections: shares.httpConnections,
        logger,
        onFatal,
      });
      const stop = async () => {
        await http?.stop();
        manager.stop();
        await node.stop();
      };
      return { address: node.address, stop };
    });
  },
});

function usage(state: string): TrilogError {
  return new TrilogError("usage", `Cannot run trilog manager: ${state}`);
}
