/** `trilog group`: list, describe, reset and delete consumer groups. */

import { TrilogError } from "../lib/base/errors.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { tableLines } from "../lib/cli/table.ts";
import { counted, groupedNumber, roundedDuration } from "../lib/cli/units.ts";
import {
  type GroupPosition,
  groupPositions,
  type LogPosition,
  resetGroup,
} from "../lib/client/group_offsets.ts";
import {
  deleteGroupMethod,
  describeGroupMethod,
  type GroupDescription,
  listGroupsMethod,
} from "../lib/client/protocol.ts";
import { parsePosition } from "./log_position.ts";
import { newRequestId, withManagers } from "./managers_client.ts";
import { withClient } from "./queue_client.ts";

const commonFlags = { ...bootstrapFlags, ...securityFlags } as const;
const groupName = { group: { help: "the consumer group", completion: "group" } } as const;
const right = (title: string) => ({ title, align: "right" }) as const;

const list = defineCommand({
  name: "list",
  summary: "list the consumer groups",
  examples: ["trilog group list", "trilog group list --json"],
  flags: commonFlags,
  run: ({ flags, json, terminal }) =>
    withManagers(flags, async (ask) => {
      const { groups } = await ask(listGroupsMethod, { consistency: "linearizable" });
      if (json) {
        for (const { name, ...group } of groups) {
          await terminal.print(JSON.stringify({ group: name, ...group }));
        }
        return 0;
      }
      const columns = ["GROUP", "STATE", right("MEMBERS"), right("PARTITIONS"), "TOPICS"];
      const rows = groups.map(({ name, state, members, partitions, topics }) => [
        name,
        state,
        members,
        partitions,
        topics.join(" ") || "-",
      ]);
      for (const line of tableLines(columns, rows)) await terminal.print(line);
      return 0;
    }),
});

const describe = defineCommand({
  name: "describe",
  summary: "show a group's members and its position in each partition",
  details: "The lag of a partition is the number of its messages that the group has not committed.",
  examples: ["trilog group describe billing", "trilog group describe billing --json"],
  positionals: groupName,
  flags: commonFlags,
  run: ({ flags, args, json, terminal }) =>
    withClient(flags, async (client) => {
      const description = await client.managers.request(
        describeGroupMethod,
        { group: args.group },
        REQUEST_MS,
      );
      const positions = await groupPositions(client, description);
      if (json) {
        const { group: { name, ...summary }, members } = description;
        await terminal.print(
          JSON.stringify({ group: name, ...summary, members, partitions: positions }),
        );
        return 0;
      }
      for (const line of describeLines(description, positions)) await terminal.print(line);
      return 0;
    }),
});

const reset = defineCommand({
  name: "reset",
  summary: "have a group continue at another offset",
  details:
    "Refused while the group has members. Every partition of the topic is reset; to a time,\n" +
    "to its first message at or after it by the producers' clocks, or to its end.",
  examples: [
    "trilog group reset billing --topic orders --to earliest",
    "trilog group reset billing --topic orders --to 4711",
    "trilog group reset billing --topic orders --to 2030-01-31T12:00:00Z",
  ],
  positionals: groupName,
  flags: {
    topic: { type: "name", required: true, help: "the topic", completion: "topic" },
    to: {
      type: "string",
      required: true,
      placeholder: "POSITION",
      help: "earliest, latest, an offset or a time (RFC 3339)",
    },
    ...commonFlags,
  },
  run: ({ flags, args: { group }, json, terminal }) =>
    withClient(flags, async (client) => {
      const to = targetOf(flags.to);
      const partitions = await resetGroup(client, group, flags.topic, to);
      if (json) {
        await terminal.print(JSON.stringify({ group, topic: flags.topic, partitions }));
        return 0;
      }
      for (const { partition, offset } of partitions) {
        await terminal.print(
          `group ${group} goes on in ${flags.topic}/${partition} at offset ${offset}`,
        );
      }
      return 0;
    }),
});

const remove = defineCommand({
  name: "delete",
  summary: "delete a group and its offsets in all partitions",
  details: "Refused while the group has members. A group of that name that is made later begins\n" +
    "like any new one.",
  examples: ["trilog group delete billing", "trilog group delete billing --json"],
  positionals: groupName,
  flags: commonFlags,
  run: ({ flags, args: { group }, json, terminal }) =>
    withManagers(flags, async (ask) => {
      await ask(deleteGroupMethod, { requestId: newRequestId(), group });
      await terminal.print(json ? JSON.stringify({ group }) : `deleted group ${group}`);
      return 0;
    }),
});

export const command = defineCommand({
  name: "group",
  summary: "list, describe, reset and delete consumer groups",
  examples: ["trilog group list", "trilog group describe billing"],
  subcommands: [list, describe, reset, remove],
});

/** Time for a request that a person waits for, in milliseconds. */
const REQUEST_MS = 5_000;

function targetOf(text: string): LogPosition {
  const position = parsePosition(text);
  if (position !== null) return position;
  throw new TrilogError(
    "usage",
    `Cannot reset to ${JSON.stringify(text)}: expected earliest, latest, an offset or a time`,
  );
}

function describeLines(
  { group, members }: GroupDescription,
  positions: readonly GroupPosition[],
): string[] {
  const lag = positions.reduce((sum, position) => sum + position.lag, 0);
  const lines = [
    `group ${group.name} is ${group.state}: ${counted(members.length, "member")}, ` +
    `${counted(lag, "message")} behind, ${group.strategy.replace("_", " ")}`,
  ];
  if (members.length > 0) lines.push("", ...memberLines(members, positions));
  if (positions.length > 0) lines.push("", ...positionLines(positions));
  return lines;
}

function memberLines(
  members: GroupDescription["members"],
  positions: readonly GroupPosition[],
): string[] {
  return tableLines(
    ["MEMBER", "CLIENT", "INSTANCE", right("PARTITIONS"), right("SESSION"), right("HEARD")],
    members.map(({ id, client, instance, sessionTimeoutMs, lastHeardMs }) => [
      id,
      client || "-",
      instance ?? "-",
      positions.filter(({ owner }) => owner === id).length,
      roundedDuration(sessionTimeoutMs),
      lastHeardMs === null ? "-" : `${roundedDuration(lastHeardMs)} ago`,
    ]),
  );
}

function positionLines(positions: readonly GroupPosition[]): string[] {
  return tableLines(
    ["TOPIC", right("PARTITION"), right("COMMITTED"), right("END"), right("LAG"), "MEMBER"],
    positions.map(({ topic, partition, committed, end, lag, owner, target }) => [
      topic,
      partition,
      committed === null ? "-" : groupedNumber(committed),
      groupedNumber(end),
      groupedNumber(lag),
      owner === target ? owner ?? "-" : `${owner} (moving to ${target ?? "no member"})`,
    ]),
  );
}
