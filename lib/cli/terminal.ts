/**
 * Where a command reads and writes: injected, so that every command runs in a test. Data goes to
 * stdout, everything else to stderr. `deno_terminal.ts` is the real one.
 */

import { TrilogError } from "../base/errors.ts";

export interface Terminal {
  /** Standard input by chunks; can be read once. */
  readonly stdin: ReadableStream<Uint8Array>;
  readonly stdinIsTerminal: boolean;
  readonly stdoutIsTerminal: boolean;
  readonly stderrIsTerminal: boolean;

  /**
   * Writes data. Returns nothing while the buffer has room; a promise when the caller must wait
   * for the reader (back-pressure): `const wait = terminal.write(b); if (wait) await wait`. The
   * bytes are copied or sent before the promise resolves, else at once. Rejects with
   * {@link OutputClosed} when the reader has gone away.
   */
  write(bytes: Uint8Array): Promise<void> | void;
  /** Writes one line of text and its newline to stdout, under the rules of `write`. */
  print(line: string): Promise<void> | void;
  /** Resolves when everything written has reached stdout. */
  flush(): Promise<void>;
  /** Writes text as it is to stderr at once; a reader that is gone is ignored. */
  writeError(text: string): void;

  /** Width in characters; 80 where it cannot be told. */
  columns(): number;
  /** Height in lines; Infinity where it cannot be told. */
  rows(): number;
  /** Raw mode: keys arrive one by one, without echo and without Ctrl-C signals. */
  setRaw(raw: boolean): void;
  /** Value of an environment variable. */
  environment(name: string): string | undefined;
}

/** The reader of stdout is gone (`| head`): unwind quietly, `main.ts` ends as others do. */
export class OutputClosed extends TrilogError {
  constructor() {
    super("cancelled", "Cannot write to standard output: its reader has closed it");
  }
}

/** One line to stderr. */
export function printError(terminal: Terminal, line: string): void {
  terminal.writeError(`${line}\n`);
}
