/** ATMs as real processes behind links that can be cut, and tellers who type at them. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { eventually, freePort, type Harness, nowMs, type Running } from "./harness.ts";
import { Links } from "./links.ts";

/** What a person was promised: an answer within this time, whatever happened. */
export const ANSWER_MS = 5_000;

// deno-lint-ignore no-explicit-any
export type Answer = any;

export interface AtmNode {
  readonly name: string;
  /** Port of the node itself; tellers connect to it past the links. */
  readonly port: number;
  /** Address that the other ATMs dial: the links. */
  readonly advertised: string;
  readonly data: string;
  process: Running | null;
}

/** A terminal that stays connected to one ATM: a line in, a JSON object out. */
export class Teller {
  private place = 0;
  private last: Promise<unknown> = Promise.resolve();

  constructor(private readonly process: Running) {}

  /** Types a line after those before it; the answer must come within the promised time. */
  ask(line: string): Promise<Answer> {
    const answer = this.last.then(() => this.askNow(line));
    this.last = answer.catch(() => {});
    return answer;
  }

  private async askNow(line: string): Promise<Answer> {
    const startMs = nowMs();
    await this.process.write(`${line}\n`);
    const { text, place } = await this.process.line("stdout", /^\{/, { from: this.place });
    this.place = place + 1;
    const tookMs = nowMs() - startMs;
    assert(tookMs <= ANSWER_MS, `"${line}" was answered after ${Math.round(tookMs)} ms`);
    return JSON.parse(text);
  }

  /** Types a line whose answer must be a success. */
  async done(line: string): Promise<Answer> {
    const answer = await this.ask(line);
    assert(answer.ok, `${line}: ${JSON.stringify(answer)}`);
    return answer;
  }

  /** Types a line until it succeeds. */
  async eventually(line: string): Promise<Answer> {
    return await eventually(`success of "${line}"`, async () => {
      const answer = await this.ask(line);
      if (!answer.ok) throw new Error(JSON.stringify(answer));
      return answer;
    });
  }
}

export class AtmCluster {
  readonly nodes: readonly AtmNode[];
  readonly links = new Links();
  private readonly tellers = new Map<string, Teller>();

  private constructor(
    private readonly harness: Harness,
    names: readonly string[],
    private readonly flags: readonly string[],
  ) {
    const root = harness.temporaryDirectory();
    harness.defer(() => this.links.close());
    this.nodes = names.map((name) => {
      const port = freePort();
      const advertised = this.links.add(name, port);
      return { name, port, advertised, data: join(root, name), process: null };
    });
  }

  /** `count` ATMs named a1, a2, ..., all of them serving. */
  static async start(
    harness: Harness,
    count: number,
    flags: readonly string[] = [],
  ): Promise<AtmCluster> {
    const names = Array.from({ length: count }, (_, at) => `a${at + 1}`);
    const cluster = new AtmCluster(harness, names, flags);
    for (const node of cluster.nodes) cluster.launch(node.name);
    await Promise.all(cluster.nodes.map(({ name }) => cluster.listening(name)));
    return cluster;
  }

  get names(): string[] {
    return this.nodes.map(({ name }) => name);
  }

  node(name: string): AtmNode {
    return this.nodes.find((node) => node.name === name)!;
  }

  process(name: string): Running {
    return this.node(name).process!;
  }

  others(...names: readonly string[]): string[] {
    return this.names.filter((name) => !names.includes(name));
  }

  /** Words that start the ATM `name`, without its mode. */
  words(name: string): string[] {
    const { port, advertised, data } = this.node(name);
    const peers = this.nodes.map((node) => `${node.name}=${node.advertised}`).join(",");
    return [
      "atm",
      ...["--id", name, "--listen", `127.0.0.1:${port}`, "--advertise", advertised],
      ...["--peers", peers, "--data", data],
      ...this.flags,
    ];
  }

  /** Starts a process for an ATM that has none, without waiting for it. */
  launch(name: string): Running {
    const process = this.harness.start(...this.words(name), "--serve");
    this.node(name).process = process;
    return process;
  }

  async listening(name: string): Promise<void> {
    await this.process(name).line("stderr", /^listening on /);
  }

  async restart(name: string): Promise<void> {
    this.launch(name);
    await this.listening(name);
  }

  async kill(...names: readonly string[]): Promise<void> {
    await Promise.all(names.map((name) => this.process(name).kill()));
  }

  /** The teller who stands at an ATM; one each, connected for as long as the test runs. */
  at(name: string): Teller {
    let teller = this.tellers.get(name);
    if (teller === undefined) {
      teller = this.another(name);
      this.tellers.set(name, teller);
    }
    return teller;
  }

  /** One more teller at an ATM, who need not wait for the others there. */
  another(name: string): Teller {
    const address = `127.0.0.1:${this.node(name).port}`;
    return new Teller(this.harness.start("atm", "--connect", address, "--json"));
  }

  /** The name of the leader that every one of these ATMs follows. */
  async leader(names: readonly string[] = this.names): Promise<string> {
    return await eventually(`a leader among ${names}`, async () => {
      const all = await Promise.all(names.map((name) => this.at(name).ask("status")));
      const leaders = new Set(all.map((status) => status.ok ? status.leader : null));
      const [leader] = leaders;
      return leaders.size === 1 && leader !== null && names.includes(leader) ? leader : null;
    });
  }

  /** Balances by account as an ATM tells them. */
  async balances(name: string): Promise<Record<string, string>> {
    const { accounts } = await this.at(name).eventually("accounts");
    return Object.fromEntries(
      accounts.map(({ account, balance }: Answer) => [account, balance]),
    );
  }

  /** Every one of these ATMs tells exactly these balances. */
  async agreeOn(
    expected: Readonly<Record<string, string>>,
    names: readonly string[] = this.names,
  ): Promise<void> {
    for (const name of names) {
      assertEquals(await this.balances(name), expected, `balances at ${name}`);
    }
  }

  /** Deposits a cent that many times through a pipe at one ATM. */
  async deposits(name: string, account: string, count: number): Promise<void> {
    const address = `127.0.0.1:${this.node(name).port}`;
    const lines = `deposit ${account} 0.01\n`.repeat(count);
    const { code, stderr } = await this.harness.run(["atm", "--connect", address], lines);
    assertEquals([code, stderr], [0, ""]);
  }

  /** Waits until these ATMs have applied the same entries as the furthest of them. */
  async level(names: readonly string[] = this.names, patienceMs?: number): Promise<void> {
    await eventually(`${names} to be level`, async () => {
      const all = await Promise.all(names.map((name) => this.at(name).ask("status")));
      const applied = all.map((status) => status.applied);
      const leaders = new Set(all.map((status) => status.leader));
      if (new Set(applied).size === 1 && leaders.size === 1) return applied[0];
      throw new Error(`applied ${applied}, leaders ${[...leaders]}`);
    }, patienceMs);
  }
}

/** The sum of balances, in cents. */
export function centsOf(balances: Readonly<Record<string, string>>): number {
  return Object.values(balances).reduce((sum, text) => sum + Number(text.replace(".", "")), 0);
}
