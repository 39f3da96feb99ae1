/** Joins, replacements and removals on virtual time, with the leader's driver and service. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { toTrilogError, TrilogError } from "../../lib/base/errors.ts";
import { silentLogger } from "../../lib/base/logger.ts";
import type { Packable } from "../../lib/base/msgpack.ts";
import { isJoint } from "../../lib/raft/membership.ts";
import type { Invitations } from "../../lib/replica/invitations.ts";
import { joinCodec, JoinDriver } from "../../lib/replica/join_driver.ts";
import { identitiesOf } from "../../lib/replica/join_plan.ts";
import { MemberService } from "../../lib/replica/member_service.ts";
import type { MemberChange, MemberState } from "../../lib/replica/node_protocol.ts";
import { SessionMachine } from "../../lib/replica/sessions.ts";
import { type Node, Register, TestCluster, TIMING } from "./cluster.ts";

const TAKEOVER_MS = 10_000;

interface Desk {
  readonly joins: JoinDriver;
  readonly members: MemberService;
}

/** Three members n1 to n3; other nodes ask for a place as `lib/replica/node.ts` has them ask. */
class Club {
  readonly cluster = new TestCluster(3, ["g"], 1, {
    newMachine: () => new SessionMachine(new Register()),
  });
  private readonly desks = new Map<Node, Desk>();

  constructor() {
    for (const node of this.cluster.nodes) this.equip(node);
  }

  private equip(node: Node): void {
    const replica = () => node.process.alive ? this.cluster.replica(node) : null;
    const invitations = () => this.invitations(node);
    const { clock } = node;
    const electionTimeoutMs = TIMING.electionTimeoutMs;
    const shared = { clock, replica, invitations };
    const joins = new JoinDriver({
      ...shared,
      logger: silentLogger,
      electionTimeoutMs,
      takeoverMs: TAKEOVER_MS,
    });
    const members = new MemberService({
      ...shared,
      joins,
      caller: { call: (address, _, params) => this.call(address, params) },
      addressOf: (id) => replica()?.raft.membership.nodes[id]?.address,
      handOver: () => node.host.handOverLeaderships(),
    });
    this.desks.set(node, { joins, members });
    const tick = () => {
      joins.tick();
      clock.after(100, tick);
    };
    tick();
  }

  invitations(node: Node): Invitations {
    return (this.cluster.replica(node).machine as SessionMachine).invitations;
  }

  private async call(address: string, params: Packable): Promise<Packable> {
    const node = this.cluster.running.find((other) => other.address === address);
    await new Promise<void>((resolve) => this.cluster.scheduler.after(1, "call", resolve));
    if (node === undefined) throw new TrilogError("unavailable", "Cannot call: none is there");
    return await this.desks.get(node)!.members.serve(params, {
      signal: new AbortController().signal,
    });
  }

  /** Starts a node whose disk is empty. */
  blank(id: string, address = `${id}:1`): Node {
    const node = this.cluster.add(id, address);
    this.equip(node);
    return node;
  }

  get leader(): Node | undefined {
    return this.cluster.leader();
  }

  get voters(): readonly string[] {
    return this.cluster.replica(this.leader!).raft.membership.voters;
  }

  /** Ids of the members that have or had this name, sorted. */
  identities(name: string): readonly string[] {
    return identitiesOf(this.cluster.replica(this.leader!).raft.membership, name).sort();
  }

  /** The refusal of one request for a place under `name`, or null. */
  ask(node: Node, name: string): TrilogError | null {
    const request = { name, replicaId: node.id, address: node.address };
    try {
      this.desks.get(this.leader!)!.joins.request(joinCodec.encode(request));
      return null;
    } catch (thrown) {
      return toTrilogError(thrown);
    }
  }

  /** Has a node ask again and again until `done`; returns the refusals, each once. */
  async asks(
    node: Node,
    name: string,
    done: () => boolean,
    withinMs = 8_000,
    everyMs = 500,
  ): Promise<string[]> {
    const refusals = new Set<string>();
    const endMs = this.cluster.scheduler.nowMs + withinMs;
    while (!done()) {
      assert(this.cluster.scheduler.nowMs < endMs, `in time; ${[...refusals].join("; ")}`);
      if (this.leader !== undefined) refusals.add(this.ask(node, name)?.message ?? "");
      await this.cluster.run(everyMs);
    }
    return [...refusals].filter((refusal) => refusal !== "");
  }

  change(change: Partial<MemberChange> & Pick<MemberChange, "action" | "name">, at?: Node) {
    const whole = { address: null, replaces: null, ...change };
    const { members } = this.desks.get(at ?? this.leader!)!;
    return this.cluster.settle<MemberState>(members.change(whole, 2_000));
  }

  async isSettled(): Promise<void> {
    await this.cluster.until("the membership is settled", () => {
      const { leader } = this;
      if (leader === undefined) return false;
      const { membership, membershipIndex, commit } = this.cluster.replica(leader).status();
      return !isJoint(membership) && membershipIndex <= commit;
    });
  }
}

async function started(): Promise<Club> {
  const club = new Club();
  const leader = await club.cluster.elected();
  await club.cluster.settle(club.cluster.replica(leader).propose(utf8("first")));
  return club;
}

/** A member that does not lead. */
function follower(club: Club): Node {
  return club.cluster.running.find((node) => node !== club.leader)!;
}

/** Has a node ask until it is a learner; it does not vote then. */
async function learns(club: Club, node: Node, name: string): Promise<void> {
  await club.asks(node, name, () => club.identities(name).includes(node.id), 8_000, 5);
  assert(!club.voters.includes(node.id), "it is a learner");
}

const isIn = (club: Club, id: string) => club.leader !== undefined && club.voters.includes(id);

Deno.test("an invitation survives its leader, and a snapshot", async () => {
  const club = await started();
  assertEquals(await club.change({ action: "add", name: "n4", address: "n4:1" }), "invited");
  const former = club.leader!;
  await club.cluster.level();
  club.cluster.kill(former);
  await club.cluster.until("another leads", () => club.leader !== undefined);
  assertEquals(club.invitations(club.leader!).get("n4")?.address, "n4:1");
  const node = club.blank("n4");
  await club.asks(node, "n4", () => isIn(club, "n4"));
  const copy = new SessionMachine(new Register());
  copy.restore(club.cluster.replica(club.leader!).machine.snapshot() as Uint8Array);
  assertEquals(copy.invitations.get("n4")?.address, "n4:1");
});

Deno.test("processes with empty disks that end one after the other leave one identity in the end", async () => {
  for (const ids of [["x1", "x2", "x3"], ["a3", "a2", "a1"], ["x2", "a1", "x1"]]) {
    const club = await started();
    const old = follower(club);
    const { address } = old;
    club.cluster.kill(old);
    for (const [at, id] of ids.entries()) {
      const node = club.blank(id, address);
      if (at === ids.length - 1) {
        await club.asks(node, old.id, () => isIn(club, id));
        break;
      }
      await learns(club, node, old.id);
      club.cluster.kill(node);
    }
    await club.isSettled();
    assertEquals(club.voters.length, 3, `${ids}`);
    assertEquals(club.identities(old.id), [ids[2]]);
  }
});

Deno.test("a holder that returns before the swap keeps its vote and gets its name back", async () => {
  const club = await started();
  const old = follower(club);
  const others = club.cluster.nodes.filter((node) => node !== old);
  const cut = () =>
    others.forEach(({ id }) => {
      club.cluster.network.cut(old.id, id);
      club.cluster.network.cut(id, old.id);
    });
  cut();
  const node = club.blank("x1");
  await club.change({ action: "replace", name: old.id, address: node.address, replaces: old.id })
    .catch(() => {});
  await club.cluster.run(1_000);
  await club.change({ action: "replace", name: old.id, address: node.address, replaces: old.id });
  await learns(club, node, old.id);
  club.cluster.kill(node);
  club.cluster.network.heal();
  await club.asks(old, old.id, () => {
    const { nodes } = club.cluster.replica(club.leader!).raft.membership;
    return nodes[old.id].name === old.id;
  });
  await club.isSettled();
  assertEquals(club.identities(old.id), [old.id]);
  assertEquals(club.voters.length, 3);
});

Deno.test("a node that asks while the members are changing is not bound to the cluster yet", async () => {
  const club = await started();
  const old = follower(club);
  club.cluster.kill(old);
  const node = club.blank("x1", old.address);
  await club.cluster.run(1_000);
  const { voters, learners, nodes } = club.cluster.replica(club.leader!).raft.membership;
  const moved = { ...nodes, [old.id]: { name: old.id, address: "elsewhere:1" } };
  const change = club.cluster.replica(club.leader!).changeMembers({
    voters,
    learners,
    nodes: moved,
  });
  assertMatch(club.ask(node, old.id)?.message ?? "", /the members are changing/);
  await club.cluster.settle(change);
});

Deno.test("the next leader goes on with a learner that asks again", async () => {
  const club = await started();
  const old = follower(club);
  club.cluster.kill(old);
  const node = club.blank("x1", old.address);
  await learns(club, node, old.id);
  club.cluster.network.cut(club.leader!.id, node.id);
  const former = club.leader!;
  const next = club.cluster.running.find((other) => other !== former && other !== node)!;
  await club.cluster.run(100);
  club.cluster.replica(former).transferLeadership(next.id);
  await club.cluster.until("another leads", () => club.leader === next);
  await club.cluster.elected();
  await club.asks(node, old.id, () => isIn(club, "x1"));
  await club.isSettled();
  assertEquals(club.identities(old.id), ["x1"]);
});

Deno.test("a paused holder keeps its name from a process elsewhere until a long silence", async () => {
  const club = await started();
  const old = follower(club);
  old.process.pause();
  const node = club.blank("x1");
  const askedMs = club.cluster.scheduler.nowMs;
  const refusals = await club.asks(
    node,
    old.id,
    () => club.identities(old.id).includes("x1"),
    2 * TAKEOVER_MS,
  );
  assert(club.cluster.scheduler.nowMs - askedMs >= TAKEOVER_MS);
  assertMatch(refusals.join(), /silent, and is replaced after 10 s/);
});

Deno.test("a name is removed with all its identities, whichever node is asked", async () => {
  const club = await started();
  const old = follower(club);
  club.cluster.kill(old);
  const node = club.blank("x1", old.address);
  await learns(club, node, old.id);
  club.cluster.kill(node);
  assertEquals(await club.change({ action: "remove", name: old.id }, follower(club)), "removed");
  assertEquals(club.identities(old.id), []);
  assertEquals(club.voters.length, 2);
});

Deno.test("a leader that is to be removed hands over, and its invitation ends with it", async () => {
  const club = await started();
  await club.change({ action: "add", name: "n4", address: "n4:1" });
  const node = club.blank("n4");
  await club.asks(node, "n4", () => isIn(club, "n4"));
  club.cluster.replica(club.leader!).transferLeadership("n4");
  await club.cluster.until("n4 leads", () => club.leader?.id === "n4");
  await club.cluster.elected();
  assertEquals(await club.change({ action: "remove", name: "n4" }), "removed");
  await club.cluster.until("another leads", () => club.leader !== undefined);
  assertEquals(club.invitations(club.leader!).get("n4"), undefined);
  assertMatch(club.ask(node, "n4")?.message ?? "", /no member has that name; add n4=n4:1 first/);
});

Deno.test("a repeat of a replacement is recognised, and a member replaces none", async () => {
  const club = await started();
  const old = follower(club).id;
  const replace = { action: "replace", name: "n4", address: "n4:1", replaces: old } as const;
  assertEquals(await club.change(replace), "invited");
  const node = club.blank("n4");
  await club.asks(node, "n4", () => isIn(club, "n4"));
  assertEquals(await club.change(replace), "voter", "the old one is still there");
  assertEquals(await club.change({ action: "remove", name: old }), "removed");
  assertEquals(await club.change(replace), "voter", "the old one is gone");
  const present = club.voters.find((id) => id !== "n4" && id !== club.leader!.id)!;
  const wrong = { ...replace, replaces: club.leader!.id };
  for (const name of ["n4", present]) {
    const change = { ...wrong, name, address: `${name}:1` };
    const error = await assertRejects(() => club.change(change), TrilogError, "a member already");
    assertEquals(error.code, "invalid_membership");
  }
  assertEquals(club.voters.length, 3);
});

Deno.test("a dead member's name goes to another address by command, and a living one's does not", async () => {
  const club = await started();
  const old = follower(club);
  const node = club.blank("x1");
  const replace = { action: "replace", name: old.id, address: "x1:1", replaces: old.id } as const;
  await assertRejects(() => club.change(replace), TrilogError, "is alive; stop it first");
  club.cluster.kill(old);
  await club.cluster.run(1_000);
  assertEquals(await club.change(replace), "invited");
  await club.asks(node, old.id, () => isIn(club, "x1"), 3_000);
  await club.isSettled();
  assertEquals(await club.change(replace), "voter", "a repeat replaces nothing");
  assertEquals(club.identities(old.id), ["x1"]);
});
