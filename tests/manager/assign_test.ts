import { assert, assertEquals } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import {
  assign,
  type GroupTopic,
  type Strategy,
  type Subscriber,
} from "../../lib/manager/assign.ts";

const strategies: readonly Strategy[] = ["range", "round_robin"];

function topic(name: string, partitions: number): GroupTopic {
  return { name, partitions: Array.from({ length: partitions }, (_, at) => `${name}${at}`) };
}

function members(ids: string, ...topics: string[]): Subscriber[] {
  return [...ids].map((id) => ({ id, topics }));
}

/** `a: x0 x1 | b: x2`. */
function told(result: ReadonlyMap<string, string>): string {
  const byMember = new Map<string, string[]>();
  for (const [partition, member] of result) {
    byMember.set(member, [...byMember.get(member) ?? [], partition]);
  }
  return [...byMember.keys()].sort()
    .map((member) => `${member}: ${byMember.get(member)!.sort().join(" ")}`).join(" | ");
}

interface Case {
  readonly name: string;
  readonly strategy: Strategy;
  readonly members: readonly Subscriber[];
  readonly topics: readonly GroupTopic[];
  readonly holders?: Readonly<Record<string, string>>;
  readonly expected: string;
}

const cases: readonly Case[] = [
  {
    name: "range gives ranges, the first members one more",
    strategy: "range",
    members: members("abc", "x"),
    topics: [topic("x", 7)],
    expected: "a: x0 x1 x2 | b: x3 x4 | c: x5 x6",
  },
  {
    name: "range divides each topic by itself",
    strategy: "range",
    members: members("ab", "x", "y"),
    topics: [topic("x", 3), topic("y", 3)],
    expected: "a: x0 x1 y0 y1 | b: x2 y2",
  },
  {
    name: "round robin deals all topics together",
    strategy: "round_robin",
    members: members("ab", "x", "y"),
    topics: [topic("x", 3), topic("y", 3)],
    expected: "a: x0 x2 y1 | b: x1 y0 y2",
  },
  {
    name: "more members than partitions: some have none",
    strategy: "round_robin",
    members: members("abcd", "x"),
    topics: [topic("x", 2)],
    expected: "a: x0 | b: x1",
  },
  {
    name: "nobody subscribes to a topic: its partitions are nobody's",
    strategy: "range",
    members: members("a", "x"),
    topics: [topic("x", 1), topic("y", 2)],
    expected: "a: x0",
  },
  {
    name: "members with other topics get only those",
    strategy: "round_robin",
    members: [{ id: "a", topics: ["x"] }, { id: "b", topics: ["x", "y"] }],
    topics: [topic("x", 2), topic("y", 2)],
    expected: "a: x0 x1 | b: y0 y1",
  },
  {
    name: "a newcomer takes the fewest that make it even, by range",
    strategy: "range",
    members: members("abc", "x"),
    topics: [topic("x", 6)],
    holders: { x0: "a", x1: "a", x2: "a", x3: "b", x4: "b", x5: "b" },
    expected: "a: x0 x1 | b: x3 x4 | c: x2 x5",
  },
  {
    name: "a newcomer takes the fewest that make it even, by round robin",
    strategy: "round_robin",
    members: members("abc", "x"),
    topics: [topic("x", 7)],
    holders: { x0: "a", x1: "a", x2: "a", x3: "a", x4: "b", x5: "b", x6: "b" },
    expected: "a: x0 x1 | b: x4 x5 x6 | c: x2 x3",
  },
  {
    name: "who has one more keeps it",
    strategy: "range",
    members: members("ab", "x"),
    topics: [topic("x", 3)],
    holders: { x1: "b", x2: "b" },
    expected: "a: x0 | b: x1 x2",
  },
  {
    name: "only the partitions of a member that is gone move",
    strategy: "round_robin",
    members: members("bc", "x"),
    topics: [topic("x", 6)],
    holders: { x0: "a", x1: "a", x2: "b", x3: "b", x4: "c", x5: "c" },
    expected: "b: x0 x2 x3 | c: x1 x4 x5",
  },
  {
    name: "a holder that is not subscribed any more keeps nothing",
    strategy: "range",
    members: [{ id: "a", topics: ["y"] }, { id: "b", topics: ["x"] }],
    topics: [topic("x", 2), topic("y", 1)],
    holders: { x0: "a", x1: "b" },
    expected: "a: y0 | b: x0 x1",
  },
  {
    name: "without members nobody has anything",
    strategy: "round_robin",
    members: [],
    topics: [topic("x", 2)],
    holders: { x0: "a" },
    expected: "",
  },
];

for (const { name, strategy, members, topics, holders, expected } of cases) {
  Deno.test(`assignment: ${name}`, () => {
    const result = assign(strategy, members, topics, new Map(Object.entries(holders ?? {})));
    assertEquals(told(result), expected);
    const other = assign(
      strategy,
      [...members].reverse(),
      topics,
      new Map(Object.entries(holders ?? {})),
    );
    assertEquals(told(other), expected, "the members' order does not matter");
  });
}

function loads(result: ReadonlyMap<string, string>, ids: readonly string[]): number[] {
  const counts = new Map(ids.map((id) => [id, 0]));
  for (const id of result.values()) counts.set(id, counts.get(id)! + 1);
  return [...counts.values()];
}

/** Partitions that a second division by the same members moves, though nobody came or went. */
function moves(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): number {
  return [...after].filter(([partition, member]) => before.get(partition) !== member).length;
}

Deno.test("random groups: all divided, evenly, to subscribers, and a second look moves nothing", () => {
  for (let seed = 0; seed < 400; seed += 1) {
    const random = new Prng(seed);
    const strategy = random.pick(strategies);
    const topics = ["x", "y", "z"].map((name) => topic(name, random.below(9)));
    const alike = random.chance(0.5);
    const group = Array.from({ length: random.between(1, 6) }, (_, at) => ({
      id: `m${at}`,
      topics: alike ? ["x", "y", "z"] : ["x", "y", "z"].filter(() => random.chance(0.6)),
    }));
    const ids = group.map(({ id }) => id);
    const holders = new Map(
      topics.flatMap(({ partitions }) => partitions).filter(() => random.chance(0.7))
        .map((partition) => [partition, random.pick([...ids, "gone"])]),
    );
    const result = assign(strategy, group, topics, holders);
    for (const { name, partitions } of topics) {
      const subscribers = group.filter(({ topics }) => topics.includes(name)).map(({ id }) => id);
      for (const partition of partitions) {
        const member = result.get(partition);
        assert(subscribers.length === 0 ? member === undefined : subscribers.includes(member!));
      }
      if (strategy === "range" && subscribers.length > 0) {
        const own = new Map([...result].filter(([partition]) => partitions.includes(partition)));
        const counts = loads(own, subscribers);
        assert(Math.max(...counts) - Math.min(...counts) <= 1, `seed ${seed}: ${counts}`);
      }
    }
    if (strategy === "round_robin" && alike) {
      const counts = loads(result, ids);
      assert(Math.max(...counts) - Math.min(...counts) <= 1, `seed ${seed}: ${counts}`);
    }
    const again = assign(strategy, group, topics, result);
    assertEquals(moves(result, again), 0, `seed ${seed}`);
  }
});

Deno.test("random comings and goings of like members move no more partitions than they must", () => {
  for (let seed = 0; seed < 200; seed += 1) {
    const random = new Prng(seed);
    const strategy = random.pick(strategies);
    const topics = [topic("x", random.between(1, 20))];
    const total = topics[0].partitions.length;
    let ids = ["m0", "m1", "m2"];
    let result = assign(strategy, members("", "x"), topics, new Map());
    for (let step = 0; step < 12; step += 1) {
      const joins = ids.length === 1 || random.chance(0.5);
      const before = result;
      const previous = ids;
      const leaver = random.pick(ids);
      ids = joins ? [...ids, `n${seed}-${step}`] : ids.filter((id) => id !== leaver);
      const group = ids.map((id) => ({ id, topics: ["x"] }));
      result = assign(strategy, group, topics, before);
      if (before.size === 0) continue;
      const orphaned = [...before.values()].filter((id) => !ids.includes(id)).length;
      const owed = joins ? Math.floor(total / ids.length) : orphaned;
      const moved = moves(before, result);
      const what = `seed ${seed} step ${step}: ${previous.length} to ${ids.length} members`;
      assert(moved <= owed + (joins ? 1 : 0), `${what}, ${moved} moved and ${owed} were owed`);
    }
  }
});
