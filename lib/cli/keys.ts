/**
 * PURE. Bytes of a terminal in raw mode to keys. Sequences and characters may be split between
 * chunks anywhere. (ECMA-48 control sequences as xterm sends them.)
 */

export type Key =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "press"; readonly name: KeyName };

export type KeyName =
  | "enter"
  | "tab"
  | "backspace"
  | "delete"
  | "left"
  | "right"
  | "up"
  | "down"
  | "home"
  | "end"
  | "word_left"
  | "word_right"
  | "delete_word_left"
  | "delete_word_right"
  | "delete_to_start"
  | "delete_to_end"
  | "insert_deleted"
  | "clear_screen"
  | "interrupt"
  | "end_of_input";

const CONTROL_KEYS: Readonly<Record<string, KeyName>> = {
  "\x01": "home",
  "\x02": "left",
  "\x03": "interrupt",
  "\x04": "end_of_input",
  "\x05": "end",
  "\x06": "right",
  "\x08": "backspace",
  "\t": "tab",
  "\n": "enter",
  "\x0b": "delete_to_end",
  "\x0c": "clear_screen",
  "\r": "enter",
  "\x0e": "down",
  "\x10": "up",
  "\x15": "delete_to_start",
  "\x17": "delete_word_left",
  "\x19": "insert_deleted",
  "\x7f": "backspace",
};

/** What follows ESC. `1;5C` is Ctrl with an arrow, `1;3C` Alt with it. */
const ESCAPE_KEYS: Readonly<Record<string, KeyName>> = {
  "[A": "up",
  "[B": "down",
  "[C": "right",
  "[D": "left",
  "[H": "home",
  "[F": "end",
  "OA": "up",
  "OB": "down",
  "OC": "right",
  "OD": "left",
  "OH": "home",
  "OF": "end",
  "[1~": "home",
  "[7~": "home",
  "[4~": "end",
  "[8~": "end",
  "[3~": "delete",
  "[1;5C": "word_right",
  "[1;5D": "word_left",
  "[1;3C": "word_right",
  "[1;3D": "word_left",
  "f": "word_right",
  "b": "word_left",
  "d": "delete_word_right",
  "\x7f": "delete_word_left",
};

// deno-lint-ignore no-control-regex
const SEQUENCE = /^\x1b(\[[0-?]*[ -/]*[@-~]|O[ -~]|[^[O])/;
const PASTE_START = "\x1b[200~";
const PASTE_END = "\x1b[201~";
/** A sequence that is still open after this many characters is none: it is thrown away. */
const LONGEST_SEQUENCE = 32;

export class KeyDecoder {
  private readonly decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  private pending = "";
  private pasting = false;

  /** Keys that are complete with these bytes; the rest waits for the next chunk. */
  decode(bytes: Uint8Array): Key[] {
    this.pending += this.decoder.decode(bytes, { stream: true });
    const keys: Key[] = [];
    while (this.pending !== "" && this.takeOne(keys)) { /* until nothing complete is left */ }
    return keys;
  }

  /** Takes one key or one run of text from the front; false where more bytes are needed. */
  private takeOne(keys: Key[]): boolean {
    if (this.pasting) return this.takePaste(keys);
    if (this.pending.startsWith(PASTE_START)) {
      this.pending = this.pending.slice(PASTE_START.length);
      this.pasting = true;
      return true;
    }
    if (this.pending[0] === "\x1b") return this.takeSequence(keys);
    // deno-lint-ignore no-control-regex
    const text = /^[^\x00-\x1f\x7f]*/.exec(this.pending)![0];
    if (text !== "") {
      keys.push({ kind: "text", text });
      this.pending = this.pending.slice(text.length);
      return true;
    }
    const name = CONTROL_KEYS[this.pending[0]];
    // CR LF is one Enter.
    const length = this.pending.startsWith("\r\n") ? 2 : 1;
    this.pending = this.pending.slice(length);
    if (name !== undefined) keys.push({ kind: "press", name });
    return true;
  }

  private takeSequence(keys: Key[]): boolean {
    const match = SEQUENCE.exec(this.pending);
    if (match === null) {
      if (this.pending.length < LONGEST_SEQUENCE) return false;
      this.pending = this.pending.slice(LONGEST_SEQUENCE);
      return true;
    }
    const name = ESCAPE_KEYS[match[1]];
    if (name !== undefined) keys.push({ kind: "press", name });
    this.pending = this.pending.slice(match[0].length);
    return true;
  }

  /** Pasted newlines are Enter; no other control character of a paste does anything. */
  private takePaste(keys: Key[]): boolean {
    const end = this.pending.indexOf(PASTE_END);
    const pasted = end < 0 ? this.pendingPaste() : this.pending.slice(0, end);
    for (const [at, line] of pasted.split(/\r\n|\r|\n/).entries()) {
      if (at > 0) keys.push({ kind: "press", name: "enter" });
      // deno-lint-ignore no-control-regex
      const text = line.replaceAll("\t", " ").replace(/[\x00-\x1f\x7f]/g, "");
      if (text !== "") keys.push({ kind: "text", text });
    }
    this.pending = this.pending.slice(pasted.length);
    if (end < 0) return false;
    this.pending = this.pending.slice(PASTE_END.length);
    this.pasting = false;
    return true;
  }

  /** Everything but what may be the beginning of the end mark or of a CR LF. */
  private pendingPaste(): string {
    const mark = this.pending.lastIndexOf("\x1b");
    const whole = this.pending.endsWith("\r") ? this.pending.slice(0, -1) : this.pending;
    const mayBeEnd = mark >= 0 && PASTE_END.startsWith(this.pending.slice(mark));
    return mayBeEnd ? this.pending.slice(0, mark) : whole;
  }
}
