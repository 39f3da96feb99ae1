/** What any server process counts: its disk, its network, and the groups that live in it. */

import { histogramSamples, type MetricFamily, single } from "../base/metrics.ts";
import type { ServerProcess } from "./process.ts";

export function processFamilies({ host, rpc, counters, options }: ServerProcess): MetricFamily[] {
  const sums = { groups: 0, led: 0, uncommitted: 0, unapplied: 0 };
  for (const replica of host.replicas()) {
    const { commit, last, applied } = replica.status();
    sums.groups += 1;
    sums.led += Number(replica.isLeader);
    sums.uncommitted += last.index - commit;
    sums.unapplied += commit - applied;
  }
  return [
    ...(options.syncTimes === undefined ? [] : [{
      name: "trilog_disk_sync_seconds",
      type: "histogram" as const,
      help: "Time of one sync of a file.",
      samples: histogramSamples(options.syncTimes),
    }]),
    single("gauge", "trilog_groups", "Raft groups with a replica here.", sums.groups),
    single("gauge", "trilog_groups_led", "Raft groups led from here.", sums.led),
    single(
      "gauge",
      "trilog_uncommitted_entries",
      "Log entries here that are not known to be committed.",
      sums.uncommitted,
    ),
    single("gauge", "trilog_unapplied_entries", "Committed entries not applied.", sums.unapplied),
    single("gauge", "trilog_running_calls", "Remote calls being answered.", rpc.running),
    single("gauge", "trilog_connections", "Open connections.", counters.connections),
    single("counter", "trilog_received_bytes_total", "Bytes from the network.", counters.bytesIn),
    single("counter", "trilog_sent_bytes_total", "Bytes to the network.", counters.bytesOut),
    single(
      "counter",
      "trilog_dropped_frames_total",
      "Frames dropped for lack of a connection or of room in its queue.",
      counters.dropped,
    ),
    single(
      "counter",
      "trilog_refused_connections_total",
      "Connections refused, or closed for bytes that make no sense.",
      counters.refused + counters.malformed,
    ),
  ];
}
