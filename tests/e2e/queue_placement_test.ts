/** Where replicas live: joining, moving, losing a disk, deleting, and who is taken for dead. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { eventually, withHarness } from "./harness.ts";
import { numberedLines, QueueCluster, type Server } from "./queue_cluster.ts";

interface Partition {
  readonly partition: number;
  readonly state: string;
  readonly voters: readonly string[];
}

async function describe(cluster: QueueCluster, topic: string): Promise<readonly Partition[]> {
  return JSON.parse(await cluster.done(["topic", "describe", topic, "--json"])).partitions;
}

async function allOk(cluster: QueueCluster, topic: string): Promise<void> {
  await eventually(`every partition of ${topic} to be ok`, async () => {
    const partitions = await describe(cluster, topic);
    return partitions.every(({ state }) => state === "ok") || null;
  });
}

/** Waits until a broker has that many replicas on its disk. */
async function hosts(cluster: QueueCluster, broker: Server, replicas: number): Promise<void> {
  const directory = join(cluster.data, broker.id, "groups");
  await eventually(`${replicas} replicas on ${broker.id}`, () => {
    return [...Deno.readDirSync(directory)].length === replicas || null;
  });
}

const text = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join("");

Deno.test("a partition moves to brokers that joined later, while messages flow", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    await cluster.createTopic("t");
    const former = [...cluster.brokers];
    const joined = ["b4", "b5", "b6"].map((id) => cluster.addBroker(id));
    await cluster.ready();
    const lines = numberedLines(0, 20_000);
    const producing = (async () => {
      for (let at = 0; at < lines.length; at += 1_000) {
        await cluster.done(["produce", "t"], text(lines.slice(at, at + 1_000)));
      }
    })();
    await cluster.done(["cluster", "move", "t/0", "--to", "b4,b2,b3"]);
    await cluster.done(["cluster", "move", "t/0", "--to", "b5,b6,b4"]);
    await producing;
    for (const broker of former) await hosts(cluster, broker, 0);
    for (const broker of joined) await hosts(cluster, broker, 1);
    for (const broker of former) await broker.process.kill();
    assertEquals(await cluster.done(["consume", "t"]), text(lines));
  });
});

Deno.test("a partition that was moved away and back is whole", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness, { brokers: 4 });
    await cluster.ready();
    await cluster.createTopic("t");
    const moves = ["b2,b3,b4", "b3,b4,b1", "b1,b2,b3", "b4,b1,b2"];
    const lines = numberedLines(0, 100 * moves.length);
    for (const [round, to] of moves.entries()) {
      await cluster.done(["produce", "t"], text(lines.slice(100 * round, 100 * round + 100)));
      // A broker that still deletes its former replica refuses a new one for a moment.
      await eventually(`the move to ${to}`, async () => {
        const { code } = await cluster.run(["cluster", "move", "t/0", "--to", to]);
        return code === 0 || null;
      });
    }
    assertEquals((await describe(cluster, "t"))[0].voters.toSorted(), ["b1", "b2", "b4"]);
    await (await cluster.leader("t")).process.kill();
    assertEquals(await cluster.done(["consume", "t"]), text(lines));
  });
});

Deno.test("a broker that lost its disk comes back as another and has everything again", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    await cluster.createTopic("t", 3);
    const lines = numberedLines(0, 1_000);
    await cluster.done(["produce", "t", "--partition", "1"], text(lines));
    const [victim, other] = cluster.brokers;
    await victim.process.kill();
    Deno.removeSync(join(cluster.data, victim.id), { recursive: true });
    cluster.restart(victim);
    await hosts(cluster, victim, 3);
    await allOk(cluster, "t");
    await other.process.kill();
    assertEquals(await cluster.done(["consume", "t", "--partition", "1"]), text(lines));
  });
});

Deno.test("a second broker of a name that is alive is kept out", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    const first = cluster.brokers[0];
    const args = [...first.args];
    args[args.indexOf("--data") + 1] = harness.temporaryDirectory();
    args[args.indexOf("--listen") + 1] = "127.0.0.1:0";
    const second = harness.start(...args);
    const { text: line } = await second.line("stderr", /broker of that name is still heard/);
    assertStringIncludes(line, "b1");
    await cluster.createTopic("t");
    await allOk(cluster, "t");
    assertEquals(first.process.exited, false);
  });
});

Deno.test("a deleted topic leaves every disk, also that of a broker that was away", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    await cluster.createTopic("t", 2);
    await cluster.done(["produce", "t"], text(numberedLines(0, 100)));
    const [away, ...present] = cluster.brokers;
    await away.process.kill();
    await cluster.done(["topic", "delete", "t"]);
    for (const broker of present) await hosts(cluster, broker, 0);
    await hosts(cluster, away, 2);
    await cluster.createTopic("t");
    assertEquals(await cluster.done(["consume", "t"]), "", "the name is the same, the topic not");
    cluster.restart(away);
    await hosts(cluster, away, 1);
    const { code, stderr } = await cluster.run(["topic", "delete", "other"]);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "no_such_topic");
  });
});

Deno.test("a silent broker is declared dead in time, and is alive again when it returns", async () => {
  await withHarness(async (harness) => {
    const managerFlags = ["--heartbeat-interval", "200ms", "--time-to-dead", "2s"];
    const cluster = new QueueCluster(harness, { managerFlags });
    await cluster.ready();
    const alive = async () =>
      (await cluster.status()).brokers.filter((broker) => broker.alive).map(({ id }) => id);
    const victim = cluster.brokers[2];
    victim.process.signal("SIGSTOP");
    await eventually("b3 to be declared dead", async () => (await alive()).length === 2 || null);
    await (await cluster.leadingManager()).process.kill();
    assertEquals(await alive(), ["b1", "b2"], "a new leader knows it, too");
    victim.process.signal("SIGCONT");
    await eventually("b3 to be alive again", async () => (await alive()).length === 3 || null);
  });
});

/** Damages the middle of a manager's log, far below what was synced. */
function rot(directory: string): void {
  const [group] = [...Deno.readDirSync(join(directory, "groups"))].map(({ name }) => name);
  const files = [...Deno.readDirSync(join(directory, "groups", group))].map(({ name }) => name);
  const segment = join(directory, "groups", group, files.filter((f) => f.endsWith("segment"))[0]);
  const bytes = Deno.readFileSync(segment);
  bytes[400] ^= 0xff;
  Deno.writeFileSync(segment, bytes);
}

/** A manager as the leader sees it. */
async function manager(
  cluster: QueueCluster,
  server: Server,
): Promise<{ id: string; replicaId: string; role: string }> {
  const { managers } = JSON.parse((await cluster.run(["cluster", "status", "--json"])).stdout);
  return managers.find(({ id }: { id: string }) => id === server.id);
}

for (
  const [fault, damage] of [
    ["lost", (directory: string) => Deno.removeSync(directory, { recursive: true })],
    ["rotted", rot],
  ] as const
) {
  Deno.test(`a manager whose disk is ${fault} is taken in again and counts`, async () => {
    await withHarness(async (harness) => {
      const cluster = new QueueCluster(harness);
      await cluster.ready();
      await cluster.createTopic("t", 3);
      const [victim, other] = cluster.managers;
      await victim.process.kill();
      const former = await manager(cluster, victim);
      damage(join(cluster.data, victim.id));
      cluster.restart(victim);
      await eventually("another identity to have its place", async () => {
        const { replicaId, role } = await manager(cluster, victim);
        return (replicaId !== former.replicaId && role === "follower") || null;
      });
      await other.process.kill();
      assertEquals(await cluster.done(["topic", "list"]), "t\n");
      await cluster.createTopic("more");
      await allOk(cluster, "t");
    });
  });
}
