/** Clients of the store record what they do with `--record`, and the checker judges it. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { type Harness, nowMs, sleep, withHarness } from "./harness.ts";
import { KvCluster } from "./kv_cluster.ts";

const KEYS = ["a", "b", "c"];
const CLIENTS = 4;
const PAUSE_MS = 15;
/** What a client may be told while nodes are killed and stopped. */
const FAILURES = ["value_differs", "unavailable", "outcome_unknown"];

/** Clients that ask one thing after another, all of which record in one file. */
class Crowd {
  readonly history: string;
  succeeded = 0;
  private stopped = false;
  private written = 0;
  private readonly working: Promise<void>[] = [];

  constructor(private readonly harness: Harness, private readonly cluster: KvCluster) {
    this.history = join(harness.temporaryDirectory(), "history.jsonl");
    for (let at = 0; at < CLIENTS; at += 1) this.working.push(this.work(at));
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.working);
  }

  /** Waits until `count` more requests have succeeded. */
  async progress(count: number): Promise<void> {
    const goal = this.succeeded + count;
    const endMs = nowMs() + 30_000;
    while (this.succeeded < goal) {
      assert(nowMs() < endMs, `${this.succeeded} of ${goal} requests succeeded`);
      await sleep(20);
    }
  }

  private async work(client: number): Promise<void> {
    // Everybody prefers another node, and goes on to the next when that one is gone.
    const nodes = this.cluster.nodes.map((_, at, all) => all[(at + client) % all.length].address);
    const terminal = this.harness.start(
      ...["kv", "--connect", nodes.join(","), "--json", "--record", this.history],
    );
    let place = 0;
    for (let turn = client; !this.stopped; turn += 1) {
      await terminal.write(`${this.next(turn)}\n`);
      const answer = await terminal.line("stdout", /^\{/, { from: place });
      place = answer.place + 1;
      const { ok, code } = JSON.parse(answer.text);
      if (ok || code === "no_such_key") this.succeeded += 1;
      else assert(FAILURES.includes(code), answer.text);
      await sleep(PAUSE_MS);
    }
    await terminal.endInput();
    await terminal.status();
  }

  private next(turn: number): string {
    const key = KEYS[turn % KEYS.length];
    if (turn % 2 === 0) return `get ${key}`;
    this.written += 1;
    const value = `v${this.written}`;
    if (turn % 7 === 0) return `cas ${key} v${this.written - 1} ${value}`;
    return `set ${key} ${value}`;
  }
}

async function judged(harness: Harness, path: string): Promise<void> {
  const { code, stdout, stderr } = await harness.run(["check", path, "--model", "kv"]);
  assertEquals(code, 0, stdout + stderr);
}

const LEASED = ["--reads", "lease", "--lease", "400ms", "--election-timeout", "500ms"];

for (const [how, flags] of [["under a lease", LEASED], ["by read index", []]] as const) {
  Deno.test(`reads ${how} are linearizable while leaders are killed and stopped`, async () => {
    await withHarness(async (harness) => {
      const cluster = await KvCluster.start(harness, 3, ["--log-level", "warn", ...flags]);
      await cluster.leader();
      const crowd = new Crowd(harness, cluster);
      await crowd.progress(100);
      const killed = await cluster.leader();
      await cluster.kill(killed);
      await crowd.progress(100);
      await cluster.restart(killed);
      const stopped = await cluster.leader();
      cluster.process(stopped).signal("SIGSTOP");
      await crowd.progress(100);
      cluster.process(stopped).signal("SIGCONT");
      await crowd.progress(100);
      await crowd.stop();
      await judged(harness, crowd.history);
    });
  });
}

Deno.test("bench kv deletes its keys, and its record is a linearizable history", async () => {
  await withHarness(async (harness) => {
    const cluster = await KvCluster.start(harness, 1);
    await cluster.leader();
    const path = join(harness.temporaryDirectory(), "history.jsonl");
    const { address } = cluster.nodes[0];
    const words = ["bench", "kv", "--connect", address, "--messages", "300", "--json"];
    const { code, stdout, stderr } = await harness.run([...words, "--record", path]);
    assertEquals([code, JSON.parse(stdout).setPerSecond > 0], [0, true], stderr);
    assertEquals((await cluster.done(["k1"], "list")).entries, []);
    // 300 sets, 300 gets and 300 deletions, each with its answer.
    assertEquals(Deno.readTextFileSync(path).trim().split("\n").length, 1_800);
    await judged(harness, path);
  });
});

Deno.test("the checker would tell an old value", async () => {
  await withHarness(async (harness) => {
    const events = [
      ["1", "invoke", "set", "v1"],
      ["1", "ok", "set", "v1"],
      ["1", "invoke", "set", "v2"],
      ["1", "ok", "set", "v2"],
      ["2", "invoke", "get", null],
      ["2", "ok", "get", "v1"],
    ];
    const history = events.map(([process, type, f, value], time) =>
      JSON.stringify({ process, type, f, key: "a", value, time })
    );
    const path = join(harness.temporaryDirectory(), "history.jsonl");
    Deno.writeTextFileSync(path, history.join("\n") + "\n");
    assertEquals((await harness.run(["check", path, "--model", "kv"])).code, 1);
  });
});
