/**
 * PURE. What a broker must do so that what it hosts becomes what the managers want: a pure function
 * of the two. Its plan may be carried out in any order, interrupted at any point and made again:
 * joining, losing a broker, moving a partition and restarting are all this one path.
 *
 * What it never does: delete a replica without a tombstone that names its group and epoch; close
 * or ignore a replica because it is missing from the wanted ones (its group may still need its
 * vote).
 */

/**
 * What the managers want of a group that concerns this broker: to host a replica, or where it is
 * not among `replicas` any more, to serve until the group has let it go.
 */
export interface WantedReplica {
  readonly groupId: string;
  readonly epoch: number;
  /** Replica ids of the wanted voters; the first is the preferred leader. */
  readonly replicas: readonly string[];
  /** Whether this broker is a founder of the group and has not founded it yet. */
  readonly bootstrap?: boolean;
  /** Set where this broker's replica of an older epoch goes on in this one. */
  readonly recovery?: unknown;
}

export interface GroupEpoch {
  readonly groupId: string;
  readonly epoch: number;
}

export interface Wanted {
  readonly replicas: readonly WantedReplica[];
  readonly tombstones: readonly GroupEpoch[];
}

/** What a replica knows as the leader of its group. */
export interface Leading {
  readonly voters: readonly string[];
  readonly outgoing: readonly string[];
  readonly learners: readonly string[];
  /** Whether that membership is committed: only then may the next change begin. */
  readonly committed: boolean;
  /** Other members that answer and have (nearly) all entries. */
  readonly caughtUp: readonly string[];
}

/** A replica on this broker's disk. */
export interface HostedGroup extends GroupEpoch {
  readonly open: boolean;
  /** Null unless this replica leads its group. */
  readonly leading: Leading | null;
}

export type Action =
  /** Make a replica where there is none: with the first membership or blank, as it is assigned. */
  | { readonly kind: "create"; readonly groupId: string; readonly epoch: number }
  /** Start a replica that lies on the disk. */
  | { readonly kind: "open"; readonly groupId: string; readonly epoch: number }
  /** Let an older epoch's log go on in the wanted one (`succession.ts`). */
  | { readonly kind: "succeed"; readonly groupId: string; readonly epoch: number }
  /** Stop a replica of an epoch that was given up, and keep its files elsewhere. */
  | { readonly kind: "give_up"; readonly groupId: string; readonly epoch: number }
  /** Stop a replica and remove its data. */
  | { readonly kind: "delete"; readonly groupId: string; readonly epoch: number }
  /** Ask Raft for a new membership of a group that is led here. */
  | {
    readonly kind: "change_members";
    readonly groupId: string;
    readonly voters: readonly string[];
    readonly learners: readonly string[];
  }
  /** Hand the leadership to the preferred leader. */
  | { readonly kind: "transfer_leadership"; readonly groupId: string; readonly to: string };

/** The actions due now, sorted by group; empty when all is as wanted. `self`: own replica id. */
export function reconcile(
  self: string,
  wanted: Wanted,
  hosted: readonly HostedGroup[],
): readonly Action[] {
  const wantedByGroup = new Map(wanted.replicas.map((replica) => [replica.groupId, replica]));
  const hostedGroups = new Set(hosted.map((replica) => replica.groupId));
  const buried = new Map(wanted.tombstones.map(({ groupId, epoch }) => [groupId, epoch]));
  const actions: Action[] = [];
  for (const { groupId, epoch, replicas, bootstrap = false } of wanted.replicas) {
    // A founder that is to be elsewhere by now founds all the same: the others may need its vote.
    if (hostedGroups.has(groupId) || !(bootstrap || replicas.includes(self))) continue;
    actions.push({ kind: "create", groupId, epoch });
  }
  for (const replica of hosted) {
    const { groupId, epoch } = replica;
    const here = wantedByGroup.get(groupId);
    const buriedEpoch = buried.get(groupId) ?? 0;
    const released = !here?.replicas.includes(self) && buriedEpoch === epoch;
    const action = released
      ? { kind: "delete", groupId, epoch } as const
      : outlived(here, buriedEpoch, replica) ?? keep(self, here, replica);
    if (action !== null) actions.push(action);
  }
  return actions.sort((left, right) =>
    left.groupId < right.groupId ? -1 : Number(left.groupId !== right.groupId)
  );
}

/**
 * A replica of an epoch that was given up must not take part any more; nor is it removed, since
 * somebody may still want its data. A tombstone of a later epoch says the same as an assignment.
 */
function outlived(
  wanted: WantedReplica | undefined,
  buriedEpoch: number,
  { groupId, epoch }: HostedGroup,
): Action | null {
  const wantedEpoch = wanted?.epoch ?? 0;
  if (Math.max(wantedEpoch, buriedEpoch) <= epoch) return null;
  const goesOn = wantedEpoch > epoch && (wanted?.recovery ?? null) !== null;
  return { kind: goesOn ? "succeed" : "give_up", groupId, epoch: wantedEpoch || buriedEpoch };
}

function keep(
  self: string,
  wanted: WantedReplica | undefined,
  hosted: HostedGroup,
): Action | null {
  const { groupId, epoch } = hosted;
  if (wanted !== undefined && wanted.epoch !== epoch) return null;
  if (!hosted.open) return { kind: "open", groupId, epoch };
  if (wanted === undefined || hosted.leading === null) return null;
  return changeMembers(groupId, wanted.replicas, hosted.leading) ??
    moveLeadership(self, groupId, wanted.replicas, hosted.leading);
}

/**
 * The next step from the present membership to the wanted voters: first the missing ones learn
 * beside the present voters, then one joint change swaps the voters.
 */
function changeMembers(
  groupId: string,
  replicas: readonly string[],
  leading: Leading,
): Action | null {
  if (!leading.committed || leading.outgoing.length > 0) return null;
  const missing = replicas.filter((id) => !leading.voters.includes(id)).sort();
  if (missing.length === 0 || missing.every((id) => leading.caughtUp.includes(id))) {
    const voters = [...replicas].sort();
    if (sameSet(voters, leading.voters) && leading.learners.length === 0) return null;
    if (missing.every((id) => leading.learners.includes(id))) {
      return { kind: "change_members", groupId, voters, learners: [] };
    }
  }
  if (sameSet(missing, leading.learners)) return null;
  const voters = [...leading.voters].sort();
  return { kind: "change_members", groupId, voters, learners: missing };
}

function moveLeadership(
  self: string,
  groupId: string,
  replicas: readonly string[],
  leading: Leading,
): Action | null {
  const preferred = replicas[0];
  // In the middle of a change a new leader would have to find out anew how far the learners are.
  const settled = leading.committed && leading.outgoing.length === 0 &&
    leading.learners.length === 0 && sameSet(replicas, leading.voters);
  if (preferred === self || !settled || !leading.caughtUp.includes(preferred)) return null;
  return { kind: "transfer_leadership", groupId, to: preferred };
}

function sameSet(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((id) => right.includes(id));
}
