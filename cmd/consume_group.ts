/** `trilog consume --group`: prints what a consumer group grants to this member. */

import type { Terminal } from "../lib/cli/terminal.ts";
import type { Client } from "../lib/client/client.ts";
import type { ConsumerOptions } from "../lib/client/consumer_options.ts";
import type { MessagePrinter } from "./message_printer.ts";

/** Nobody waits longer for a cluster that does not answer. */
const PATIENCE_MS = 30_000;

export interface GroupConsumption extends
  Required<
    Pick<ConsumerOptions, "from" | "onBehind" | "sessionTimeoutMs">
  > {
  /** A name that outlives a restart. */
  readonly instance: string | undefined;
  readonly follow: boolean;
  readonly printer: MessagePrinter;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
}

/**
 * Prints until the end there was at the start (in the partitions that are this member's then), for
 * ever, until enough was printed or until the signal; commits what was printed and leaves.
 */
export async function consumeInGroup(
  client: Client,
  topic: string,
  group: string,
  options: GroupConsumption,
): Promise<void> {
  const { follow, printer, terminal, signal, from, onBehind, sessionTimeoutMs, instance } = options;
  const ends = follow ? null : await endOffsets(client, topic);
  const consumer = client.consumer(group, [topic], {
    from,
    onBehind,
    sessionTimeoutMs,
    name: "trilog-consume",
    ...(instance === undefined ? {} : { instanceId: instance }),
    patienceMs: follow ? Infinity : PATIENCE_MS,
    ...(ends === null ? {} : { until: (_, partition) => ends[partition] ?? 0 }),
  });
  let printing = false;
  // What is being printed counts only when it is out: then the loop ends by itself.
  const interrupt = () => void (printing || consumer.stop().catch(() => {}));
  signal.addEventListener("abort", interrupt, { once: true });
  try {
    while (!printer.full && !signal.aborted) {
      const batch = await consumer.nextBatch(printer.room);
      if (batch === null) break;
      printing = true;
      await printer.print(batch.partition, batch.messages);
      // What waits in a buffer would be committed and lost if this process were killed.
      await terminal.flush();
      printing = false;
    }
  } finally {
    await consumer.stop({ failed: printing });
  }
}

async function endOffsets(client: Client, topic: string): Promise<number[]> {
  const { partitions } = await client.topic(topic);
  return await Promise.all(
    partitions.map(({ partition }) => client.offset(topic, partition, "latest")),
  );
}
