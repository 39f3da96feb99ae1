/**
 * The key-value store as a simulated system, and its books: the entries after each command, with
 * those ended that are due by its stamp.
 */

import { textOf, utf8 } from "../base/bytes.ts";
import { silentLogger } from "../base/logger.ts";
import type { Prng } from "../base/prng.ts";
import { type Answer, type Command, decodeAnswer, decodeCommand } from "../kv/codec.ts";
import { encodeCommand, encodeQuestion, type KeyValue, type Question } from "../kv/codec.ts";
import { Expirer } from "../kv/expirer.ts";
import { KvMachine } from "../kv/machine.ts";
import type { Index } from "../raft/types.ts";
import type { Noted } from "./command_watch.ts";
import type { Books, Trade } from "./trade.ts";

type Look = Extract<Question, { op: "get" | "list" | "revision" }>;

const KEYS = ["ada", "bob", "bobby", "cy"].map((key) => utf8(key));
/** Values are few, so that a compare-and-set often meets the one that it expects. */
const VALUES = ["", "one", "two", "x".repeat(300)].map((value) => utf8(value));
/** Times to live: some end between two commands, some while the leader is away. */
const TIMES_TO_LIVE_MS = [null, null, 1, 60, 2_000];

export const kvTrade: Trade<Command, Look, Answer, KvMachine> = {
  newMachine: () => new KvMachine(),
  newBooks: () => new KvBooks(),
  background: (machine, { clock, replica }, service) =>
    new Expirer({
      clock,
      logger: silentLogger,
      machine,
      isLeader: () => replica.isLeader,
      stampMs: () => replica.stampMs(),
      propose: (command) => service.command(command),
    }).start(),
  encodeCommand,
  decodeCommand,
  requestIdOf: (command) => command.op === "expire" ? null : command.requestId,
  encodeQuestion,
  decodeAnswer,
  drawCommand: draw,
  drawQuestion: drawLook,
  proofCommand: (random, requestId) => ({ ...drawSet(random, requestId), key: KEYS[0] }),
  proofQuestion: { op: "get", key: KEYS[0] },
};

function draw(random: Prng, requestId: string): Command {
  const op = random.pick(["set", "set", "delete", "cas", "cas"] as const);
  const set = drawSet(random, requestId);
  if (op === "set") return set;
  if (op === "delete") return { op, requestId, key: set.key };
  return { ...set, op, old: random.pick([null, ...VALUES]) };
}

function drawSet(random: Prng, requestId: string): Extract<Command, { op: "set" }> {
  const [key, value] = [random.pick(KEYS), random.pick(VALUES)];
  return { op: "set", requestId, key, value, ttlMs: random.pick(TIMES_TO_LIVE_MS) };
}

function drawLook(random: Prng): Look {
  const op = random.pick(["get", "get", "list", "revision"] as const);
  const key = random.pick(KEYS);
  if (op === "get") return { op, key };
  return op === "list" ? { op, prefix: key, after: utf8("") } : { op };
}

/** The whole store on one page. */
interface State {
  /** By the key's text, sorted by it. */
  readonly entries: ReadonlyMap<string, KeyValue>;
  readonly revision: number;
}

class KvBooks implements Books<Command, Look, Answer> {
  readonly pages: Index[] = [0];
  private readonly states: State[] = [{ entries: new Map(), revision: 0 }];
  /** Right answers to requests, by the index of their first command. */
  private readonly answers = new Map<Index, Answer>();
  private entries = new Map<string, KeyValue>();
  private revision = 0;

  enter({ index, timeMs, command }: Noted<Command>, first: boolean): void {
    for (const [name, { expiresAtMs }] of this.entries) {
      if (expiresAtMs !== null && expiresAtMs <= timeMs) this.drop(name);
    }
    if (first && command.op !== "expire") this.answers.set(index, this.run(command, timeMs));
    this.pages.push(index);
    const sorted = [...this.entries].sort(([left], [right]) => left < right ? -1 : 1);
    this.states.push({ entries: new Map(sorted), revision: this.revision });
  }

  wrongAnswer(index: Index, _: Command, answer: Answer): string | null {
    const right = visible(this.answers.get(index) as Answer);
    return right === visible(answer) ? null : `the answer was ${visible(answer)}, not ${right}`;
  }

  isTrue(page: number, question: Look, answer: Answer): boolean {
    return visible(answer) === visible(this.answer(this.states[page], question));
  }

  private run(command: Exclude<Command, { op: "expire" }>, timeMs: number): Answer {
    const name = textOf(command.key);
    const present = this.entries.get(name);
    if (command.op === "delete") {
      if (present !== undefined) this.drop(name);
      return { kind: "deleted", existed: present !== undefined };
    }
    if (command.op === "cas") {
      const { old } = command;
      if (old === null && present !== undefined) return { kind: "refused", code: "key_exists" };
      if (old !== null && present === undefined) return { kind: "refused", code: "no_such_key" };
      if (old !== null && textOf(old) !== textOf(present!.value)) {
        return { kind: "refused", code: "value_differs" };
      }
    }
    const { key, value, ttlMs } = command;
    this.revision += 1;
    const { revision } = this;
    const expiresAtMs = ttlMs === null ? null : timeMs + ttlMs;
    this.entries.set(name, { key, value, revision, expiresAtMs });
    return { kind: "set", revision };
  }

  private answer({ entries, revision }: State, question: Look): Answer {
    if (question.op === "revision") return { kind: "revision", revision };
    if (question.op === "get") {
      const entry = entries.get(textOf(question.key));
      return entry === undefined
        ? { kind: "refused", code: "no_such_key" }
        : { kind: "value", entry };
    }
    const prefix = textOf(question.prefix);
    const found = [...entries].filter(([name]) => name.startsWith(prefix));
    return { kind: "entries", entries: found.map(([, entry]) => entry), more: false };
  }

  private drop(name: string): void {
    this.entries.delete(name);
    this.revision += 1;
  }
}

/** An answer as text, bytes as they read. */
function visible(answer: Answer): string {
  return JSON.stringify(answer, (_, value) => value instanceof Uint8Array ? textOf(value) : value);
}
