/** Where somebody sits at a replicated machine: a terminal with a prompt, a pipe, or one command. */

import { concatBytes, displayText, utf8 } from "../lib/base/bytes.ts";
import { type ErrorCode, toTrilogError, TrilogError } from "../lib/base/errors.ts";
import type { Context } from "../lib/cli/command.ts";
import { HistoryFile, historyPath } from "../lib/cli/deno_history_file.ts";
import { type Desk, type Layout, serveDesk } from "../lib/cli/desk.ts";
import { LineReader } from "../lib/cli/line_reader.ts";
import { exitStatus, statusOf } from "../lib/cli/program.ts";
import { printError, type Terminal } from "../lib/cli/terminal.ts";

export interface SeatOptions {
  readonly prompt: string;
  /** Of the language that is typed, such as `atm`: its prompts share a history. */
  readonly language: string;
  /** Exit status after Ctrl-C at the prompt. */
  readonly interruptedStatus: number;
  /** Completions for the last word of a line. */
  readonly complete: (line: string) => readonly string[];
  /** Lines of a pipe. */
  readonly readLines: (input: ReadableStream<Uint8Array>) => AsyncIterable<string>;
}

const NEWLINE = utf8("\n");

export class Seat {
  private reader: LineReader | null = null;
  private readonly terminal: Terminal;
  private interrupted = false;

  constructor(
    private readonly context: Pick<Context, "terminal" | "words" | "json">,
    private readonly options: SeatOptions,
  ) {
    this.terminal = context.terminal;
  }

  /** Writes a line of the node's log without disturbing what is being typed. */
  note(line: string): void {
    if (this.reader === null) printError(this.terminal, line);
    else this.reader.printAbove(line);
  }

  /** Serves until the input ends; resolves with the exit status. */
  async serve(desk: Desk): Promise<number> {
    const { words, json } = this.context;
    if (words.length > 0) return await this.runOne(desk, words);
    const interactive = this.terminal.stdinIsTerminal;
    const layout: Layout = json ? "json" : interactive ? "lines" : "line";
    const { readLines } = this.options;
    const lines = interactive ? this.typedLines() : readLines(this.terminal.stdin);
    const print = (result: string | Uint8Array) => this.print(result);
    const succeeded = await serveDesk(desk, { lines, print, layout });
    if (this.interrupted) return this.options.interruptedStatus;
    return succeeded || interactive ? exitStatus.done : exitStatus.failed;
  }

  /** One command; its status tells what kind of failure it was. */
  private async runOne(desk: Desk, words: readonly string[]): Promise<number> {
    const reply = await desk.words(words);
    const shown = reply.show(this.context.json ? "json" : "lines");
    if (shown !== null) {
      const failed = reply.code !== null && typeof shown === "string" && !this.context.json;
      if (failed) printError(this.terminal, shown);
      else await this.print(shown);
    }
    return reply.code === null ? exitStatus.done : statusOfCode(reply.code);
  }

  private print(result: string | Uint8Array): Promise<void> | void {
    if (typeof result === "string") return this.terminal.print(result);
    if (this.terminal.stdoutIsTerminal) return this.terminal.print(harmless(displayText(result)));
    return this.terminal.write(concatBytes([result, NEWLINE]));
  }

  private async *typedLines(): AsyncGenerator<string, void, void> {
    const { complete, language } = this.options;
    const environment = (name: string) => this.terminal.environment(name);
    const history = new HistoryFile(historyPath(language, environment));
    this.reader = new LineReader(this.terminal, { complete, history: history.load() });
    try {
      for (;;) {
        const line = await this.reader.next(`${this.options.prompt}> `);
        if (line === null) return;
        history.add(line);
        yield line;
      }
    } catch (thrown) {
      if (toTrilogError(thrown).code !== "cancelled") throw thrown;
      this.interrupted = true;
    }
  }
}

/** Text of strangers for a terminal: control characters show and do nothing. */
function harmless(text: string): string {
  return text.replace(
    /(?![\n\t])\p{Cc}/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

function statusOfCode(code: ErrorCode): number {
  return statusOf(new TrilogError(code, ""));
}
