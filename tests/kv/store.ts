/** A key-value machine driven by commands and questions as values, with the log's time in hand. */

import { utf8 } from "../../lib/base/bytes.ts";
import {
  type Answer,
  type Command,
  decodeAnswer,
  encodeCommand,
  encodeQuestion,
  type Question,
} from "../../lib/kv/codec.ts";
import { KvMachine } from "../../lib/kv/machine.ts";

export const START_MS = 1_700_000_000_000;

export class Store {
  readonly machine: KvMachine;
  /** Stamp of the next entry. */
  timeMs = START_MS;
  index = 0;
  private ids = 0;

  constructor(machine = new KvMachine()) {
    this.machine = machine;
  }

  newId(): string {
    this.ids += 1;
    return `id-${this.ids}`;
  }

  run(command: Command): Answer {
    return decodeAnswer(this.applyBytes(encodeCommand(command)));
  }

  applyBytes(command: Uint8Array): Uint8Array {
    this.index += 1;
    return this.machine.apply(command, { index: this.index, term: 1, timeMs: this.timeMs });
  }

  ask(question: Question): Answer {
    return decodeAnswer(this.machine.query(encodeQuestion(question)));
  }

  set(key: string, value: string, ttlMs: number | null = null): Answer {
    const requestId = this.newId();
    return this.run({ op: "set", requestId, key: utf8(key), value: utf8(value), ttlMs });
  }

  cas(key: string, old: string | null, value: string): Answer {
    const from = old === null ? null : utf8(old);
    const requestId = this.newId();
    return this.run({
      op: "cas",
      requestId,
      key: utf8(key),
      old: from,
      value: utf8(value),
      ttlMs: null,
    });
  }

  delete(key: string): Answer {
    return this.run({ op: "delete", requestId: this.newId(), key: utf8(key) });
  }

  /** The value as text, or null. */
  get(key: string): string | null {
    const answer = this.ask({ op: "get", key: utf8(key) });
    return answer.kind === "value" ? new TextDecoder().decode(answer.entry.value) : null;
  }

  /** All pages of a list, as texts. */
  list(prefix = ""): [string, string][] {
    const all: [string, string][] = [];
    let after: Uint8Array = new Uint8Array(0);
    while (true) {
      const page = this.ask({ op: "list", prefix: utf8(prefix), after });
      if (page.kind !== "entries") throw new Error(JSON.stringify(page));
      const texts = new TextDecoder();
      for (const { key, value } of page.entries) all.push([texts.decode(key), texts.decode(value)]);
      if (!page.more) return all;
      after = page.entries[page.entries.length - 1].key;
    }
  }

  /** Changes after a revision as texts, `3 set a 1`; or the refusal's code. */
  changes(after: number, prefix = ""): string[] | string {
    const answer = this.ask({ op: "changes", prefix: utf8(prefix), after });
    if (answer.kind === "refused") return answer.code;
    if (answer.kind !== "changes") throw new Error(JSON.stringify(answer));
    const texts = new TextDecoder();
    return answer.changes.map(({ revision, kind, key, value }) =>
      [revision, kind, texts.decode(key), ...(value === null ? [] : [texts.decode(value)])].join(
        " ",
      )
    );
  }
}

/** A second machine that was restored from the first one's snapshot. */
export function restored(machine: KvMachine): KvMachine {
  const copy = new KvMachine();
  copy.restore(machine.snapshot());
  return copy;
}

export function codeOf(answer: Answer): string {
  return answer.kind === "refused" ? answer.code : "ok";
}
