/** `trilog recover`: a node's directory becomes that of a cluster of one. */

import { randomIdentity } from "../lib/base/system_random.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { encodeCommand } from "../lib/manager/command.ts";
import { leap } from "../lib/manager/leaps.ts";
import {
  type LoneNode,
  type LoneRecovery,
  lookAtLone,
  recoverLone,
  uncertainEntries,
} from "../lib/replica/lone_recovery.ts";
import { openSessionCommand, sessionCommand } from "../lib/replica/sessions.ts";
import { existingDataDirectory } from "./data_directory.ts";
import { MANAGERS_GROUP } from "./manager.ts";

const SEGMENT_BYTES = 16 * 2 ** 20;

export const command = defineCommand({
  name: "recover",
  summary: "the last resort for a manager, atm or kv node without its majority",
  details: "The node must not be running, and no other node of its cluster may ever run again:\n" +
    "pick the one with the newest log (the highest term, then the highest index). It goes\n" +
    "on alone, with all that it has; what only the others had is lost. Then add new nodes\n" +
    "with empty data directories to it. The old files are kept in set-aside-NUMBER.\n" +
    "Without --accept-loss the command only prints what it found, and exits with 1.",
  examples: ["trilog recover ./m1", "trilog recover ./m1 --accept-loss"],
  positionals: { directory: { help: "data directory of one node", completion: "file" } },
  flags: { acceptLoss: { type: "boolean", help: "do it" } },
  async run({ flags, args, json, terminal }) {
    const disk = existingDataDirectory(args.directory);
    if (!flags.acceptLoss) {
      const node = lookAtLone(disk);
      const lines = json ? [JSON.stringify(nodeObject(node))] : nodeLines(node);
      for (const line of lines) await terminal.print(line);
      return exitStatus.failed;
    }
    const done = await recoverLone(disk, {
      newIdentity: randomIdentity,
      segmentBytes: SEGMENT_BYTES,
      keepsCluster: (group) => group === MANAGERS_GROUP,
      commands: (group, lastIndex) => group === MANAGERS_GROUP ? managersLeap(lastIndex) : [],
    });
    const lines = json ? [JSON.stringify(recoveryObject(done))] : recoveryLines(done);
    for (const line of lines) await terminal.print(line);
    return exitStatus.done;
  },
});

/** Brokers and clients pass over versions that they have seen, and numbers are never reused. */
function managersLeap(lastIndex: number): Uint8Array[] {
  // A session has the number of the entry that opens it.
  const session = lastIndex + 1;
  const command = encodeCommand(leap, {});
  const request = { session, sequence: 1, lowestUnacknowledged: 1, command };
  return [openSessionCommand(), sessionCommand(request)];
}

function nodeObject(node: LoneNode) {
  const { identity: { name, replicaId }, group: { cluster, group }, log } = node;
  const { term } = log.hardState;
  const members = Object.values(log.membership.nodes).map((member) => member.name).sort();
  const { last } = log;
  return {
    name,
    replicaId,
    cluster,
    group,
    term,
    last,
    uncertain: uncertainEntries(node),
    members,
  };
}

function nodeLines(node: LoneNode): string[] {
  const { name, cluster, group, term, last, uncertain, members } = nodeObject(node);
  const known = uncertain === 0 ? "all of them known to be committed" : `of which the last ` +
    `${uncertain} may or may not be committed`;
  return [
    `${name} is a node of group ${group} in cluster ${cluster}, with ${members.join(", ")}`,
    `its log ends at index ${last.index} of term ${last.term}, ${known}; its term is ${term}`,
    "whatever the others acknowledged without it would be lost",
    "nothing was changed: --accept-loss makes it a cluster of one",
  ];
}

function recoveryObject({ node, cluster, replicaId, setAside }: LoneRecovery) {
  const { name, group, last } = nodeObject(node);
  return { name, group, last, cluster, replicaId, setAside };
}

function recoveryLines(done: LoneRecovery): string[] {
  const { name, group, last, cluster, replicaId, setAside } = recoveryObject(done);
  return [
    `${name} is the only member of group ${group} now, as ${replicaId} in cluster ${cluster}`,
    `it has all entries up to index ${last.index}; what only the others had is lost`,
    `its old files are in ${setAside}; the others must never run again on theirs`,
  ];
}
