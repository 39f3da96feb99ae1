/** When a healed deployment is well again, and what it looks like while it is not. */

import { raftGroup } from "../../broker/hosting_notes.ts";
import type { Replica } from "../../replica/replica.ts";
import type { Deployment } from "./deployment.ts";
import { METADATA_GROUP } from "./servers.ts";

/** What keeps the deployment from being well; empty when nothing does. */
export function complaints(deployment: Deployment): string[] {
  return [
    ...managerComplaints(deployment),
    ...brokerComplaints(deployment),
    ...partitionComplaints(deployment),
  ];
}

/** Every machine with its replicas, for people who find out why nothing goes on. */
export function describe(deployment: Deployment): string {
  return deployment.machines.map((machine) => {
    const replicas = [...machine.host?.replicas() ?? []].map((replica) => {
      const { role, term, commit, applied, last, membership, leader } = replica.status();
      const members = JSON.stringify({ ...membership, nodes: undefined });
      const rest = replica.resting ? ", quiescent" : "";
      return `  ${replica.group} ${role} term ${term} commit ${commit} applied ${applied} ` +
        `last ${last.index} leader ${leader} ${members}${rest}`;
    });
    const state = machine.running ? `runs as ${machine.replicaId}` : "is down";
    return [`${machine.name} ${state}`, ...replicas].join("\n");
  }).join("\n");
}

function managerComplaints(deployment: Deployment): string[] {
  const leader = deployment.leader(METADATA_GROUP)?.replica;
  if (leader === undefined) return ["the managers have no leader"];
  const ids = deployment.managers.map(({ replicaId }) => replicaId ?? "?");
  const found = membersComplaint(leader, ids);
  if (found !== null) return [`managers: ${found}`];
  const replicas = deployment.managers.map(({ host }) => host?.replica(METADATA_GROUP));
  return levelComplaint(leader, replicas) ?? [];
}

function brokerComplaints(deployment: Deployment): string[] {
  const { metadata } = deployment;
  if (metadata === null) return ["no manager has metadata"];
  return deployment.brokers.flatMap(({ name, part, replicaId, address }) => {
    if (part === "spare" || part === "gone") return [];
    const known = metadata.brokers.get(name);
    if (known === undefined || known.replicaId !== replicaId) return [`${name} is not registered`];
    if (known.address !== address) return [`${name} is known at ${known.address}`];
    return known.alive ? [] : [`${name} counts as dead`];
  });
}

function partitionComplaints(deployment: Deployment): string[] {
  const { metadata } = deployment;
  const topics = metadata?.sortedTopics() ?? [];
  const found = topics.flatMap((topic) =>
    topic.partitions.flatMap((partition, number) => {
      const group = raftGroup(partition);
      const label = `${topic.name}/${number} (${group})`;
      const leader = deployment.leader(group)?.replica;
      if (leader === undefined) return [`${label} has no leader`];
      const members = membersComplaint(leader, partition.replicas);
      if (members !== null) return [`${label}: ${members}`];
      const replicas = partition.replicas.map((id) =>
        deployment.brokers.find(({ replicaId }) => replicaId === id)?.host?.replica(group)
      );
      return levelComplaint(leader, replicas) ?? [];
    })
  );
  const tombstones = metadata?.tombstones.size ?? 0;
  return tombstones === 0 ? found : [...found, `${tombstones} replicas are still to be deleted`];
}

function membersComplaint(leader: Replica, wanted: readonly string[]): string | null {
  const { voters, outgoing, learners } = leader.raft.membership;
  const right = outgoing.length === 0 && learners.length === 0 &&
    [...voters].sort().join() === [...wanted].sort().join();
  return right ? null : `voters are ${voters.join()} and should be ${wanted.join()}`;
}

/** All replicas have applied everything that the leader's log holds. */
function levelComplaint(
  leader: Replica,
  replicas: readonly (Replica | undefined)[],
): string[] | null {
  const end = leader.status().last.index;
  const behind = replicas.filter((replica) => replica?.appliedIndex !== end).length;
  return behind === 0 ? null : [`${leader.group}: ${behind} replicas are not at ${end}`];
}
