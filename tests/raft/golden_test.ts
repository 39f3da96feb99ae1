/**
 * Golden scripts: `golden/*.txt` hold commands and the canonical text of what they lead to, as
 * `command`, `----`, expected output, empty line. Lines beginning with `#` are comments. After a
 * wanted change: `deno test -A --no-check tests/raft/golden_test.ts -- --rewrite`, and read the
 * difference.
 */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { describeMessage, describeReady, describeStatus } from "../../lib/raft/describe.ts";
import type { Message, RaftOptions, ReplicaId } from "../../lib/raft/types.ts";
import { targetOf } from "./disks.ts";
import { Cluster } from "./harness.ts";

const FOLDER = join(import.meta.dirname!, "golden");
const REWRITE = Deno.args.includes("--rewrite");

/** A script that runs: the cluster it made and what its last command led to. */
class Script {
  private cluster = new Cluster();
  private lines: string[] = [];

  /** The canonical text of one command's effects. */
  run(line: string): string {
    this.lines = [];
    const [command, ...words] = line.split(/\s+/);
    const act = this.commands[command];
    assert(act !== undefined, `unknown command ${command}`);
    act(words);
    return this.lines.length === 0 ? "ok" : this.lines.join("\n");
  }

  private readonly commands: Record<string, (words: string[]) => void> = {
    cluster: (words) => this.make(words),
    wait: ([ms]) => {
      this.cluster.nowMs += Number(ms);
    },
    tick: ([id]) => this.cluster.step(id, { kind: "tick" }),
    advance: ([ms, ids]) => this.cluster.advance(Number(ms), ids?.split(",")),
    elect: ([id]) => this.quietly(() => this.cluster.elect(id)),
    settle: ([ids]) => this.cluster.settle(ids?.split(",")),
    quiet: (words) => this.quietly(() => this.run(words.join(" "))),
    ready: ([id]) => {
      if (this.cluster.take(id) === null) this.lines.push("nothing");
    },
    sync: ([id, count]) => this.cluster.sync(id, Number(count ?? Infinity)),
    apply: ([id]) => this.cluster.apply(id),
    fetch: ([id]) => this.cluster.fetch(id),
    snapshot: ([id, how]) => this.cluster.sendSnapshots(id, how !== "fails"),
    deliver: (words) => {
      this.cluster.deliverAll(picker(words));
    },
    drop: (words) => this.cluster.drop(picker(words)),
    propose: ([id, text, count]) => {
      for (let left = Number(count ?? 1); left > 0; left -= 1) this.cluster.propose(id, text);
    },
    read: ([id]) => {
      this.cluster.read(id);
    },
    change: ([id, ...words]) => {
      const { voters, learners } = lists(words);
      this.cluster.change(id, targetOf(voters ?? [], learners ?? []));
    },
    transfer: ([id, to]) => this.cluster.step(id, { kind: "transfer_leadership", to }),
    unreachable: ([id, peer]) => this.cluster.step(id, { kind: "peer_unreachable", peer }),
    resume: ([id]) => this.cluster.step(id, { kind: "resume" }),
    compact: ([id, index]) => this.cluster.compact(id, Number(index)),
    crash: ([id]) => this.cluster.crash(id),
    restart: ([id]) => this.cluster.restart(id),
    isolate: ([id]) => this.cluster.isolate(id),
    cut: (links) => links.forEach((link) => this.cluster.cut.add(link)),
    heal: () => this.cluster.heal(),
    status: (ids) => {
      for (const id of ids) this.lines.push(describeStatus(this.cluster.status(id)));
    },
  };

  private make(words: string[]): void {
    const options: Record<string, number> = {};
    for (const word of words) {
      const [name, value] = word.split("=");
      if (!["voters", "learners", "blanks"].includes(name)) options[name] = Number(value);
    }
    const { voters, learners, blanks } = lists(words);
    this.cluster = new Cluster({
      voters: voters ?? ["1", "2", "3"],
      learners: learners ?? [],
      blanks: blanks ?? [],
      options: options as Partial<RaftOptions>,
    });
    this.cluster.onReady = (node, ready) => {
      this.lines.push(`${node.id} ${describeReady(ready)}`);
    };
    this.cluster.onDeliver = (message) => {
      this.lines.push(`deliver ${describeMessage(message)}`);
    };
  }

  private quietly(act: () => void): void {
    act();
    this.lines = [];
  }
}

/** `voters=1,2 learners=3` as lists. */
function lists(words: readonly string[]): Record<string, ReplicaId[] | undefined> {
  return Object.fromEntries(words.map((word) => {
    const [name, value] = word.split("=");
    return [name, value.split(",").filter((id) => id !== "")];
  }));
}

/** `1>2`, a kind, both or neither. */
function picker(words: readonly string[]): (message: Message) => boolean {
  const link = words.find((word) => word.includes(">"));
  const kind = words.find((word) => !word.includes(">"));
  return (message) =>
    (link === undefined || link === `${message.from}>${message.to}`) &&
    (kind === undefined || kind === message.kind);
}

/** The script with the outputs it leads to now. */
function replay(text: string): string {
  const script = new Script();
  const out: string[] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at];
    if (line === "----") {
      while (at + 1 < lines.length && lines[at + 1] !== "") at += 1;
      continue;
    }
    out.push(line);
    if (line !== "" && !line.startsWith("#")) out.push("----", script.run(line));
  }
  return out.join("\n");
}

for (const { name } of [...Deno.readDirSync(FOLDER)].sort((a, b) => a.name < b.name ? -1 : 1)) {
  Deno.test(`golden script ${name.replace(".txt", "")} leads to the text that it holds`, () => {
    const path = join(FOLDER, name);
    const text = Deno.readTextFileSync(path);
    const now = replay(text);
    if (REWRITE) Deno.writeTextFileSync(path, now);
    else assertEquals(now, text);
  });
}
