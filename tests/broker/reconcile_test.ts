import { assert, assertEquals } from "@std/assert";
import {
  type Action,
  type HostedGroup,
  type Leading,
  reconcile,
  type Wanted,
  type WantedReplica,
} from "../../lib/broker/reconcile.ts";
import { Prng } from "../../lib/base/prng.ts";

const self = "a";
const group = "p/1/0";

function want(replicas: readonly string[], epoch = 1): WantedReplica {
  return { groupId: group, epoch, replicas };
}

function lead(voters: readonly string[], more: Partial<Leading> = {}): Leading {
  return { voters, outgoing: [], learners: [], committed: true, caughtUp: [], ...more };
}

function host(leading: Leading | null, more: Partial<HostedGroup> = {}): HostedGroup {
  return { groupId: group, epoch: 1, open: true, leading, ...more };
}

function plan(
  replicas: readonly WantedReplica[],
  hosted: readonly HostedGroup[],
  tombstones: Wanted["tombstones"] = [],
): readonly Action[] {
  return reconcile(self, { replicas, tombstones }, hosted);
}

const create = { kind: "create", groupId: group, epoch: 1 } as const;
const open = { kind: "open", groupId: group, epoch: 1 } as const;
const erase = { kind: "delete", groupId: group, epoch: 1 } as const;
const change = (voters: readonly string[], learners: readonly string[]) =>
  ({ kind: "change_members", groupId: group, voters, learners }) as const;

Deno.test("a wanted replica that is missing is created, one on the disk is opened", () => {
  assertEquals(plan([want(["a", "b", "c"])], []), [create]);
  assertEquals(plan([want(["a", "b", "c"])], [host(null, { open: false })]), [open]);
  assertEquals(plan([want(["a", "b", "c"])], [host(null)]), []);
});

Deno.test("a founder that is moved away from before it founded creates its replica", () => {
  const moved = want(["b", "c", "d"]);
  assertEquals(plan([{ ...moved, bootstrap: true }], []), [create]);
  assertEquals(plan([{ ...moved, bootstrap: true }], [host(null)]), []);
  assertEquals(plan([{ ...moved, bootstrap: false }], []), []);
});

Deno.test("a replica that is not wanted is kept open until a tombstone names it", () => {
  assertEquals(plan([], [host(null)]), []);
  assertEquals(plan([], [host(null, { open: false })]), [open]);
  assertEquals(plan([], [host(null)], [{ groupId: group, epoch: 1 }]), [erase]);
});

Deno.test("a tombstone of another group or epoch, or of a wanted replica, deletes nothing", () => {
  assertEquals(plan([], [host(null)], [{ groupId: "p/1/1", epoch: 1 }]), []);
  assertEquals(plan([want(["a"])], [host(null)], [{ groupId: group, epoch: 1 }]), []);
});

Deno.test("a broker that is moved away from creates nothing, but goes on leading the way out", () => {
  const wanted = [want(["b", "c", "d"])];
  assertEquals(plan(wanted, []), []);
  assertEquals(plan(wanted, [host(lead(["a", "b", "c"]))]), [change(["a", "b", "c"], ["d"])]);
  const level = lead(["a", "b", "c"], { learners: ["d"], caughtUp: ["b", "c", "d"] });
  assertEquals(plan(wanted, [host(level)]), [change(["b", "c", "d"], [])]);
  assertEquals(plan(wanted, [host(null)], [{ groupId: group, epoch: 1 }]), [erase]);
});

Deno.test("a replica of an epoch that was given up is kept elsewhere, or goes on in the next", () => {
  const giveUp = { kind: "give_up", groupId: group, epoch: 2 } as const;
  const succeed = { kind: "succeed", groupId: group, epoch: 2 } as const;
  for (const hosted of [host(null), host(null, { open: false }), host(lead(["a", "b"]))]) {
    assertEquals(plan([want(["a", "b", "c"], 2)], [hosted]), [giveUp]);
    assertEquals(plan([want(["b", "c", "d"], 2)], [hosted]), [giveUp]);
    assertEquals(plan([], [hosted], [{ groupId: group, epoch: 2 }]), [giveUp]);
    const recovered = { ...want(["a", "b", "c"], 2), recovery: { endOffset: 9 } };
    assertEquals(plan([recovered], [hosted]), [succeed]);
  }
});

Deno.test("a replica of a later epoch than the wanted one is left as it is", () => {
  const later = host(lead(["a", "b", "c"]), { epoch: 2 });
  assertEquals(plan([want(["a", "b", "d"])], [later]), []);
  assertEquals(plan([], [later], [{ groupId: group, epoch: 1 }]), []);
});

Deno.test("a leader replaces a voter by learner, catching up and one joint change", () => {
  const wanted = [want(["a", "b", "d"])];
  const steps: [Leading, readonly Action[]][] = [
    [lead(["a", "b", "c"]), [change(["a", "b", "c"], ["d"])]],
    [lead(["a", "b", "c"], { learners: ["d"], committed: false }), []],
    [lead(["a", "b", "c"], { learners: ["d"] }), []],
    [lead(["a", "b", "c"], { learners: ["d"], caughtUp: ["b", "d"] }), [
      change(["a", "b", "d"], []),
    ]],
    [lead(["a", "b", "d"], { outgoing: ["a", "b", "c"] }), []],
    [lead(["a", "b", "d"], { caughtUp: ["b", "d"] }), []],
  ];
  for (const [leading, actions] of steps) assertEquals(plan(wanted, [host(leading)]), actions);
});

Deno.test("voters that are too many are removed, unwanted learners too", () => {
  assertEquals(plan([want(["a", "b", "c"])], [host(lead(["a", "b", "c", "d"]))]), [
    change(["a", "b", "c"], []),
  ]);
  assertEquals(plan([want(["a", "b", "c"])], [host(lead(["a", "b", "c"], { learners: ["d"] }))]), [
    change(["a", "b", "c"], []),
  ]);
});

Deno.test("a change of mind swaps the learner before it became a voter", () => {
  const leading = lead(["a", "b", "c"], { learners: ["d"], caughtUp: ["d"] });
  assertEquals(plan([want(["a", "b", "e"])], [host(leading)]), [change(["a", "b", "c"], ["e"])]);
});

Deno.test("leadership goes to the preferred leader once it is level, and not before", () => {
  const wanted = [want(["b", "a", "c"])];
  assertEquals(plan(wanted, [host(lead(["a", "b", "c"], { caughtUp: ["b"] }))]), [
    { kind: "transfer_leadership", groupId: group, to: "b" },
  ]);
  assertEquals(plan(wanted, [host(lead(["a", "b", "c"], { caughtUp: ["c"] }))]), []);
  const changing = lead(["a", "b", "d"], { learners: ["c"], caughtUp: ["b"] });
  assertEquals(plan(wanted, [host(changing)]), [], "not while the members change");
});

Deno.test("carrying out the plan over and over ends at the wanted membership, from anywhere", () => {
  const ids = ["a", "b", "c", "d", "e", "f"];
  for (let seed = 0; seed < 300; seed += 1) {
    const random = new Prng(seed);
    const replicas = random.shuffled(ids).slice(0, 3);
    let leading = lead(random.shuffled(ids).slice(0, random.between(1, 5)), {
      learners: [],
      caughtUp: [],
    });
    let steps = 0;
    for (; steps < 10; steps += 1) {
      const [action] = plan([want(replicas)], [host(leading)]);
      if (action === undefined && leading.learners.every((id) => leading.caughtUp.includes(id))) {
        break;
      }
      if (action?.kind === "transfer_leadership") break;
      if (action?.kind === "change_members") {
        assert(action.learners.every((id) => !action.voters.includes(id)));
        const fresh = action.voters.filter((id) => !leading.voters.includes(id));
        assert(fresh.every((id) => leading.caughtUp.includes(id)), "a voter was level before");
        leading = lead(action.voters, { learners: action.learners });
      }
      leading = { ...leading, caughtUp: [...leading.voters, ...leading.learners] };
    }
    assert(steps < 10, `seed ${seed} comes to rest`);
    assertEquals([...leading.voters].sort(), [...replicas].sort());
    assertEquals(leading.learners, []);
  }
});
