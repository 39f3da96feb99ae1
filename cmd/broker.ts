/** `trilog broker`: one of the brokers of a queue cluster. */

import { limits } from "../lib/base/limits.ts";
import { Broker } from "../lib/broker/broker.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { nodeFlags } from "../lib/cli/common_flags.ts";
import { printError } from "../lib/cli/terminal.ts";
import { processOptions } from "./server_setup.ts";
import { serve } from "./serving.ts";

/** Flags that only brokers have, and that `trilog up` passes on to them. */
export const ownFlags = {
  segmentBytes: {
    type: "size",
    min: limits.leastSegmentBytes,
    max: limits.segmentBytes,
    default: "64MiB",
    help:
      "largest log segment; retention drops whole ones, so small limits and disks make them smaller",
  },
} as const;

export const command = defineCommand({
  name: "broker",
  summary: "run a broker of a queue cluster",
  details:
    "A broker hosts the partitions that the managers assign to it. It may be started before\n" +
    "them, and goes on without them.",
  examples: [
    "trilog broker --id b1 --listen 127.0.0.1:9101 --managers 127.0.0.1:9001 --data ./b1",
    "trilog broker --id b2 --listen 127.0.0.1:9102 --data ./b2 --rack east" +
    " --managers 127.0.0.1:9001,127.0.0.1:9002,127.0.0.1:9003",
  ],
  interruption: "server",
  flags: {
    id: { type: "name", required: true, help: "name of this broker, such as b1" },
    listen: {
      type: "address",
      required: true,
      help: "address for brokers and clients alike; port 0 picks one",
    },
    managers: { type: "addresses", required: true, help: "some managers of the cluster" },
    data: { type: "path", required: true, help: "directory of this broker's own data" },
    rack: { type: "string", help: "failure domain: replicas are spread over several" },
    ...ownFlags,
    ...nodeFlags,
  },
  run({ flags, terminal, signal }) {
    const options = processOptions(flags, (line) => printError(terminal, line));
    return serve(terminal, signal, (onFatal) =>
      Broker.start({
        ...options,
        onFatal,
        managers: flags.managers,
        rack: flags.rack ?? "",
        segmentBytes: flags.segmentBytes,
      }));
  },
});
