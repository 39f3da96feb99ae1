/** `trilog inspect`: what a data directory holds, without a running server. */

import { type Context, defineCommand } from "../lib/cli/command.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { tableLines } from "../lib/cli/table.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import { roundedSize } from "../lib/cli/units.ts";
import { EntryKind, type Membership } from "../lib/raft/types.ts";
import type { Disk } from "../lib/storage/disk.ts";
import {
  type DirectoryInspection,
  type GroupInspection,
  inspectDirectory,
  recordsOf,
  type SegmentInspection,
} from "../lib/storage/inspect.ts";
import { RecordKind, type StoredRecord } from "../lib/storage/record.ts";
import { hardStateIn } from "../lib/storage/segment_scan.ts";
import { existingDataDirectory, faultLine, groupChecks } from "./data_directory.ts";
import { describeEntry } from "./stored_words.ts";

const flags = {
  records: { type: "boolean", help: "list every record of every segment" },
  group: { type: "string", help: "only this group, such as atm" },
} as const;
const positionals = {
  directory: { help: "data directory of one node", completion: "file" },
} as const;

type InspectContext = Context<typeof flags, typeof positionals>;

export const command = defineCommand({
  name: "inspect",
  summary: "show segments, records, hard state and snapshots of a data directory",
  details: [
    "Changes nothing, and needs no lock: a directory in use may be looked at. Every",
    "record's checksum is verified on the way; `trilog verify` reads the snapshots, too.",
  ].join("\n"),
  examples: ["trilog inspect ./trilog-data/b1", "trilog inspect ./a1 --group atm --records"],
  flags,
  positionals,
  async run(context) {
    const disk = existingDataDirectory(context.args.directory);
    const found = inspectDirectory(disk, groupChecks);
    const wanted = context.flags.group;
    const groups = found.groups.filter(({ identity }) =>
      wanted === undefined || identity?.group === wanted
    );
    if (context.json) await printJson(context, disk, { ...found, groups });
    else await printText(context, disk, { ...found, groups });
    return exitStatus.done;
  },
});

/** One object for the directory, one for each group, and one for each record that was asked for. */
async function printJson(
  { terminal, flags }: InspectContext,
  disk: Disk,
  { identity, faults, groups }: DirectoryInspection,
): Promise<void> {
  await terminal.print(JSON.stringify({ kind: "directory", identity, faults }));
  for (const group of groups) {
    await terminal.print(JSON.stringify({ kind: "group", ...group }));
    if (!flags.records) continue;
    for (const segment of group.segments) {
      for (const record of recordsOf(disk, group.directory, segment)) {
        const { payload, kind, ...fields } = record;
        const described = kind === RecordKind.entry
          ? describeEntry(group.identity?.group ?? "", record.entryKind, payload)
          : "";
        const shown = { ...fields, payloadBytes: payload.length, described };
        const line = { kind: "record", file: segment.file, record: kindName(kind), ...shown };
        await terminal.print(JSON.stringify(line));
      }
    }
  }
}

async function printText(
  { terminal, flags }: InspectContext,
  disk: Disk,
  { identity, faults, groups }: DirectoryInspection,
): Promise<void> {
  if (identity !== null) {
    await printLines(
      terminal,
      tableLines(["NODE", "REPLICA", "CLUSTER", "STARTS"], [
        [identity.name, identity.replicaId, identity.cluster ?? "none", identity.startCounter],
      ]),
    );
  }
  await printLines(terminal, faults.map((fault) => `FAULT ${faultLine(fault)}`));
  for (const group of groups) {
    await terminal.print("");
    await printLines(terminal, groupLines(group));
    if (!flags.records) continue;
    for (const segment of group.segments) await printRecords(terminal, disk, group, segment);
  }
}

function groupLines(group: GroupInspection): string[] {
  const { identity, directory, log, segments, snapshots, unsyncedBytes, faults } = group;
  const lines = [`group ${identity?.group ?? "unknown"} in ${directory}`];
  if (log !== null) {
    const { term, vote, commit } = log.hardState;
    lines.push(
      `  term ${term}, vote ${voteText(vote, log.membership)}, commit ${commit}`,
      `  entries ${log.firstIndex} to ${log.last.index}, the last of term ${log.last.term}`,
      `  members ${membersText(log.membership)}`,
    );
  }
  if (unsyncedBytes > 0) lines.push(`  ${unsyncedBytes} bytes at the end were never synced`);
  lines.push(
    ...faults.map((fault) => `  ${fault.harmless ? "harmless:" : "FAULT"} ${faultLine(fault)}`),
  );
  const right = (title: string) => ({ title, align: "right" as const });
  const columns = ["SEGMENT", right("FIRST"), right("ENTRIES"), right("SIZE"), right("SYNCED")];
  const rows = segments.map(({ file, first, entries, sizeBytes, syncedBytes }) => [
    fileName(file),
    first,
    entries,
    roundedSize(sizeBytes),
    syncedBytes,
  ]);
  if (rows.length > 0) lines.push(...tableLines(columns, rows).map((line) => `  ${line}`));
  for (const { file, meta, stateBytes } of snapshots) {
    const { index, term } = meta.last;
    lines.push(
      `  snapshot ${fileName(file)}: up to entry ${index} of term ${term}, ` +
        roundedSize(stateBytes),
    );
  }
  return lines;
}

/** Whom the node voted for in its term, by name where it is a member. */
function voteText(vote: string | null, { nodes }: Membership): string {
  if (vote === null) return "none";
  return nodes[vote] === undefined ? vote : `${nodes[vote].name} (${vote})`;
}

function membersText({ voters, outgoing, learners, nodes }: Membership): string {
  const named = (ids: readonly string[]) =>
    ids.map((id) => `${nodes[id]?.name ?? "?"} (${id})`).join(", ");
  const parts = [named(voters) || "none"];
  if (outgoing.length > 0) parts.push(`leaving ${named(outgoing)}`);
  if (learners.length > 0) parts.push(`learning ${named(learners)}`);
  return parts.join("; ");
}

async function printRecords(
  terminal: Terminal,
  disk: Disk,
  group: GroupInspection,
  segment: SegmentInspection,
): Promise<void> {
  await terminal.print(`  ${fileName(segment.file)}`);
  for (const record of recordsOf(disk, group.directory, segment)) {
    const text = recordText(record, group.identity?.group ?? "");
    await terminal.print(`    ${String(record.position).padStart(10)}  ${text}`);
  }
}

function recordText(record: StoredRecord, group: string): string {
  const { kind, entryKind, index, term, timeMs, payload, synced } = record;
  if (kind === RecordKind.hardState) {
    const { vote, commit } = hardStateIn(record);
    return `hard state: term ${term}, vote ${vote ?? "none"}, commit ${commit}`;
  }
  if (kind === RecordKind.marker) return `marker: synced to ${synced}`;
  if (kind !== RecordKind.entry) return `${kindName(kind)}, ${payload.length} bytes`;
  const what = Object.entries(EntryKind).find(([, value]) => value === entryKind)?.[0];
  // No-ops repeat the stamp before them, and before the first command there is none.
  const time = timeMs === 0 ? "" : `, ${new Date(timeMs).toISOString()}`;
  const words = describeEntry(group, entryKind, payload);
  return `entry ${index}, term ${term}${time}, ${what}, ${payload.length} bytes` +
    (words === "" ? "" : `: ${words}`);
}

function kindName(kind: RecordKind): string {
  return Object.entries(RecordKind).find(([, value]) => value === kind)![0];
}

function fileName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

async function printLines(terminal: Terminal, lines: readonly string[]): Promise<void> {
  for (const line of lines) await terminal.print(line);
}
