/** Beats of two processes that do not agree on which groups are at rest: both sides must wake. */

import { assertEquals } from "@std/assert";
import { silentLogger } from "../../lib/base/logger.ts";
import type { Packable } from "../../lib/base/msgpack.ts";
import { Beats } from "../../lib/replica/beats.ts";
import { beatCodec, FrameKind, PROCESS_GROUP, restCodec } from "../../lib/replica/frames.ts";
import type { Replica } from "../../lib/replica/replica.ts";

interface Frame {
  readonly group: string;
  readonly kind: number;
  readonly content: Packable;
}

/** A process with replicas that have nothing to do. */
class Side {
  readonly sent: Frame[] = [];
  readonly beats: Beats;
  private readonly replicas = new Map<string, Replica>();

  constructor(readonly self: string, private readonly leads: boolean) {
    this.beats = new Beats(self, {
      logger: silentLogger,
      nowMs: () => 10_000,
      send: (_to, group, body) => {
        const [kind, content] = body as [number, Packable];
        this.sent.push({ group, kind, content });
      },
      replica: (group) => this.replicas.get(group),
      activate: () => {},
      deactivate: () => {},
    }, { beatMs: 50, timeoutMs: 300, restAfterMs: 200 });
    for (const group of ["g1", "g2"]) this.replicas.set(group, this.replica(group));
  }

  private replica(group: string): Replica {
    const raft = {
      role: this.leads ? "leader" : "follower",
      leader: "a",
      term: 3,
      lastIndex: 7,
      isIdle: true,
      heardAllSince: () => true,
      membership: { nodes: { a: {}, b: {} } },
    };
    const store = { mark: () => {} };
    const times = { lastActiveMs: 0, awakeSinceMs: 0 };
    return { group, raft, store, resting: false, ...times, step: () => {} } as unknown as Replica;
  }

  get(group: string): Replica {
    return this.replicas.get(group)!;
  }

  get resting(): string[] {
    return [...this.replicas.values()].filter(({ resting }) => resting).map(({ group }) => group);
  }

  /** The frames of a kind that were sent since the last call. */
  take(kind: number): Frame[] {
    const taken = this.sent.filter((frame) => frame.kind === kind);
    this.sent.length = 0;
    return taken;
  }
}

/** `a` leads two groups at rest, and `b` heard of the rest of `agreed`; then one beat is sent. */
function beating(agreed: readonly string[]): { a: Side; b: Side; beat: Packable } {
  const [a, b] = [new Side("a", true), new Side("b", false)];
  for (const group of ["g1", "g2"]) a.beats.tryRest(a.get(group), 10_000);
  for (const { group, content } of a.take(FrameKind.rest)) {
    if (!agreed.includes(group)) continue;
    b.beats.onRest("a", b.get(group), restCodec.decode(content, "rest"), 10_000);
  }
  a.beats.tick(10_000);
  const [{ group, content }] = a.take(FrameKind.beat);
  assertEquals([group, a.resting, b.resting], [PROCESS_GROUP, ["g1", "g2"], agreed]);
  return { a, b, beat: content };
}

Deno.test("processes that agree on what is at rest wake nothing", () => {
  const { a, b, beat } = beating(["g1", "g2"]);
  b.beats.onBeat("a", beatCodec.decode(beat, "beat"), 10_001);
  const [{ content }] = b.take(FrameKind.beatReply);
  a.beats.onBeatReply("b", beatCodec.decode(content, "reply"), 10_002);
  assertEquals([a.resting, b.resting], [["g1", "g2"], ["g1", "g2"]]);
});

Deno.test("a follower whose leader holds other groups at rest wakes what it shares", () => {
  const { b, beat } = beating(["g1"]);
  b.beats.onBeat("a", beatCodec.decode(beat, "beat"), 10_001);
  assertEquals(b.resting, []);
});

Deno.test("a leader whose follower holds fewer groups at rest wakes what they share", () => {
  const { a, b, beat } = beating(["g1"]);
  b.beats.onBeat("a", beatCodec.decode(beat, "beat"), 10_001);
  const [{ content }] = b.take(FrameKind.beatReply);
  a.beats.onBeatReply("b", beatCodec.decode(content, "reply"), 10_002);
  assertEquals(a.resting, []);
});

Deno.test("a follower whose log is another than its leader's does not rest, and wakes the leader", () => {
  const b = new Side("b", false);
  b.beats.onRest("a", b.get("g1"), { term: 3, lastIndex: 6 }, 10_000);
  assertEquals([b.resting, b.take(FrameKind.wake).map(({ group }) => group)], [[], ["g1"]]);
  b.beats.onRest("a", b.get("g1"), { term: 3, lastIndex: 7 }, 10_000);
  assertEquals(b.resting, ["g1"]);
});
