/** Kills leaders of a cluster of its own and measures how long nothing is acknowledged. */

import { unlessAborted } from "../lib/base/abort.ts";
import { utf8 } from "../lib/base/bytes.ts";
import { sleep } from "../lib/base/clock.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { Samples } from "../lib/cli/samples.ts";
import { printError, type Terminal } from "../lib/cli/terminal.ts";
import { Client } from "../lib/client/client.ts";
import { createTopicMethod } from "../lib/client/protocol.ts";
import { LocalCluster, type Plan, planCluster, whenReady } from "./local_cluster.ts";

const TOPIC = "failover";
const SETTLE_MS = 1_500;
const WATCH_MS = 3_000;

/**
 * Gaps in milliseconds, one a kill; a killed broker is started again before the next. Null where
 * the signal ended it. The cluster and its files are gone afterwards.
 */
export async function measureFailover(
  basePort: number,
  runs: number,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<Samples | null> {
  const data = Deno.makeTempDirSync({ prefix: "trilog-bench-" });
  const plan = planCluster({ data, managers: 3, brokers: 3, basePort }, {});
  const cluster = new LocalCluster(terminal, true);
  try {
    return await unlessAborted(gapsOfKills(cluster, plan, runs, terminal), signal);
  } finally {
    await cluster.stop();
    Deno.removeSync(data, { recursive: true });
  }
}

async function gapsOfKills(
  cluster: LocalCluster,
  plan: Plan,
  runs: number,
  terminal: Terminal,
): Promise<Samples> {
  await cluster.start([...plan.managers, ...plan.brokers]);
  await whenReady(plan, "");
  const client = await Client.connect({ bootstrap: plan.bootstrap });
  try {
    const request = {
      requestId: client.newRequestId(),
      name: TOPIC,
      partitions: 1,
      settings: { retentionBytes: 0, retentionMs: 0 },
    };
    await client.managers.request(createTopicMethod, request, WATCH_MS);
    const gaps = new Samples(runs);
    for (let run = 1; run <= runs; run += 1) {
      const gapMs = await gapOfOneKill(client, cluster, plan);
      printError(terminal, `kill ${run} of ${runs}: ${gapMs.toFixed(0)} ms`);
      gaps.add(gapMs);
      await whenReady(plan, "");
    }
    return gaps;
  } finally {
    client.close();
  }
}

/** Sends one message after another, kills the leader in between; the longest pause counts. */
async function gapOfOneKill(client: Client, cluster: LocalCluster, plan: Plan): Promise<number> {
  const producer = client.producer({ lingerMs: 0 });
  const value = utf8("x".repeat(100));
  let longestMs = 0;
  let lastMs = systemClock.monotonicMs();
  let killed = false;
  const startMs = lastMs;
  while (lastMs - startMs < SETTLE_MS + WATCH_MS) {
    await producer.send(TOPIC, { value });
    const nowMs = systemClock.monotonicMs();
    if (killed) longestMs = Math.max(longestMs, nowMs - lastMs);
    lastMs = nowMs;
    if (!killed && nowMs - startMs > SETTLE_MS) {
      const { address } = await client.route(TOPIC, 0);
      const leader = plan.brokers.find((broker) => broker.address === address);
      if (leader !== undefined) cluster.kill(leader.id);
      killed = leader !== undefined;
      lastMs = systemClock.monotonicMs();
    }
  }
  await producer.stop();
  // Failover must not be measured against a replica that is still coming back.
  await sleep(systemClock, SETTLE_MS);
  return longestMs;
}
