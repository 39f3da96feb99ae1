/** Routes about topics. */

import { createTopicMethod, deleteTopicMethod, metadataMethod } from "../client/protocol.ts";
import type { Queue, Route } from "./exchange.ts";
import { success } from "./message.ts";

export function topicRoutes(queue: Queue): Route[] {
  return [
    {
      method: "POST",
      path: "/topics",
      async run({ parameters, leftMs }) {
        const name = parameters.text("name", "topic_name");
        const partitions = parameters.optionalWhole("number_of_partitions") ?? 1;
        const settings = { retentionBytes: 0, retentionMs: 0 };
        const request = { requestId: queue.newRequestId(), name, partitions, settings };
        await queue.managers.request(createTopicMethod, request, leftMs());
        return success({ message: `Topic ${name} created with ${partitions} partition(s)` });
      },
    },
    {
      method: "GET",
      path: "/topics",
      async run({ parameters, leftMs }) {
        const consistency = parameters.flag("stale") ? "stale" : "linearizable";
        const request = { topics: null, consistency } as const;
        const { topics } = await queue.managers.request(metadataMethod, request, leftMs());
        return success({ topics: topics.map(({ name }) => name) });
      },
    },
    {
      method: "DELETE",
      path: "/topics",
      async run({ parameters, leftMs }) {
        const name = parameters.text("name", "topic_name");
        const request = { requestId: queue.newRequestId(), name };
        await queue.managers.request(deleteTopicMethod, request, leftMs());
        return success({ message: `Topic ${name} deleted with all its messages` });
      },
    },
  ];
}
