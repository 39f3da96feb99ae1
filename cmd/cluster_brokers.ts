/** `trilog cluster drain`, `remove`, `rebalance`: brokers that leave, and the balance of the load. */

import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { TrilogError } from "../lib/base/errors.ts";
import {
  clusterStatusMethod,
  drainBrokerMethod,
  rebalanceMethod,
  removeBrokerMethod,
} from "../lib/client/protocol.ts";
import { counted } from "../lib/cli/units.ts";
import { type Ask, newRequestId, withManagers } from "./managers_client.ts";
import { waitUntilDone } from "./progress_line.ts";

/** A broker that was just drained deletes its former replicas within this time. */
const DELETING_MS = 15_000;

const brokerArgument = {
  broker: { help: "name of the broker, such as b1", completion: "broker" },
} as const;

export const drain = defineCommand({
  name: "drain",
  summary: "empty a broker: its leaderships first, then its replicas",
  details:
    "Waits until the broker holds nothing. Ctrl-C ends the waiting, not the draining; the\n" +
    "same command again waits on. A drained broker gets no replicas until --cancel.",
  examples: ["trilog cluster drain b1", "trilog cluster drain b1 --cancel"],
  interruption: "graceful",
  positionals: brokerArgument,
  flags: {
    cancel: { type: "boolean", help: "let the broker have replicas again" },
    ...bootstrapFlags,
    ...securityFlags,
  },
  run: ({ flags, args: { broker }, json, terminal, signal }) =>
    withManagers(flags, async (ask) => {
      const draining = !flags.cancel;
      await ask(drainBrokerMethod, { requestId: newRequestId(), broker, draining });
      if (draining) {
        const look = async () => {
          const { led, held, draining } = await readBroker(ask, broker);
          if (!draining) throw cancelled(broker);
          const text = `${broker} leads ${counted(led, "partition")} and holds ` +
            counted(held, "replica");
          return { text, done: held === 0 };
        };
        if (!await waitUntilDone(terminal, signal, look)) return exitStatus.done;
      }
      const state = draining ? "empty" : "in use";
      await terminal.print(json ? JSON.stringify({ broker, state }) : `${broker} is ${state}`);
      return exitStatus.done;
    }),
});

export const remove = defineCommand({
  name: "remove",
  summary: "delete the registration of a broker that holds nothing",
  details: "A broker that was drained, or that died and was replaced. If it starts again, it\n" +
    "is refused and ends; with an empty data directory it may join as a new one.",
  examples: ["trilog cluster remove b1", "trilog cluster remove b4 --json"],
  positionals: brokerArgument,
  flags: { ...bootstrapFlags, ...securityFlags },
  run: ({ flags, args: { broker }, json, terminal }) =>
    withManagers(flags, async (ask) => {
      await ask(removeBrokerMethod, { requestId: newRequestId(), broker }, DELETING_MS);
      const state = "removed";
      await terminal.print(json ? JSON.stringify({ broker, state }) : `${broker} is ${state}`);
      return exitStatus.done;
    }),
});

export const rebalance = defineCommand({
  name: "rebalance",
  summary: "even out replicas and leaders over the brokers",
  details: "Also partitions that were placed by hand. A few are moved at a time. Ctrl-C ends it\n" +
    "after those that are on their way; the same command again goes on.",
  examples: ["trilog cluster rebalance", "trilog cluster rebalance --json"],
  interruption: "graceful",
  flags: { ...bootstrapFlags, ...securityFlags },
  run: ({ flags, json, terminal, signal }) =>
    withManagers(flags, async (ask) => {
      const look = async () => {
        const { moving, planned } = await ask(rebalanceMethod, null);
        const text = `${counted(moving, "partition")} on the way, ${planned} to come`;
        return { text, done: moving + planned === 0 };
      };
      if (!await waitUntilDone(terminal, signal, look)) return exitStatus.done;
      const { brokers } = await ask(clusterStatusMethod, { consistency: "linearizable" });
      for (const { id, hosted, led } of brokers) {
        const line = `${id} holds ${counted(hosted, "replica")} and leads ${led}`;
        await terminal.print(json ? JSON.stringify({ broker: id, hosted, led }) : line);
      }
      return exitStatus.done;
    }),
});

function cancelled(broker: string): TrilogError {
  const state = "another command has cancelled it";
  return new TrilogError("cancelled", `Cannot wait for the drain of broker ${broker}: ${state}`);
}

async function readBroker(ask: Ask, id: string) {
  const { brokers } = await ask(clusterStatusMethod, { consistency: "linearizable" });
  const broker = brokers.find((broker) => broker.id === id);
  if (broker !== undefined) return broker;
  throw new TrilogError("no_such_broker", `Cannot drain broker ${id}: it was removed`);
}
