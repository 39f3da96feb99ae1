import { assert, assertEquals, assertThrows } from "@std/assert";
import { textOf, utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import {
  type ApplyMessage,
  make,
  MemoryPersister,
  Network,
  type Peer,
  type RaftServer,
} from "../../lib/module/mod.ts";
import { decodeState } from "../../lib/module/wire.ts";
import { play, type World } from "../scenarios/world.ts";

/** Three servers by hand: the test sees every message and writes every callback. */
class Trio {
  readonly network: Network;
  readonly persisters = [0, 1, 2].map(() => new MemoryPersister());
  readonly servers: RaftServer[] = [];
  readonly applied: string[][] = [[], [], []];
  /** Called after each message, with the server's position. */
  onApply: (id: number, message: ApplyMessage) => void = () => {};
  wrapPeer: (peer: Peer) => Peer = (peer) => peer;

  constructor(readonly world: World) {
    this.network = new Network({ clock: world.clock, random: world.random.fork() });
    world.onClose(() => this.servers.forEach((server) => server.kill()));
  }

  start(id: number): void {
    this.servers[id]?.kill();
    this.persisters[id] = this.persisters[id].copy();
    this.applied[id] = [];
    const peers = [0, 1, 2].map((other) => this.wrapPeer(this.network.end(`${id}`, `${other}`)));
    const { clock, random } = this.world;
    const server = make(peers, id, this.persisters[id], (message) => {
      const bytes = message.kind === "command" ? message.command : message.snapshot;
      this.applied[id].push(`${message.index} ${message.kind} ${textOf(bytes)}`);
      this.onApply(id, message);
    }, { clock, random });
    this.servers[id] = server;
    this.network.serve(`${id}`, (request) => server.handle(request));
  }

  startAll(): this {
    for (const id of [0, 1, 2]) this.start(id);
    return this;
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await this.world.sleep(5);
  }

  async leader(): Promise<number> {
    const find = () => this.servers.findIndex((server) => server.getState().isLeader);
    await this.until(() => find() >= 0);
    return find();
  }

  async everywhere(lines: readonly string[]): Promise<void> {
    await this.until(() => this.applied.every((own) => own.length >= lines.length));
    for (const own of this.applied) assertEquals(own, lines);
  }
}

async function inVirtualTime(run: (trio: Trio) => Promise<void>): Promise<void> {
  await play({ name: "module", run: (world) => run(new Trio(world)) }, 1, false);
}

function assertCode(run: () => unknown, code: string): void {
  assertEquals(assertThrows(run, TrilogError).code, code);
}

Deno.test("commands alone are numbered: no leader's no-op takes a number", () =>
  inVirtualTime(async (trio) => {
    trio.startAll();
    const lines: string[] = [];
    for (let round = 1; round <= 4; round += 1) {
      const leader = await trio.leader();
      const { index, isLeader } = trio.servers[leader].start(utf8(`c${round}`));
      assertEquals([index, isLeader], [round, true]);
      lines.push(`${round} command c${round}`);
      await trio.everywhere(lines);
      const kept = trio.applied[leader];
      trio.start(leader);
      await trio.until(() => trio.applied[leader].length === kept.length);
    }
    const positions = decodeState(trio.persisters[0].readState()).log.last.index;
    assert(positions >= 8, "each of the four leaders appended a no-op");
  }));

Deno.test("commands started in one turn get consecutive numbers and travel in one call each way", () =>
  inVirtualTime(async (trio) => {
    const leader = await trio.startAll().leader();
    trio.servers[leader].start(utf8("first"));
    await trio.everywhere(["1 command first"]);
    const before = trio.network.calls;
    const indexes = Array.from({ length: 50 }, () => trio.servers[leader].start(utf8("x")).index);
    assertEquals(indexes, Array.from({ length: 50 }, (_, at) => at + 2));
    await trio.until(() => trio.applied[leader].length === 51);
    assert(trio.network.calls - before <= 4, "a call to each follower, and perhaps a heartbeat");
  }));

Deno.test("a service may start commands and take snapshots while it applies", () =>
  inVirtualTime(async (trio) => {
    trio.onApply = (id, { kind, index }) => {
      if (kind === "snapshot") return;
      if (index < 20) trio.servers[id].start(utf8(`after ${index}`));
      if (index % 5 === 0) trio.servers[id].snapshot(index, utf8(`up to ${index}`));
    };
    const leader = await trio.startAll().leader();
    trio.servers[leader].start(utf8("after 0"));
    const lines = Array.from({ length: 20 }, (_, at) => `${at + 1} command after ${at}`);
    await trio.everywhere(lines);
    for (const persister of trio.persisters) {
      assertEquals(textOf(persister.readSnapshot()), "up to 20");
      assertEquals(decodeState(persister.readState()).log.entries.length, 0);
    }
  }));

Deno.test("a new life applies the snapshot first, then the commands after it", () =>
  inVirtualTime(async (trio) => {
    const leader = await trio.startAll().leader();
    for (const text of ["a", "b", "c", "d"]) trio.servers[leader].start(utf8(text));
    await trio.until(() => trio.applied.every((own) => own.length === 4));
    trio.servers[0].snapshot(2, utf8("ab"));
    trio.servers[0].snapshot(1, utf8("older than the present one: ignored"));
    assertEquals(textOf(trio.persisters[0].readSnapshot()), "ab");
    trio.start(0);
    await trio.until(() => trio.applied[0].length === 3);
    assertEquals(trio.applied[0], ["2 snapshot ab", "3 command c", "4 command d"]);
  }));

Deno.test("a server that missed what is compacted gets the snapshot, and counts on from there", () =>
  inVirtualTime(async (trio) => {
    const leader = await trio.startAll().leader();
    const late = (leader + 1) % 3;
    const cut = (enabled: boolean) => {
      for (const other of [0, 1, 2]) {
        trio.network.enable(`${late}`, `${other}`, enabled);
        trio.network.enable(`${other}`, `${late}`, enabled);
      }
    };
    cut(false);
    for (const text of ["a", "b", "c"]) trio.servers[leader].start(utf8(text));
    await trio.until(() => trio.applied[leader].length === 3);
    trio.servers[leader].snapshot(2, utf8("ab"));
    cut(true);
    await trio.until(() => trio.applied[late].length === 2);
    assertEquals(trio.applied[late], ["2 snapshot ab", "3 command c"]);
    assertEquals(textOf(trio.persisters[late].readSnapshot()), "ab");
    const next = await trio.leader();
    assertEquals(trio.servers[next].start(utf8("d")).index, 4);
    await trio.until(() => trio.applied[late].length === 3);
  }));

Deno.test("calls that arrive twice change nothing", () =>
  inVirtualTime(async (trio) => {
    trio.wrapPeer = (peer) => ({
      call: async (request) => {
        await peer.call(request);
        return await peer.call(request);
      },
    });
    const leader = await trio.startAll().leader();
    for (const text of ["a", "b", "c"]) trio.servers[leader].start(utf8(text));
    await trio.everywhere(["1 command a", "2 command b", "3 command c"]);
  }));

Deno.test("a server alone leads at once, and agrees with itself", () =>
  inVirtualTime(async ({ world }) => {
    const { clock, random } = world;
    const applied: string[] = [];
    const server = make(
      [{ call: () => Promise.resolve(null) }],
      0,
      new MemoryPersister(),
      (message) => {
        if (message.kind === "command") applied.push(textOf(message.command));
      },
      { clock, random },
    );
    await world.sleep(20);
    assertEquals(server.start(utf8("a")), { index: 1, term: 1, isLeader: true });
    await world.sleep(1);
    assertEquals(applied, ["a"]);
    server.kill();
  }));

Deno.test("a service that kills its server while it applies gets nothing more", () =>
  inVirtualTime(async (trio) => {
    trio.onApply = (id) => trio.servers[id].kill();
    const leader = await trio.startAll().leader();
    for (const text of ["a", "b"]) trio.servers[leader].start(utf8(text));
    await trio.world.sleep(2000);
    assertEquals(trio.applied[leader], ["1 command a"]);
  }));

Deno.test("a follower takes no command and says so", () =>
  inVirtualTime(async (trio) => {
    const leader = await trio.startAll().leader();
    const { term } = trio.servers[leader].getState();
    const follower = trio.servers[(leader + 1) % 3];
    await trio.until(() => follower.getState().term === term);
    assertEquals(follower.start(utf8("x")), { index: 0, term, isLeader: false });
  }));

Deno.test("a killed server takes, answers and writes nothing", () =>
  inVirtualTime(async (trio) => {
    const leader = await trio.startAll().leader();
    const server = trio.servers[leader];
    server.kill();
    const { stateBytes } = trio.persisters[leader];
    assertEquals(server.getState().isLeader, false);
    assertCode(() => server.start(utf8("x")), "shutting_down");
    assertCode(() => server.handle(utf8("x")), "shutting_down");
    await trio.world.sleep(2000);
    assertEquals(trio.persisters[leader].stateBytes, stateBytes);
  }));

Deno.test("what a service may not do is refused", () =>
  inVirtualTime(async (trio) => {
    const leader = await trio.startAll().leader();
    assertCode(() => trio.servers[leader].snapshot(1, utf8("too early")), "invalid_argument");
    const whole = new Uint8Array(limits.wholeSnapshotBytes + 1);
    assertCode(() => trio.servers[leader].snapshot(0, whole), "storage_full");
    for (const bytes of ["", "x", "\x93\x00\x01\x02"]) {
      assertCode(() => trio.servers[leader].handle(utf8(bytes)), "malformed");
    }
    const large = new Uint8Array(20 * 1024 * 1024);
    trio.servers[leader].start(large);
    assertCode(() => trio.servers[leader].start(large), "overloaded");
  }));

Deno.test("a persistent state whose last record was cut short in a crash is as if it was never written", () =>
  inVirtualTime(async (trio) => {
    const leader = await trio.startAll().leader();
    trio.servers[leader].start(utf8("a"));
    await trio.everywhere(["1 command a"]);
    trio.servers[leader].start(utf8("b"));
    await trio.until(() => trio.applied[leader].length === 2);
    const bytes = trio.persisters[leader].readState();
    const whole = decodeState(bytes);
    assertEquals(whole.log.commands, 2);
    for (const missing of [1, 3, 10]) {
      const cut = decodeState(bytes.subarray(0, bytes.length - missing));
      assertEquals(cut.log.commands, 1);
      assertEquals(cut.hard.term, whole.hard.term);
    }
  }));

Deno.test("the persistent state stays in proportion to the log however often it is written", () =>
  inVirtualTime(async (trio) => {
    const leader = await trio.startAll().leader();
    trio.onApply = (id, { index }) => {
      if (index % 10 === 0) trio.servers[id].snapshot(index, utf8(`${index}`));
    };
    let largest = 0;
    for (let number = 1; number <= 500; number += 1) {
      trio.servers[leader].start(utf8(`${number}`));
      await trio.until(() => trio.applied[leader].length === number);
      largest = Math.max(largest, ...trio.persisters.map(({ stateBytes }) => stateBytes));
    }
    assert(largest < 2000, `the state grew to ${largest} bytes`);
  }));
