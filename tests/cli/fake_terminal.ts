/** A terminal in memory: what a command reads is given, what it writes is kept. */

import { displayText, utf8 } from "../../lib/base/bytes.ts";
import { OutputClosed, type Terminal } from "../../lib/cli/terminal.ts";

export interface FakeOptions {
  /** Chunks of standard input, each read on its own. */
  readonly input?: readonly (string | Uint8Array)[];
  /** Standard input does not end after the chunks: a person is there who types nothing more. */
  readonly staysOpen?: boolean;
  readonly environment?: Readonly<Record<string, string>>;
  readonly isTerminal?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  /** The reader of stdout goes away after this many bytes. */
  readonly closesAfterBytes?: number;
}

export class FakeTerminal implements Terminal {
  readonly stdin: ReadableStream<Uint8Array>;
  readonly stdinIsTerminal: boolean;
  readonly stdoutIsTerminal: boolean;
  readonly stderrIsTerminal: boolean;
  /** Raw mode switched on and off, in order. */
  readonly rawModes: boolean[] = [];
  stdout = "";
  stderr = "";
  /** What a person would see: stdout and stderr in the order of their writes. */
  screen = "";
  private writtenBytes = 0;

  constructor(private readonly options: FakeOptions = {}) {
    const chunks = (options.input ?? []).map((part) =>
      typeof part === "string" ? utf8(part) : part
    );
    this.stdin = new ReadableStream({
      pull(controller) {
        const chunk = chunks.shift();
        if (chunk !== undefined) controller.enqueue(chunk);
        else if (!options.staysOpen) controller.close();
      },
    }, { highWaterMark: 0 });
    this.stdinIsTerminal = this.stdoutIsTerminal = this.stderrIsTerminal = options.isTerminal ??
      false;
  }

  write(bytes: Uint8Array): Promise<void> | void {
    this.writtenBytes += bytes.length;
    if (this.writtenBytes > (this.options.closesAfterBytes ?? Infinity)) {
      return Promise.reject(new OutputClosed());
    }
    this.stdout += displayText(bytes);
    this.screen += displayText(bytes);
  }

  print(line: string): Promise<void> | void {
    return this.write(utf8(`${line}\n`));
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  writeError(text: string): void {
    this.stderr += text;
    this.screen += text;
  }

  columns(): number {
    return this.options.columns ?? 80;
  }

  rows(): number {
    return this.options.rows ?? Infinity;
  }

  setRaw(raw: boolean): void {
    this.rawModes.push(raw);
  }

  environment(name: string): string | undefined {
    return this.options.environment?.[name];
  }
}
