/**
 * The life of hosted replicas is stopped before each change of the disk; then the directory is
 * opened again. DESIGN.md of lib/broker has the table of states and crash windows that this walks.
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Clock } from "../../lib/base/clock.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { pack } from "../../lib/base/msgpack.ts";
import { silentLogger } from "../../lib/base/logger.ts";
import { Prng } from "../../lib/base/prng.ts";
import { type Beginning, Hosting, type HostingOptions } from "../../lib/broker/hosting.ts";
import { NOTES_FILE } from "../../lib/broker/hosting_notes.ts";
import type { PeerTransport } from "../../lib/net/transport.ts";
import type { Membership } from "../../lib/raft/types.ts";
import { Host } from "../../lib/replica/host.ts";
import { encodeChecked, Magic, preamble } from "../../lib/storage/file_format.ts";
import { type DataDirectory, openDataDirectory, readIdentity } from "../../lib/storage/identity.ts";
import { verifyDirectory } from "../../lib/storage/inspect.ts";
import { IDENTITY_FILE } from "../../lib/storage/layout.ts";
import { copyLog } from "../../lib/storage/log_copy.ts";
import { command } from "../storage/fixtures.ts";
import { type Fate, type Image, JournalDisk } from "../storage/journal_disk.ts";
import { CLUSTER } from "./cluster.ts";

const stillClock: Clock = {
  wallMs: () => 0,
  monotonicMs: () => 0,
  after: () => ({ cancel: () => {} }),
  nextTurn: () => {},
};

function silentTransport(self: string): PeerTransport {
  const nothing = () => {};
  return {
    self,
    setHandler: nothing,
    setAddress: nothing,
    forget: nothing,
    send: nothing,
    queuedBytes: () => 0,
  };
}

const OTHERS = ["r1", "r2", "r3"];
const founders: Membership = {
  voters: OTHERS,
  outgoing: [],
  learners: [],
  learnersNext: [],
  nodes: Object.fromEntries(OTHERS.map((id) => [id, { name: id, address: `${id}:1` }])),
};

interface Opened {
  readonly disk: JournalDisk;
  readonly identity: DataDirectory;
  readonly hosting: Hosting;
}

/** A broker's directory as a start finds it, with every replica opened. */
function open(disk: JournalDisk, name = "b1", replicaId = "r1"): Opened {
  const identity = openDataDirectory(disk, { name, newReplicaId: () => replicaId });
  identity.becomeMember(CLUSTER);
  return { disk, identity, hosting: openWith(disk, identity) };
}

function openWith(disk: JournalDisk, identity: HostingOptions["identity"]): Hosting {
  const host = new Host({
    self: identity.replicaId,
    clock: stillClock,
    random: new Prng(1),
    logger: silentLogger,
    transport: silentTransport(identity.replicaId),
    heartbeatMs: 50,
    electionTimeoutMs: 300,
    onFatal: (error) => {
      throw error;
    },
  });
  const hosting = new Hosting({
    disk,
    identity,
    host,
    clock: stillClock,
    logger: silentLogger,
    segmentBytes: 4_096,
    heartbeatMs: 50,
    electionTimeoutMs: 300,
  });
  hosting.openAll();
  return hosting;
}

function beginning(groupId: string, more: Partial<Beginning> = {}): Beginning {
  return {
    groupId,
    epoch: 1,
    topic: "logs",
    partition: 0,
    bootstrap: founders,
    assignedVersion: 1,
    floor: { index: 0, term: 0 },
    ...more,
  };
}

function create({ hosting }: Opened, how: Beginning): void {
  hosting.make(how);
  hosting.admit();
}

/** The replica votes and acknowledges entries up to `last`, as after a sync. */
function use({ hosting }: Opened, groupId: string, last: number): void {
  const { store } = hosting.get(groupId)!.partition!.replica;
  const entries = Array.from({ length: last }, (_, at) => command(at + 1, 1));
  store.append({ term: 1, vote: "r2", commit: 0 }, entries.slice(store.lastIndex()));
  store.syncNow();
}

/** `blank`, `fenced`, `none`, or `last N` for a replica that takes part with so many entries. */
function stateOf({ hosting }: Opened, groupId: string): string {
  const hosted = hosting.get(groupId);
  if (hosted === undefined) return "none";
  if (hosted.notes.state !== "open") return hosted.notes.state;
  const { store } = hosted.partition!.replica;
  const again = hosted.notes.floor.term > 0 ? "again " : "";
  const { term } = store.recovered.hardState;
  return term === 0 && store.lastIndex() === 0
    ? `${again}blank`
    : `${again}epoch ${hosted.notes.epoch} last ${store.lastIndex()}`;
}

/** What must hold from one change of the disk on: these states and no others are allowed. */
interface Stage {
  readonly from: number;
  readonly allowed: readonly string[];
}

/**
 * Runs `life` and then, for each of its changes, opens the directory as a crash there leaves it.
 * `life` calls `allow` with the states of group `g` that a start may find from then on.
 */
async function crashEverywhere(
  before: Image,
  life: (opened: Opened, allow: (...states: string[]) => void) => void | Promise<void>,
): Promise<Set<string>> {
  const disk = new JournalDisk(before);
  const opened = open(disk);
  const stages: Stage[] = [];
  const first = disk.count;
  await life(opened, (...allowed) => stages.push({ from: disk.count, allowed }));
  const seen = new Set<string>();
  const fates: Fate[] = [{ kind: "kept" }, { kind: "lost" }];
  for (let count = first; count <= disk.count; count += 1) {
    const { allowed } = stages.filter(({ from }) => from <= count).at(-1)!;
    for (const fate of fates) {
      const after = open(new JournalDisk(disk.imageAfter(count, fate)));
      const state = stateOf(after, "g");
      assert(allowed.includes(state), `${state} after ${count}, ${fate.kind}: not in ${allowed}`);
      seen.add(state);
      assertEquals(stateOf(after, "other"), "epoch 1 last 3", "another group is not touched");
      const faults = verifyDirectory(after.disk).filter(({ harmless }) => !harmless);
      assertEquals(faults, [], "what a start leaves is sound");
      // A second start finds the same.
      assertEquals(stateOf(open(new JournalDisk(after.disk.image())), "g"), state);
    }
  }
  return seen;
}

/** A directory with a group `other` in use, and `g` as `prepare` makes it. */
function directoryWith(prepare: (opened: Opened) => void = () => {}): Image {
  const opened = open(new JournalDisk());
  create(opened, beginning("other"));
  use(opened, "other", 3);
  prepare(opened);
  return opened.disk.image();
}

const rotten = new TrilogError("corrupt", "Cannot trust it: a test says so");

Deno.test("a creation that a crash cuts short leaves nothing, or a replica that is blank", async () => {
  const seen = await crashEverywhere(directoryWith(), (opened, allow) => {
    allow("none", "blank");
    create(opened, beginning("g"));
    allow("blank");
  });
  assertEquals([...seen].sort(), ["blank", "none"]);
});

Deno.test("what a replica acknowledged is there after every crash, or the replica is fenced", async () => {
  const used = directoryWith((opened) => {
    create(opened, beginning("g"));
    use(opened, "g", 5);
  });
  const seen = await crashEverywhere(used, ({ hosting }, allow) => {
    allow("epoch 1 last 5", "fenced");
    hosting.fence(hosting.get("g")!, rotten);
    allow("fenced");
  });
  assertEquals([...seen].sort(), ["epoch 1 last 5", "fenced"]);
});

Deno.test("a replica that a killed process fenced stays fenced after a later power loss", () => {
  const opened = open(
    new JournalDisk(directoryWith((opened) => {
      create(opened, beginning("g"));
      use(opened, "g", 5);
    })),
  );
  const { disk, hosting } = opened;
  const sync = disk.syncDirectory.bind(disk);
  disk.syncDirectory = (path) => disk.failIf(true, "sync", path);
  assertThrows(() => hosting.fence(hosting.get("g")!, rotten), TrilogError);
  disk.syncDirectory = sync;
  opened.identity.close();
  assertEquals(stateOf(open(disk), "g"), "fenced", "as the cache shows it");
  const lost = disk.imageAfter(disk.count, { kind: "lost" });
  assertEquals(stateOf(open(new JournalDisk(lost)), "g"), "fenced");
});

Deno.test("a fenced replica begins again in one step: before it is fenced, after it is blank", async () => {
  const fenced = directoryWith((opened) => {
    create(opened, beginning("g"));
    use(opened, "g", 5);
    opened.hosting.fence(opened.hosting.get("g")!, rotten);
  });
  const floor = { index: 9, term: 2 };
  const seen = await crashEverywhere(fenced, ({ hosting }, allow) => {
    allow("fenced", "again blank");
    hosting.beginAgain(hosting.get("g")!, beginning("g", { bootstrap: null, floor }));
    allow("again blank");
  });
  assertEquals([...seen].sort(), ["again blank", "fenced"]);
});

Deno.test("a removal that a crash cuts short is finished, and never begins the group again", async () => {
  const used = directoryWith((opened) => {
    create(opened, beginning("g"));
    use(opened, "g", 5);
  });
  const seen = await crashEverywhere(used, ({ hosting }, allow) => {
    allow("epoch 1 last 5", "none");
    hosting.delete(hosting.get("g")!);
    allow("none");
  });
  assertEquals([...seen].sort(), ["epoch 1 last 5", "none"]);
});

Deno.test("an epoch that is given up is there or set aside after every crash", async () => {
  const used = directoryWith((opened) => {
    create(opened, beginning("g"));
    use(opened, "g", 5);
  });
  await crashEverywhere(used, ({ hosting }, allow) => {
    allow("epoch 1 last 5", "none");
    hosting.giveUp(hosting.get("g")!);
    allow("none");
  });
});

Deno.test("the next epoch's copy counts from one moment on", async () => {
  const used = directoryWith((opened) => {
    create(opened, beginning("g"));
    use(opened, "g", 5);
  });
  const seen = await crashEverywhere(used, async ({ hosting }, allow) => {
    allow("epoch 1 last 5", "epoch 2 last 5");
    const next = beginning("g", { epoch: 2 });
    await hosting.succeed(hosting.get("g")!, next, (from, to) =>
      copyLog(from, to, {
        membership: founders,
        term: 1,
        commands: [],
        pause: () => Promise.resolve(),
      }));
    allow("epoch 2 last 5");
  });
  assertEquals([...seen].sort(), ["epoch 1 last 5", "epoch 2 last 5"]);
});

/** The image without the files for which `gone` holds. */
function without(image: Image, gone: (path: string) => boolean): Image {
  return new Map([...image].filter(([path]) => !gone(path)));
}

Deno.test("a named group whose directory, log or notes are gone is fenced, at every later start", () => {
  const used = directoryWith((opened) => {
    create(opened, beginning("g"));
    use(opened, "g", 5);
  });
  const inside = (path: string) => path.startsWith("groups/00000002/");
  const cases: Record<string, (path: string) => boolean> = {
    "the directory": inside,
    "the log": (path) => inside(path) && !path.endsWith(NOTES_FILE),
    "the notes": (path) => inside(path) && path.endsWith(NOTES_FILE),
  };
  for (const [what, gone] of Object.entries(cases)) {
    const image = without(used, gone);
    const told = verifyDirectory(new JournalDisk(image)).map(({ problem }) => problem);
    if (what !== "the notes") assert(told[0]?.includes("names group g@1"), `${what}: ${told}`);
    let opened = open(new JournalDisk(image));
    for (const start of [1, 2, 3]) {
      assertEquals(stateOf(opened, "g"), "fenced", `${what}, start ${start}`);
      assertEquals(stateOf(opened, "other"), "epoch 1 last 3");
      opened = open(new JournalDisk(opened.disk.image()));
    }
  }
  const all = open(new JournalDisk(without(used, (path) => path.startsWith("groups/"))));
  assertEquals([stateOf(all, "g"), stateOf(all, "other")], ["fenced", "fenced"]);
});

Deno.test("another replica's directory is set aside, and the group that was there is fenced", () => {
  const used = directoryWith((opened) => {
    create(opened, beginning("g"));
    use(opened, "g", 5);
  });
  const foreign = open(new JournalDisk(), "b2", "r2");
  for (const groupId of ["other", "g", "third"]) {
    create(foreign, beginning(groupId));
    use(foreign, groupId, 2);
  }
  const image = new Map([...used].filter(([path]) => !path.startsWith("groups/")));
  for (const [path, bytes] of foreign.disk.image()) {
    if (path.startsWith("groups/")) image.set(path, bytes);
  }
  const told = verifyDirectory(new JournalDisk(image)).map(({ problem }) => problem).join("\n");
  assert(told.includes("belongs to replica r2"), told);
  const opened = open(new JournalDisk(image));
  const states = ["g", "other", "third"].map((groupId) => stateOf(opened, groupId));
  assertEquals(states, ["fenced", "fenced", "none"]);
  assertEquals(
    [...opened.disk.image().keys()].filter((path) => path.startsWith("set-aside")).length > 0,
    true,
  );
});

Deno.test("files of a removed replica that are put back are set aside", () => {
  const opened = open(new JournalDisk(directoryWith()));
  create(opened, beginning("g"));
  use(opened, "g", 5);
  const copy = [...opened.disk.image()].filter(([path]) => path.startsWith("groups/00000002/"));
  opened.hosting.delete(opened.hosting.get("g")!);
  const again = open(new JournalDisk(new Map([...opened.disk.image(), ...copy])));
  assertEquals(stateOf(again, "g"), "none");
  assert(again.disk.exists("set-aside-00000001/groups/00000002"));
});

Deno.test("a replica that the managers have recorded and that is gone is held as fenced", () => {
  const opened = open(new JournalDisk(directoryWith()));
  const lost = { groupId: "g", epoch: 1, topic: "logs", partition: 0 };
  opened.hosting.recordLost(lost);
  assertEquals(stateOf(open(new JournalDisk(opened.disk.image())), "g"), "fenced");
});

Deno.test("a directory of format version 1 names its groups at its first start", () => {
  const used = directoryWith((opened) => {
    create(opened, beginning("g"));
    use(opened, "g", 5);
  });
  const { replicaId, name, cluster, startCounter } = readIdentity(new JournalDisk(used))!;
  const fields = [replicaId, name, cluster, startCounter, null, [], []];
  const bytes = encodeChecked(Magic.identity, 0, pack(fields));
  bytes.set(preamble(Magic.identity, 1));
  const opened = open(new JournalDisk(new Map([...used, [IDENTITY_FILE, bytes]])));
  assertEquals(stateOf(opened, "g"), "epoch 1 last 5");
  assertEquals(opened.identity.groups?.map(({ group }) => group), ["other@1", "g@1"]);
});

Deno.test("notes of another replica or group do not pass for lost ones", () => {
  const notesOf = (image: Image, number: string) =>
    image.get(`groups/0000000${number}/${NOTES_FILE}`)!;
  const used = directoryWith((opened) => {
    create(opened, beginning("g"));
    use(opened, "g", 5);
  });
  const foreign = open(new JournalDisk(), "b2", "r2");
  create(foreign, beginning("other"));
  create(foreign, beginning("g"));
  for (const notes of [notesOf(foreign.disk.image(), "2"), notesOf(used, "1")]) {
    const image = new Map([...used, [`groups/00000002/${NOTES_FILE}`, notes]]);
    const opened = open(new JournalDisk(image));
    assertEquals([stateOf(opened, "g"), stateOf(opened, "other")], ["fenced", "epoch 1 last 3"]);
  }
});

Deno.test("a start on a full disk that cannot name what it found goes on", () => {
  const opened = open(new JournalDisk(directoryWith()));
  create(opened, beginning("g"));
  use(opened, "g", 5);
  const named = opened.identity.groups;
  opened.hosting.delete(opened.hosting.get("g")!);
  // As if the removal had come as far as the files, on a disk that was full.
  opened.identity.setGroups(named!);
  const disk = new JournalDisk(opened.disk.image());
  const identity = openDataDirectory(disk, { name: "b1", newReplicaId: () => "r1" });
  const setGroups = () => {
    throw new TrilogError("disk_full", "Cannot store: a test says so");
  };
  const full = openWith(disk, {
    replicaId: identity.replicaId,
    cluster: identity.cluster,
    stored: identity.stored,
    groups: identity.groups,
    setGroups,
  });
  assertEquals([...full.all()].map(({ notes }) => notes.groupId).sort(), ["g", "other"]);
});

Deno.test("a replica that is removed to make room on a full disk is named no more", () => {
  const made = open(new JournalDisk(directoryWith()));
  create(made, beginning("g"));
  use(made, "g", 5);
  const disk = new JournalDisk(made.disk.image());
  const identity = openDataDirectory(disk, { name: "b1", newReplicaId: () => "r1" });
  let isFull = true;
  const hosting = openWith(disk, {
    replicaId: identity.replicaId,
    cluster: identity.cluster,
    stored: identity.stored,
    get groups() {
      return identity.groups;
    },
    setGroups: (groups) => {
      // The removal of the files makes room.
      isFull = disk.exists("groups/00000002");
      if (isFull) throw new TrilogError("disk_full", "Cannot store: a test says so");
      identity.setGroups(groups);
    },
  });
  hosting.delete(hosting.get("g")!);
  assertEquals(isFull, false);
  assertEquals(identity.groups?.map(({ group }) => group), ["other@1"]);
});
