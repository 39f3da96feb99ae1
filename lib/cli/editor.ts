/**
 * PURE. A line editor: keys in, actions out, and the line as it should stand on the screen. The
 * usual Emacs keys; a line wider than the terminal scrolls sideways.
 */

import type { Key, KeyName } from "./keys.ts";
import { graphemes, graphemeWidth, textWidth } from "./width.ts";

/** What the driver has to do after a key. */
export type EditorAction =
  | { readonly kind: "none" }
  /** The line or the cursor moved: draw it again. */
  | { readonly kind: "redraw" }
  | { readonly kind: "clear_screen" }
  /** Enter. The editor is ready for the next line. */
  | { readonly kind: "submit"; readonly line: string }
  /** Ctrl-C: the line was given up; `empty` tells whether there was one. */
  | { readonly kind: "interrupt"; readonly empty: boolean }
  /** Ctrl-D on an empty line. */
  | { readonly kind: "end_of_input" }
  /** Tab with several ways to go on: show them, then draw again. */
  | { readonly kind: "candidates"; readonly words: readonly string[] };

export interface EditorOptions {
  /** Words that may stand in place of the last word of `before`, the text left of the cursor. */
  readonly complete?: (before: string) => readonly string[];
  /** Lines that Up and Down walk through; oldest first. */
  readonly history?: readonly string[];
  readonly maxHistory?: number;
}

const NONE: EditorAction = { kind: "none" };
const REDRAW: EditorAction = { kind: "redraw" };

export class LineEditor {
  /** One element a character as people see it. */
  private characters: string[] = [];
  private cursor = 0;
  private deleted = "";
  private readonly lines: string[];
  /** Place in `lines`; its length stands for the line being written. */
  private place: number;
  private draft = "";
  private readonly complete: (before: string) => readonly string[];
  private readonly maxHistory: number;

  constructor(options: EditorOptions = {}) {
    this.complete = options.complete ?? (() => []);
    this.lines = [...(options.history ?? [])];
    this.place = this.lines.length;
    this.maxHistory = options.maxHistory ?? 1_000;
  }

  get line(): string {
    return this.characters.join("");
  }

  /** Text left of the cursor. */
  get before(): string {
    return this.characters.slice(0, this.cursor).join("");
  }

  get history(): readonly string[] {
    return this.lines;
  }

  handle(key: Key): EditorAction {
    if (key.kind === "text") return this.insert(key.text);
    return this.press(key.name);
  }

  /**
   * Escape sequences that draw prompt, line and cursor on the current row of a terminal of
   * `columns`: what does not fit is scrolled out, so that the row never wraps.
   */
  render(prompt: string, columns: number): string {
    const room = Math.max(4, columns - textWidth(prompt) - 1);
    const widths = this.characters.map(graphemeWidth);
    let from = 0;
    let left = sum(widths, 0, this.cursor);
    while (left > room) left -= widths[from++];
    let to = this.cursor;
    let used = left;
    while (to < widths.length && used + widths[to] <= room) used += widths[to++];
    const shown = this.characters.slice(from, to).join("");
    const column = textWidth(prompt) + left;
    return `\r${prompt}${shown}\x1b[K\r${column > 0 ? `\x1b[${column}C` : ""}`;
  }

  private press(name: KeyName): EditorAction {
    switch (name) {
      case "enter":
        return this.submit();
      case "interrupt": {
        const empty = this.characters.length === 0;
        this.reset();
        return { kind: "interrupt", empty };
      }
      case "end_of_input":
        if (this.characters.length === 0) return { kind: "end_of_input" };
        return this.remove(this.cursor, this.cursor + 1);
      case "clear_screen":
        return { kind: "clear_screen" };
      case "tab":
        return this.completeWord();
      case "up":
        return this.recall(this.place - 1);
      case "down":
        return this.recall(this.place + 1);
      case "insert_deleted":
        return this.insert(this.deleted);
      default:
        return this.moveOrDelete(name);
    }
  }

  private moveOrDelete(
    name: Exclude<
      KeyName,
      | "enter"
      | "interrupt"
      | "end_of_input"
      | "clear_screen"
      | "tab"
      | "up"
      | "down"
      | "insert_deleted"
    >,
  ): EditorAction {
    const length = this.characters.length;
    switch (name) {
      case "left":
        return this.move(this.cursor - 1);
      case "right":
        return this.move(this.cursor + 1);
      case "home":
        return this.move(0);
      case "end":
        return this.move(length);
      case "word_left":
        return this.move(this.wordStart());
      case "word_right":
        return this.move(this.wordEnd());
      case "backspace":
        return this.remove(this.cursor - 1, this.cursor);
      case "delete":
        return this.remove(this.cursor, this.cursor + 1);
      case "delete_word_left":
        return this.cut(this.wordStart(), this.cursor);
      case "delete_word_right":
        return this.cut(this.cursor, this.wordEnd());
      case "delete_to_start":
        return this.cut(0, this.cursor);
      case "delete_to_end":
        return this.cut(this.cursor, length);
    }
  }

  private insert(text: string): EditorAction {
    if (text === "") return NONE;
    const after = this.characters.slice(this.cursor).join("");
    // An accent typed after its letter joins it, so both sides are taken apart anew.
    const left = this.before + text;
    this.characters = graphemes(left + after);
    this.cursor = Math.min(graphemes(left).length, this.characters.length);
    return REDRAW;
  }

  private move(to: number): EditorAction {
    const next = Math.max(0, Math.min(to, this.characters.length));
    if (next === this.cursor) return NONE;
    this.cursor = next;
    return REDRAW;
  }

  private remove(from: number, to: number): EditorAction {
    if (from < 0 || to > this.characters.length || from >= to) return NONE;
    this.characters.splice(from, to - from);
    this.cursor = from;
    return REDRAW;
  }

  /** Removes and keeps for Ctrl-Y. */
  private cut(from: number, to: number): EditorAction {
    if (from >= to) return NONE;
    this.deleted = this.characters.slice(from, to).join("");
    return this.remove(from, to);
  }

  private wordStart(): number {
    let at = this.cursor;
    while (at > 0 && this.characters[at - 1] === " ") at -= 1;
    while (at > 0 && this.characters[at - 1] !== " ") at -= 1;
    return at;
  }

  private wordEnd(): number {
    let at = this.cursor;
    const length = this.characters.length;
    while (at < length && this.characters[at] === " ") at += 1;
    while (at < length && this.characters[at] !== " ") at += 1;
    return at;
  }

  private submit(): EditorAction {
    const line = this.line;
    if (line.trim() !== "" && this.lines.at(-1) !== line) this.lines.push(line);
    if (this.lines.length > this.maxHistory) this.lines.shift();
    this.reset();
    return { kind: "submit", line };
  }

  private reset(): void {
    this.characters = [];
    this.cursor = 0;
    this.place = this.lines.length;
    this.draft = "";
  }

  private recall(place: number): EditorAction {
    if (place < 0 || place > this.lines.length) return NONE;
    if (this.place === this.lines.length) this.draft = this.line;
    this.place = place;
    this.characters = graphemes(place === this.lines.length ? this.draft : this.lines[place]);
    this.cursor = this.characters.length;
    return REDRAW;
  }

  private completeWord(): EditorAction {
    const before = this.before;
    const word = before.slice(before.lastIndexOf(" ") + 1);
    const words = this.complete(before).filter((candidate) => candidate.startsWith(word));
    if (words.length === 0) return NONE;
    if (words.length === 1) return this.insert(`${words[0].slice(word.length)} `);
    const shared = commonPrefix(words).slice(word.length);
    return shared === "" ? { kind: "candidates", words: [...words].sort() } : this.insert(shared);
  }
}

function sum(widths: readonly number[], from: number, to: number): number {
  let total = 0;
  for (let at = from; at < to; at += 1) total += widths[at];
  return total;
}

function commonPrefix(words: readonly string[]): string {
  return words.reduce((prefix, word) => {
    let length = 0;
    while (length < prefix.length && prefix[length] === word[length]) length += 1;
    return prefix.slice(0, length);
  });
}
