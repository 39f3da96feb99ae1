/**
 * PURE. A reader of EDN, Clojure's notation, as far as Jepsen's histories use it: nil, true, false,
 * numbers, strings, keywords, vectors, lists, maps, and tags, which are skipped. Keywords and
 * symbols become strings: `:ok` reads as ":ok", so that it differs from the string "ok"; only as the
 * names of a map do keywords lose their colons.
 */

import { TrilogError } from "../base/errors.ts";
import type { Value } from "./values.ts";

/** Deeper nesting than this is refused. */
const MAX_DEPTH = 32;

const SPACE = /[\s,]*/y;
const STRING = /"(?:[^"\\]|\\[\s\S])*"/y;
const WORD = /[^\s,"()[\]{}]+/y;
const NUMBER = /^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?[NM]?$/;

const CLOSING: Readonly<Record<string, string>> = { "[": "]", "(": ")", "{": "}" };
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r" };

/** The one value that `text` holds; throws `malformed` with the column of what is wrong. */
export function parseEdn(text: string): Value {
  const reader = new EdnReader(text);
  const value = reader.value(0);
  reader.end();
  return value;
}

/** The value at the beginning of `text`, whatever follows: log lines end in free text. */
export function parseEdnPrefix(text: string): Value {
  return new EdnReader(text).value(0);
}

class EdnReader {
  private at = 0;

  constructor(private readonly text: string) {}

  value(depth: number): Value {
    this.match(SPACE);
    if (depth > MAX_DEPTH) throw this.malformed(`more than ${MAX_DEPTH} levels`);
    const first = this.text[this.at];
    if (first === undefined) throw this.malformed("a value is missing");
    if (first === "#") return this.tagged(depth);
    if (first === '"') return this.string();
    if (first === "[" || first === "(") return this.items(CLOSING[first], depth);
    if (first === "{") return this.map(depth);
    return this.word();
  }

  end(): void {
    this.match(SPACE);
    if (this.at < this.text.length) throw this.malformed("something follows the value");
  }

  private tagged(depth: number): Value {
    this.match(WORD);
    return this.value(depth + 1);
  }

  private string(): string {
    const quoted = this.match(STRING);
    if (quoted === null) throw this.malformed("the string does not end");
    return quoted.slice(1, -1).replace(/\\([\s\S])/g, (_, letter) => ESCAPES[letter] ?? letter);
  }

  private items(closing: string, depth: number): Value[] {
    this.at += 1;
    const items: Value[] = [];
    while (!this.closes(closing)) items.push(this.value(depth + 1));
    return items;
  }

  private map(depth: number): Value {
    const items = this.items("}", depth);
    if (items.length % 2 !== 0) throw this.malformed("a map has a name without a value");
    const entries: [string, Value][] = [];
    for (let at = 0; at < items.length; at += 2) {
      entries.push([String(items[at]).replace(/^:/, ""), items[at + 1]]);
    }
    return Object.fromEntries(entries);
  }

  private closes(closing: string): boolean {
    this.match(SPACE);
    const next = this.text[this.at];
    if (next === undefined) throw this.malformed(`${closing} is missing`);
    if (next === closing) this.at += 1;
    return next === closing;
  }

  private word(): Value {
    const word = this.match(WORD);
    if (word === null) throw this.malformed(`${this.text[this.at]} is out of place`);
    if (word === "nil") return null;
    if (word === "true" || word === "false") return word === "true";
    return NUMBER.test(word) ? Number(word.replace(/[NM]$/, "")) : word;
  }

  private match(pattern: RegExp): string | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? null;
    if (found !== null) this.at += found.length;
    return found;
  }

  private malformed(state: string): TrilogError {
    return new TrilogError("malformed", `Cannot read EDN: ${state} at column ${this.at + 1}`);
  }
}
