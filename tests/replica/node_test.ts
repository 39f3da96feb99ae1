/** Nodes of a replicated machine on real sockets and directories: what they do with their groups. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { sleep } from "../../lib/base/clock.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { silentLogger } from "../../lib/base/logger.ts";
import { Prng } from "../../lib/base/prng.ts";
import { systemClock } from "../../lib/base/system_clock.ts";
import { randomIdentity } from "../../lib/base/system_random.ts";
import { utf8 } from "../../lib/base/bytes.ts";
import type { NodeInfo } from "../../lib/raft/types.ts";
import { Node } from "../../lib/replica/node.ts";
import { DenoDisk } from "../../lib/storage/deno_disk.ts";
import { readIdentity } from "../../lib/storage/identity.ts";
import { verifyDirectory } from "../../lib/storage/inspect.ts";
import { GROUPS_DIRECTORY } from "../../lib/storage/layout.ts";
import { freePort } from "../e2e/ports.ts";
import { Register } from "./cluster.ts";

const PATIENCE_MS = 15_000;

class Nodes {
  readonly peers: readonly NodeInfo[];
  readonly running = new Map<string, Node>();
  private readonly root = Deno.makeTempDirSync();

  constructor(count: number) {
    this.peers = Array.from({ length: count }, (_, at) => {
      return { name: `k${at + 1}`, address: `127.0.0.1:${freePort()}` };
    });
  }

  static async with(count: number, test: (nodes: Nodes) => Promise<void>): Promise<void> {
    const nodes = new Nodes(count);
    try {
      await test(nodes);
    } finally {
      for (const node of nodes.running.values()) await node.process.stop();
      Deno.removeSync(nodes.root, { recursive: true });
    }
  }

  start(name: string): Node {
    const node = Node.start({
      name,
      listen: this.peers.find((peer) => peer.name === name)!.address,
      token: "",
      disk: this.disk(name),
      clock: systemClock,
      random: new Prng(name.charCodeAt(1)),
      logger: silentLogger,
      heartbeatMs: 40,
      electionTimeoutMs: 200,
      newIdentity: randomIdentity,
      onFatal: () => {},
      group: "register",
      machine: () => new Register(),
      peers: this.peers,
      segmentBytes: 64 * 1024,
    });
    this.running.set(name, node);
    return node;
  }

  async kill(name: string): Promise<void> {
    const node = this.running.get(name)!;
    this.running.delete(name);
    await node.process.stop();
    const port = Number(node.address.split(":")[1]);
    await this.until(`${name}'s port is free again`, () => isFree(port));
  }

  disk(name: string): DenoDisk {
    return new DenoDisk(this.directory(name));
  }

  directory(name: string): string {
    return join(this.root, name);
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    const endMs = systemClock.monotonicMs() + PATIENCE_MS;
    while (!holds()) {
      assert(systemClock.monotonicMs() < endMs, `not within ${PATIENCE_MS} ms: ${what}`);
      await sleep(systemClock, 10);
    }
  }

  /** Sets the register through a node. */
  async put(name: string, value: string): Promise<void> {
    await this.running.get(name)!.service.command(utf8(value), PATIENCE_MS);
  }

  applied(name: string): number {
    return (this.running.get(name)!.machine as Register).applied;
  }

  role(name: string): string {
    return this.running.get(name)!.status().role;
  }
}

function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch {
    return false;
  }
}

Deno.test("a node whose groups are gone comes back blank under a new identity, and is rebuilt", async () => {
  await Nodes.with(3, async (nodes) => {
    for (const { name } of nodes.peers) nodes.start(name);
    await nodes.put("k1", "a");
    await nodes.put("k2", "b");
    const { replicaId } = readIdentity(nodes.disk("k3"))!;
    await nodes.kill("k3");
    Deno.removeSync(join(nodes.directory("k3"), GROUPS_DIRECTORY), { recursive: true });
    const [fault] = verifyDirectory(nodes.disk("k3"));
    assert(fault.problem.includes("names group register"), fault.problem);
    nodes.start("k3");
    assertEquals([nodes.role("k3"), nodes.running.get("k3")!.replica], ["blank", null]);
    assert(readIdentity(nodes.disk("k3"))!.replicaId !== replicaId);
    await nodes.until("k3 is a voter again", () => {
      const members = nodes.running.get("k3")!.status().members;
      return members.length === 3 && members.every(({ role }) => role === "voter");
    });
    await nodes.until("k3 has everything", () => nodes.applied("k3") === 2);
  });
});

Deno.test("a node that is alone and whose group is gone refuses to start, and changes nothing", async () => {
  await Nodes.with(1, async (nodes) => {
    nodes.start("k1");
    await nodes.put("k1", "a");
    await nodes.kill("k1");
    const groups = join(nodes.directory("k1"), GROUPS_DIRECTORY);
    Deno.renameSync(groups, `${groups}-away`);
    const { replicaId } = readIdentity(nodes.disk("k1"))!;
    const error = assertThrows(() => nodes.start("k1"), TrilogError, "the directory is missing");
    assertEquals(error.code, "corrupt");
    assertEquals(readIdentity(nodes.disk("k1"))!.replicaId, replicaId);
    Deno.renameSync(`${groups}-away`, groups);
    nodes.start("k1");
    await nodes.until("k1 has its entries", () => nodes.applied("k1") === 1);
  });
});

Deno.test("a node that is given another node's groups sets them aside", async () => {
  await Nodes.with(3, async (nodes) => {
    for (const { name } of nodes.peers) nodes.start(name);
    await nodes.put("k1", "a");
    await nodes.until("k2 has it", () => nodes.applied("k2") === 1);
    await nodes.kill("k2");
    await nodes.kill("k3");
    const groups = (name: string) => join(nodes.directory(name), GROUPS_DIRECTORY);
    Deno.removeSync(groups("k3"), { recursive: true });
    Deno.renameSync(groups("k2"), groups("k3"));
    const [fault] = verifyDirectory(nodes.disk("k3"));
    assert(fault.problem.includes("belongs to replica"), fault.problem);
    nodes.start("k3");
    assertEquals(nodes.role("k3"), "blank");
  });
});
