/** Lines typed at a terminal: the thin driver between a raw terminal and the line editor. */

import { unlessAborted } from "../base/abort.ts";
import { TrilogError } from "../base/errors.ts";
import { type EditorAction, type EditorOptions, LineEditor } from "./editor.ts";
import { type Key, KeyDecoder } from "./keys.ts";
import type { Terminal } from "./terminal.ts";

const BRACKETED_PASTE_ON = "\x1b[?2004h";
const BRACKETED_PASTE_OFF = "\x1b[?2004l";

/**
 * Raw mode lasts only while a line is being typed: a command that runs in between can be stopped
 * by Ctrl-C like any other, and its output needs no care.
 */
export class LineReader {
  private readonly editor: LineEditor;
  private readonly decoder = new KeyDecoder();
  private readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  private readonly waiting: Key[] = [];
  private typing = false;
  private prompt = "";
  /** Kept, for a read cannot be taken back when the signal comes first. */
  private pendingRead: Promise<ReadableStreamReadResult<Uint8Array>> | null = null;
  private readonly signal: AbortSignal;

  /** `signal` ends the line being typed and all later ones, as the end of input does. */
  constructor(
    private readonly terminal: Terminal,
    options: EditorOptions & { readonly signal?: AbortSignal } = {},
  ) {
    this.editor = new LineEditor(options);
    this.reader = terminal.stdin.getReader();
    this.signal = options.signal ?? new AbortController().signal;
  }

  /**
   * The next line, or null at the end of input (Ctrl-D, or the signal). Ctrl-C gives up the line;
   * on an empty line it throws `cancelled`.
   */
  async next(prompt: string): Promise<string | null> {
    await this.terminal.flush();
    this.prompt = prompt;
    this.start();
    try {
      while (true) {
        const key = this.waiting.shift() ?? await this.readKey();
        if (key === null) return null;
        const action = this.editor.handle(key);
        if (action.kind === "submit") return action.line;
        if (action.kind === "end_of_input") return null;
        this.show(action);
      }
    } finally {
      this.stop();
    }
  }

  /** Writes text on a row of its own above the line being typed. */
  printAbove(text: string): void {
    if (!this.typing) return this.terminal.writeError(`${text}\n`);
    this.terminal.writeError(`\r\x1b[K${text.replaceAll("\n", "\r\n")}\r\n`);
    this.draw();
  }

  private start(): void {
    this.terminal.setRaw(true);
    this.typing = true;
    this.terminal.writeError(BRACKETED_PASTE_ON);
    this.draw();
  }

  private stop(): void {
    this.typing = false;
    this.terminal.writeError(`${BRACKETED_PASTE_OFF}\r\n`);
    this.terminal.setRaw(false);
  }

  private async readKey(): Promise<Key | null> {
    while (this.waiting.length === 0) {
      this.pendingRead ??= this.reader.read();
      const result = await unlessAborted(this.pendingRead, this.signal);
      if (result === null || result.done) return null;
      this.pendingRead = null;
      this.waiting.push(...this.decoder.decode(result.value));
    }
    return this.waiting.shift()!;
  }

  private show(action: EditorAction): void {
    switch (action.kind) {
      case "interrupt":
        if (action.empty) throw new TrilogError("cancelled", "Cannot read a line: interrupted");
        this.terminal.writeError("^C\x1b[K\r\n");
        return this.draw();
      case "clear_screen":
        this.terminal.writeError("\x1b[H\x1b[2J");
        return this.draw();
      case "candidates":
        return this.printAbove(action.words.join("  "));
      case "redraw":
        return this.draw();
    }
  }

  private draw(): void {
    this.terminal.writeError(this.editor.render(this.prompt, this.terminal.columns()));
  }
}
