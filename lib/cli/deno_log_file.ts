/** A log file that does not grow without end: full ones are kept under `.1`, `.2`, ... */

export interface LogFileOptions {
  /** Bytes at which a file is full; it ends at the first line break after that. */
  readonly maxBytes: number;
  /** Full files that are kept; the oldest is deleted first. */
  readonly kept: number;
}

const DEFAULTS: LogFileOptions = { maxBytes: 16 * 1024 * 1024, kept: 2 };
const NEWLINE = 10;

export class LogFile {
  private file: Deno.FsFile;
  private bytes: number;

  /** Opens `path` for appending, and makes it where there is none. */
  constructor(private readonly path: string, private readonly options: LogFileOptions = DEFAULTS) {
    this.file = Deno.openSync(path, { create: true, append: true });
    this.bytes = this.file.statSync().size;
  }

  append(chunk: Uint8Array): void {
    const end = this.bytes + chunk.length <= this.options.maxBytes ? -1 : chunk.indexOf(NEWLINE);
    if (end === -1) return this.write(chunk);
    this.write(chunk.subarray(0, end + 1));
    this.rotate();
    if (end + 1 < chunk.length) this.write(chunk.subarray(end + 1));
  }

  close(): void {
    this.file.close();
  }

  private write(bytes: Uint8Array): void {
    // A write may take less than it is given.
    for (let at = 0; at < bytes.length;) at += this.file.writeSync(bytes.subarray(at));
    this.bytes += bytes.length;
  }

  private rotate(): void {
    this.file.close();
    const { path, options: { kept } } = this;
    for (let number = kept; number > 1; number -= 1) {
      moveIfThere(`${path}.${number - 1}`, `${path}.${number}`);
    }
    if (kept > 0) Deno.renameSync(path, `${path}.1`);
    this.file = Deno.openSync(path, { create: true, write: true, truncate: true });
    this.bytes = 0;
  }
}

function moveIfThere(from: string, to: string): void {
  try {
    Deno.renameSync(from, to);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
