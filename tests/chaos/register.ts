/**
 * Registers under fire: keys of `trilog kv` that clients at every node read, write and compare. A
 * key is left for a new one after a while: each is checked by itself.
 */

import { eventually, sleep } from "../e2e/harness.ts";
import { Company, type Request } from "./asking.ts";
import type { Dice } from "./dice.ts";
import { GroupServers } from "./group_servers.ts";
import { checkLinearizable, History, type Open } from "./history.ts";
import { Terminal } from "./terminal.ts";
import { Crew, type Scene, type Workload } from "./workload.ts";

const SLOTS = 3;
/** Operations on a key before the next takes its place. */
const OPERATIONS_PER_KEY = 200;

/** Chooses what to ask; keeps the value that was last seen or written under each key. */
class Choices {
  private asked = 0;
  private written = 0;
  private readonly latest = new Map<string, string>();

  constructor(private readonly dice: Dice) {}

  next(): Request {
    const { dice } = this;
    this.asked += 1;
    const generation = Math.floor(this.asked / (SLOTS * OPERATIONS_PER_KEY));
    const key = `r${dice.between(1, SLOTS)}.${generation}`;
    const chosen = dice.fraction();
    if (chosen < 0.45) return this.read(key);
    const next = String(this.written += 1);
    const old = this.latest.get(key) ?? null;
    return chosen < 0.7 ? this.write(key, next) : this.compareAndSet(key, old, next);
  }

  /** A read of every key that there ever was. */
  all(): readonly Request[] {
    return [...this.latest.keys()].map((key) => this.read(key));
  }

  private read(key: string): Request {
    return {
      line: `get ${key}`,
      f: "read",
      key,
      value: null,
      answer: ({ value }) => {
        this.latest.set(key, value);
        return value;
      },
      refusals: { no_such_key: (open) => open.ok(null) },
    };
  }

  private write(key: string, value: string): Request {
    const answer = () => {
      this.latest.set(key, value);
      return value;
    };
    return { line: `set ${key} ${value}`, f: "write", key, value, answer, refusals: {} };
  }

  private compareAndSet(key: string, old: string | null, next: string): Request {
    const differs = (open: Open) => open.ok(false);
    const answer = () => {
      this.latest.set(key, next);
      return true;
    };
    return {
      line: `cas ${key} ${old ?? "--absent"} ${next}`,
      f: "cas",
      key,
      value: [old, next],
      answer,
      refusals: { value_differs: differs, no_such_key: differs, key_exists: differs },
    };
  }
}

export async function startRegister(scene: Scene): Promise<Workload> {
  const { harness, dice } = scene;
  const servers = await GroupServers.start(scene, "kv");
  const { terminals } = servers;
  const history = new History();
  const company = new Company(history, dice, terminals);
  const choices = new Choices(dice);
  await eventually("a store that answers", async () => {
    return (await terminals[0].ask("list")).ok || null;
  });
  const crew = new Crew();
  for (const [at, terminal] of terminals.entries()) {
    let process = `client${at + 1}`;
    crew.employ(async () => {
      process = await company.ask(process, terminal, choices.next());
      await sleep(dice.between(0, 30));
    });
  }
  return {
    history,
    leader: () => servers.leader(),
    whole: () => servers.whole(),
    check: () => crew.check(),
    async finish() {
      await servers.whole();
      await crew.stop();
      await servers.level();
      for (const [at, terminal] of terminals.entries()) {
        for (const request of choices.all()) {
          await company.ask(`reader${at + 1}`, terminal, request);
        }
      }
      const verdict = await checkLinearizable(harness, history.events, "register");
      const slowestMs = Math.round(Terminal.slowestMs);
      return [verdict, `the slowest answer took ${slowestMs} ms`];
    },
  };
}
