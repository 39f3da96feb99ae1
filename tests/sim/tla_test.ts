/** Runs as traces of the published Raft specification: they are its steps, doctored ones are not. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Prng } from "../../lib/base/prng.ts";
import { type CommandTable, runProgram } from "../../lib/cli/program.ts";
import { TlaTrace } from "../../lib/sim/tla_trace.ts";
import { FakeTerminal } from "../cli/fake_terminal.ts";
import { TestCluster } from "../replica/cluster.ts";
import { checkTrace } from "./tla/check.ts";
import type {
  Position,
  ReadyEvent,
  SpecMessage,
  SpecState,
  TraceEvent,
  Variables,
} from "./tla/trace.ts";
import { NotAllowed } from "./tla/world.ts";

const commands: CommandTable = { sim: () => import("../../cmd/sim.ts") };

async function traceOf(...words: string[]): Promise<{ status: number; lines: string[] }> {
  const terminal = new FakeTerminal();
  const onStart = () => new AbortController().signal;
  const path = Deno.makeTempFileSync();
  try {
    const all = ["sim", ...words, "--tla", path];
    const status = await runProgram(all, { version: "1", commands, terminal, onStart });
    return { status, lines: Deno.readTextFileSync(path).trimEnd().split("\n") };
  } finally {
    Deno.removeSync(path);
  }
}

/** Seeds of which the first ones show every action. */
const MOST_SEEDS = 12;

Deno.test("runs under faults are steps of the Raft specification, every action among them", async () => {
  const wanted = new Set([
    "Init",
    "Restart",
    "Timeout",
    "UpdateTerm",
    "HandleRequestVoteRequest",
    "HandleRequestVoteResponse",
    "BecomeLeader",
    "ClientRequest",
    "HandleAppendEntriesRequest, accepted",
    "HandleAppendEntriesRequest, rejected",
    "HandleAppendEntriesResponse",
    "AdvanceCommitIndex",
    "Heartbeat",
    "StepDown",
  ]);
  for (let seed = 3; wanted.size > 0 && seed < 3 + MOST_SEEDS; seed += 1) {
    const { status, lines } = await traceOf("--seed", `${seed}`);
    assertEquals(status, 0);
    for (const action of checkTrace(lines).keys()) wanted.delete(action);
  }
  assertEquals([...wanted], []);
});

Deno.test("a follower that adopts a snapshot takes a step of the specification", async () => {
  const cluster = new TestCluster(3, ["g"], 1, { segmentBytes: 4_096 });
  const lines: string[] = [];
  const nowMs = () => cluster.scheduler.nowMs;
  const trace = new TlaTrace((line) => lines.push(line), nowMs, cluster.membership.voters);
  for (const node of cluster.nodes) trace.follow(cluster.replica(node));
  const leader = await cluster.elected();
  const late = cluster.nodes.find((node) => node !== leader)!;
  cluster.kill(late);
  for (let count = 0; count < 40; count += 1) {
    await cluster.settle(cluster.replica(leader).propose(new Uint8Array(500).fill(count)));
  }
  cluster.restart(late);
  trace.follow(cluster.replica(late));
  await cluster.level();
  assertEquals(checkTrace(lines).get("InstallSnapshot"), 1);
});

Deno.test("a trace in which one variable of one step is changed is refused", async () => {
  const { lines } = await traceOf("--seed", "3");
  const random = new Prng(5);
  const steps = lines.flatMap((line, at) => line.includes('"event":"Step"') ? [at] : []);
  const changes: readonly ((step: Record<string, unknown> & Variables) => object)[] = [
    ({ currentTerm }) => ({ currentTerm: currentTerm + 1 }),
    ({ commitIndex }) => ({ commitIndex: commitIndex + 1 }),
    ({ votedFor }) => ({ votedFor: votedFor === null ? "x" : null }),
    ({ last }) => ({ last: [last[0] - 1, last[1]] }),
    ({ state }) => ({ state: state === "Leader" ? "Candidate" : "Leader" }),
  ];
  for (const change of changes) {
    for (let count = 0; count < 5; count += 1) {
      const at = random.pick(steps);
      const step = JSON.parse(lines[at]);
      const doctored = JSON.stringify({ ...step, ...change(step) });
      assertThrows(() => checkTrace(lines.with(at, doctored)), NotAllowed, "", doctored);
    }
  }
});

Deno.test("--tla is refused where members may change", async () => {
  for (const words of [["--system", "cluster"], ["--faults", "wipe"], ["--runs", "2"]]) {
    assertEquals((await traceOf("--seed", "3", ...words)).status, 2, words.join(" "));
  }
});

// A trace written by hand: servers a, b and c.

function variables(
  currentTerm: number,
  votedFor: string | null,
  state: SpecState,
  commitIndex: number,
  last: Position,
): Variables {
  return { currentTerm, votedFor, state, commitIndex, last };
}

const NOTHING: Position = [0, 0];

function starts(server: string): TraceEvent {
  const blank = variables(0, null, "Follower", 0, NOTHING);
  return { event: "Restart", server, ...blank, base: NOTHING, log: [] };
}

const STARTED: readonly TraceEvent[] = [
  { event: "Init", servers: ["a", "b", "c"] },
  starts("a"),
  starts("b"),
  starts("c"),
];

function ticks(server: string, after: Variables): TraceEvent {
  return { event: "Step", server, input: { kind: "tick" }, ...after };
}

function receives(message: SpecMessage, after: Variables): TraceEvent {
  return { event: "Step", server: message.mdest, input: { kind: "Receive", message }, ...after };
}

function synced(server: string, sequence: number, after: Variables): TraceEvent {
  return { event: "Step", server, input: { kind: "Synced", sequence }, ...after };
}

function ready(
  server: string,
  sequence: number,
  what: Partial<Pick<ReadyEvent, "stored" | "entries" | "sent">>,
): TraceEvent {
  return { event: "Ready", server, sequence, mustSync: true, entries: [], sent: [], ...what };
}

function asks(msource: string, mdest: string, mterm: number, [index, term]: Position): SpecMessage {
  const envelope = { mtype: "RequestVoteRequest", msource, mdest, mterm };
  return { ...envelope, mlastLogIndex: index, mlastLogTerm: term };
}

function votes(msource: string, mdest: string, mterm: number): SpecMessage {
  return { mtype: "RequestVoteResponse", msource, mdest, mterm, mvoteGranted: true };
}

function check(events: readonly TraceEvent[]): void {
  checkTrace(events.map((event) => JSON.stringify(event)));
}

function refuses(events: readonly TraceEvent[], message: string): void {
  assertThrows(() => check(events), NotAllowed, message);
}

const candidate = (id: string) => variables(1, id, "Candidate", 0, NOTHING);
const votedForA = variables(1, "a", "Follower", 0, NOTHING);
const leaderA = variables(1, "a", "Leader", 0, [1, 1]);

/** a and b campaign in term 1; c votes for a. */
const CAMPAIGN: readonly TraceEvent[] = [
  ...STARTED,
  ticks("a", candidate("a")),
  ready("a", 1, { stored: [1, "a"], sent: [asks("a", "c", 1, NOTHING)] }),
  ticks("b", candidate("b")),
  ready("b", 1, { stored: [1, "b"], sent: [asks("b", "c", 1, NOTHING)] }),
  receives(asks("a", "c", 1, NOTHING), votedForA),
  ready("c", 1, { stored: [1, "a"], sent: [votes("c", "a", 1)] }),
  synced("c", 1, votedForA),
];

Deno.test("a second vote in a term is no step of the specification", () => {
  const asked = asks("b", "c", 1, NOTHING);
  check([...CAMPAIGN, receives(asked, votedForA)]);
  refuses([...CAMPAIGN, receives(asked, { ...votedForA, votedFor: "b" })], "votedFor of c is b");
  const refused = receives(asked, votedForA);
  const answered = ready("c", 2, { sent: [votes("c", "b", 1)] });
  refuses([...CAMPAIGN, refused, answered], "may not send RequestVoteResponse: no such vote");
  const alone = ticks("b", { ...candidate("b"), state: "Leader", last: [1, 1] });
  refuses([...CAMPAIGN, alone], "BecomeLeader: only b voted for b");
});

/** a leads term 1 with a no-op that it has stored and not sent. */
const LED: readonly TraceEvent[] = [
  ...CAMPAIGN,
  receives(votes("c", "a", 1), leaderA),
  ready("a", 2, { entries: [[1, 1, "noop"]] }),
  synced("a", 2, leaderA),
];

function appends(mterm: number, mprev: Position, mentries: SpecMessage["mentries"]): SpecMessage {
  const envelope = { mtype: "AppendEntriesRequest", msource: "a", mdest: "c", mterm };
  const [mprevLogIndex, mprevLogTerm] = mprev;
  return { ...envelope, mprevLogIndex, mprevLogTerm, mentries: mentries!, mcommitIndex: 0 };
}

function acknowledges(mterm: number, mmatchIndex: number): SpecMessage {
  const envelope = { mtype: "AppendEntriesResponse", msource: "c", mdest: "a", mterm };
  return { ...envelope, msuccess: true, mmatchIndex };
}

Deno.test("an entry of an older term is not committed by counting copies", () => {
  const again = { ...variables(1, "a", "Follower", 0, [1, 1]), base: NOTHING };
  const followerC = variables(2, "a", "Follower", 0, [1, 1]);
  const events: TraceEvent[] = [
    ...LED,
    { event: "Restart", server: "a", ...again, log: [[1, "noop"]] },
    ticks("a", variables(2, "a", "Candidate", 0, [1, 1])),
    ready("a", 1, { stored: [2, "a"], sent: [asks("a", "c", 2, [1, 1])] }),
    receives(asks("a", "c", 2, [1, 1]), variables(2, "a", "Follower", 0, NOTHING)),
    ready("c", 2, { stored: [2, "a"], sent: [votes("c", "a", 2)] }),
    receives(votes("c", "a", 2), variables(2, "a", "Leader", 0, [2, 2])),
    ready("a", 2, { entries: [[2, 2, "noop"]], sent: [appends(2, NOTHING, [[1, "noop"]])] }),
    synced("a", 2, variables(2, "a", "Leader", 0, [2, 2])),
    receives(appends(2, NOTHING, [[1, "noop"]]), followerC),
    ready("c", 3, { entries: [[1, 1, "noop"]], sent: [acknowledges(2, 1)] }),
  ];
  check([...events, receives(acknowledges(2, 1), variables(2, "a", "Leader", 0, [2, 2]))]);
  refuses(
    [...events, receives(acknowledges(2, 1), variables(2, "a", "Leader", 1, [2, 2]))],
    "AdvanceCommitIndex: entry 1 is not of term 2",
  );
});

Deno.test("a log is never cut below its commit index, nor below what its disk has", () => {
  const followerC = variables(1, "a", "Follower", 0, [1, 1]);
  const heartbeat = { mtype: "Heartbeat", msource: "a", mdest: "c", mterm: 1, mcommitIndex: 1 };
  const committed = { ...followerC, commitIndex: 1 };
  const events: TraceEvent[] = [
    ...LED,
    ready("a", 3, { sent: [appends(1, NOTHING, [[1, "noop"]])] }),
    receives(appends(1, NOTHING, [[1, "noop"]]), followerC),
    ready("c", 2, { entries: [[1, 1, "noop"]], sent: [acknowledges(1, 1)] }),
    synced("c", 2, followerC),
    receives(acknowledges(1, 1), { ...leaderA, commitIndex: 1 }),
    ready("a", 4, { sent: [heartbeat] }),
    receives(heartbeat, committed),
  ];
  check(events);
  refuses([...events, ticks("c", { ...committed, last: NOTHING })], "Len(log) of c is 0");
  const cut = variables(1, "a", "Follower", 0, NOTHING);
  const restart = { event: "Restart", server: "c", ...cut, base: NOTHING, log: [] } as const;
  refuses([...events, restart], "the disk of c holds another term, vote or log");
  const early = events.findIndex((event) => event.event === "Step" && event.commitIndex === 1);
  assert(early > 0);
  const uncounted = events.toSpliced(early - 1, 2, ticks("a", { ...leaderA, commitIndex: 1 }));
  refuses(uncounted, "AdvanceCommitIndex: only a hold entry 1");
});
