/** Nodes of the key-value store as real processes, and clients that ask them. */

import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { eventually, type Finished, freePort, type Harness, type Running } from "./harness.ts";

// deno-lint-ignore no-explicit-any
export type Answer = any;

export interface KvNode {
  readonly name: string;
  readonly address: string;
  readonly data: string;
  process: Running | null;
}

export class KvCluster {
  readonly nodes: KvNode[] = [];
  private readonly root: string;

  private constructor(
    private readonly harness: Harness,
    private readonly flags: readonly string[],
  ) {
    this.root = harness.temporaryDirectory();
  }

  /** `count` nodes named k1, k2, ..., all of them serving. */
  static async start(
    harness: Harness,
    count: number,
    flags: readonly string[] = [],
  ): Promise<KvCluster> {
    const cluster = new KvCluster(harness, flags);
    for (let at = 1; at <= count; at += 1) cluster.plan(`k${at}`);
    await Promise.all(cluster.names.map((name) => cluster.restart(name)));
    return cluster;
  }

  /** Gives a node a name and a place, without starting it. */
  plan(name: string): KvNode {
    const address = `127.0.0.1:${freePort()}`;
    const node = { name, address, data: join(this.root, name), process: null };
    this.nodes.push(node);
    return node;
  }

  get names(): string[] {
    return this.nodes.map(({ name }) => name);
  }

  node(name: string): KvNode {
    return this.nodes.find((node) => node.name === name)!;
  }

  process(name: string): Running {
    return this.node(name).process!;
  }

  others(...names: readonly string[]): string[] {
    return this.names.filter((name) => !names.includes(name));
  }

  /** Starts a node that does not run; its peers are all that are planned by now. */
  async restart(name: string): Promise<void> {
    const node = this.node(name);
    const peers = this.nodes.map((peer) => `${peer.name}=${peer.address}`).join(",");
    node.process = this.harness.start(
      ...["kv", "--id", name, "--listen", node.address, "--peers", peers, "--data", node.data],
      ...this.flags,
    );
    await node.process.line("stderr", /^listening on /);
  }

  async kill(...names: readonly string[]): Promise<void> {
    await Promise.all(names.map((name) => this.process(name).kill()));
  }

  /** One command in words, given to these nodes. */
  run(names: readonly string[], words: readonly string[], flags: string[] = []): Promise<Finished> {
    const addresses = names.map((name) => this.node(name).address).join(",");
    return this.harness.run(["kv", "--connect", addresses, ...flags, "--", ...words]);
  }

  /** The JSON that a command brings. */
  async ask(names: readonly string[], ...words: readonly string[]): Promise<Answer> {
    const { stdout, stderr } = await this.run(names, words, ["--json"]);
    if (stdout === "") throw new Error(`${words.join(" ")}: nothing on stdout; ${stderr}`);
    return JSON.parse(stdout.split("\n")[0]);
  }

  /** A command that must succeed. */
  async done(names: readonly string[], ...words: readonly string[]): Promise<Answer> {
    const answer = await this.ask(names, ...words);
    assertEquals(answer.ok, true, `${words.join(" ")}: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** A command, repeated until it succeeds. */
  async eventually(names: readonly string[], ...words: readonly string[]): Promise<Answer> {
    return await eventually(`success of ${words.join(" ")}`, async () => {
      const answer = await this.ask(names, ...words);
      if (!answer.ok) throw new Error(JSON.stringify(answer));
      return answer;
    });
  }

  /** The leader that all of these nodes follow. */
  async leader(names: readonly string[] = this.names): Promise<string> {
    return await eventually(`a leader among ${names}`, async () => {
      const all = await Promise.all(names.map((name) => this.done([name], "status")));
      const leaders = new Set(all.map(({ leader }) => leader));
      const [leader] = leaders;
      return leaders.size === 1 && names.includes(leader) ? leader : null;
    });
  }

  /** Waits until these nodes have applied the same entries. */
  async level(names: readonly string[] = this.names): Promise<number> {
    return await eventually(`${names} to be level`, async () => {
      const all = await Promise.all(names.map((name) => this.done([name], "status")));
      const applied = all.map((status) => status.applied);
      if (new Set(applied).size === 1) return applied[0];
      throw new Error(`applied ${applied}`);
    });
  }

  /** Lines of a node's log that tell `message`. */
  told(name: string, message: string): readonly string[] {
    return this.process(name).lines("stderr").filter((line) => line.includes(` ${message} `));
  }

  /** Waits for a line of a node's log. */
  async tells(name: string, pattern: RegExp): Promise<string> {
    return (await this.process(name).line("stderr", pattern)).text;
  }
}
