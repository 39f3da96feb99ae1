/**
 * PURE. Which member of a consumer group consumes which partition. Both strategies are sticky: a
 * partition stays where it is as long as the division stays even, so that a member who comes or
 * goes moves as few of them as can be.
 *
 * `range` divides each topic by itself: its subscribers get equally many of its partitions (give
 * or take one), in ranges where nobody held any before. `round_robin` divides all partitions
 * together, so that members with the same topics have equally many (give or take one) in total.
 */

export type Strategy = "range" | "round_robin";

export interface Subscriber {
  readonly id: string;
  readonly topics: readonly string[];
}

export interface GroupTopic {
  readonly name: string;
  /** Identities of its partitions, in order of their numbers. */
  readonly partitions: readonly string[];
}

/**
 * The member for each partition, by the partition's identity. Partitions of topics that nobody
 * subscribes to are missing. `holders` names the present member of each partition; those who are
 * not among `members`, or not subscribed, hold nothing.
 */
export function assign(
  strategy: Strategy,
  members: readonly Subscriber[],
  topics: readonly GroupTopic[],
  holders: ReadonlyMap<string, string>,
): Map<string, string> {
  const sorted = [...members].sort((left, right) => left.id < right.id ? -1 : 1);
  const shares = topics.map((topic) => ({
    partitions: topic.partitions,
    subscribers: sorted.filter(({ topics }) => topics.includes(topic.name)).map(({ id }) => id),
  })).filter(({ subscribers }) => subscribers.length > 0);
  if (strategy === "range") {
    return new Map(shares.flatMap((share) => [...divide(share, holders)]));
  }
  return dealOut(shares, holders);
}

/** Partitions that go to the same members. */
interface Share {
  readonly partitions: readonly string[];
  /** Sorted. */
  readonly subscribers: readonly string[];
}

/** Equal parts of one topic. */
function divide(share: Share, holders: ReadonlyMap<string, string>): Map<string, string> {
  const { partitions, subscribers } = share;
  const held = new Map(subscribers.map((id) => [id, 0]));
  for (const partition of partitions) {
    const holder = holders.get(partition);
    if (holder !== undefined && held.has(holder)) held.set(holder, held.get(holder)! + 1);
  }
  const least = Math.floor(partitions.length / subscribers.length);
  const larger = partitions.length % subscribers.length;
  // Who holds most keeps one more; the sort is stable, so that names decide between equals.
  const room = new Map(
    [...subscribers].sort((left, right) => held.get(right)! - held.get(left)!)
      .map((id, at) => [id, at < larger ? least + 1 : least]),
  );
  const result = new Map<string, string>();
  const give = (partition: string, id: string) => {
    result.set(partition, id);
    room.set(id, room.get(id)! - 1);
  };
  for (const partition of partitions) {
    const holder = holders.get(partition);
    if (holder !== undefined && (room.get(holder) ?? 0) > 0) give(partition, holder);
  }
  let next = 0;
  for (const partition of partitions) {
    if (result.has(partition)) continue;
    while (room.get(subscribers[next]) === 0) next += 1;
    give(partition, subscribers[next]);
  }
  return result;
}

/** All partitions of all topics, each to the subscriber that has fewest. */
function dealOut(
  shares: readonly Share[],
  holders: ReadonlyMap<string, string>,
): Map<string, string> {
  const result = new Map<string, string>();
  const loads = new Map(shares.flatMap(({ subscribers }) => subscribers.map((id) => [id, 0])));
  const give = (partition: string, id: string) => {
    result.set(partition, id);
    loads.set(id, loads.get(id)! + 1);
  };
  for (const { partitions, subscribers } of shares) {
    const subscribed = new Set(subscribers);
    for (const partition of partitions) {
      const holder = holders.get(partition);
      if (holder !== undefined && subscribed.has(holder)) give(partition, holder);
    }
  }
  for (const { partitions, subscribers } of shares) {
    for (const partition of partitions) {
      if (!result.has(partition)) give(partition, leastLoaded(subscribers, loads));
    }
  }
  const piles = merged(shares).map((share) => pileOf(share, result));
  for (let move = widest(piles, loads); move !== null; move = widest(piles, loads)) {
    const { pile, giver, taker } = move;
    // The last one moves: what a member has had from the beginning stays.
    const partition = pile.owned.get(giver)!.pop()!;
    pile.owned.get(taker)!.push(partition);
    loads.set(giver, loads.get(giver)! - 1);
    give(partition, taker);
  }
  return result;
}

/** Shares of the same subscribers as one. */
function merged(shares: readonly Share[]): Share[] {
  const bySubscribers = new Map<string, Share>();
  for (const { partitions, subscribers } of shares) {
    const key = subscribers.join();
    const before = bySubscribers.get(key)?.partitions ?? [];
    bySubscribers.set(key, { partitions: [...before, ...partitions], subscribers });
  }
  return [...bySubscribers.values()];
}

/** A share as it is divided. */
interface Pile {
  readonly subscribers: readonly string[];
  readonly owned: ReadonlyMap<string, string[]>;
}

function pileOf({ partitions, subscribers }: Share, result: ReadonlyMap<string, string>): Pile {
  const owned = new Map(subscribers.map((id) => [id, [] as string[]]));
  for (const partition of partitions) owned.get(result.get(partition)!)!.push(partition);
  return { subscribers, owned };
}

interface Move {
  readonly pile: Pile;
  readonly giver: string;
  readonly taker: string;
  /** How many more the giver has. */
  readonly gap: number;
}

/** The move that evens out most, or null where none does: both sides would just change places. */
function widest(piles: readonly Pile[], loads: ReadonlyMap<string, number>): Move | null {
  let best: Move | null = null;
  for (const pile of piles) {
    const givers = pile.subscribers.filter((id) => pile.owned.get(id)!.length > 0);
    if (givers.length === 0) continue;
    const giver = givers.reduce((most, id) => loads.get(id)! > loads.get(most)! ? id : most);
    const taker = leastLoaded(pile.subscribers, loads);
    const gap = loads.get(giver)! - loads.get(taker)!;
    if (gap >= 2 && gap > (best?.gap ?? 0)) best = { pile, giver, taker, gap };
  }
  return best;
}

function leastLoaded(ids: readonly string[], loads: ReadonlyMap<string, number>): string {
  return ids.reduce((least, id) => loads.get(id)! < loads.get(least)! ? id : least);
}
