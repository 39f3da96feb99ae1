/** The preloaded library `shim.c`: compiled on the spot, and steered by a file in shared memory. */

import { existsSync, walkSync } from "@std/fs";
import { join } from "@std/path";

/** The words that say what is to happen, and those that count what did; see `shim.c`. */
const WORDS = {
  syncDelayMs: 0,
  syncsToFail: 1,
  writesToFail: 2,
  writesToShorten: 3,
  wallOffsetMs: 4,
  monotonicOffsetMs: 5,
  readsToSpare: 6,
  readsToFail: 7,
  syncsDelayed: 8,
  syncsFailed: 9,
  writesFailed: 10,
  writesShortened: 11,
  clockReadingsMoved: 12,
  writesWithoutSpace: 13,
  readsFailed: 15,
} as const;
export type Word = keyof typeof WORDS;

const COUNT = 16;
const WORD_BYTES = 8;

/** Path of the library made in `directory`, or why there is none. */
export async function compileShim(
  directory: string,
): Promise<{ readonly path: string } | { readonly missing: string }> {
  if (Deno.build.os !== "linux") return { missing: `no preloaded library on ${Deno.build.os}` };
  const path = join(directory, "shim.so");
  const source = join(import.meta.dirname!, "shim.c");
  const words = ["-O2", "-shared", "-fPIC", "-o", path, source, "-ldl"];
  for (const compiler of ["cc", "gcc", "clang"]) {
    try {
      const { success, stderr } = await new Deno.Command(compiler, { args: words }).output();
      if (success) return { path };
      return { missing: `${compiler} failed: ${new TextDecoder().decode(stderr)}` };
    } catch (thrown) {
      if (!(thrown instanceof Deno.errors.NotFound)) throw thrown;
    }
  }
  return { missing: "no C compiler" };
}

/** What one process is told through its control file, over restarts. */
export class ShimControl {
  private readonly file: Deno.FsFile;

  constructor(
    private readonly library: string,
    private readonly path: string,
    private readonly data: string,
    /** Where copies of what was synced are kept; null: nowhere. */
    private readonly shadow: string | null = null,
  ) {
    if (shadow !== null) Deno.mkdirSync(shadow);
    this.file = Deno.openSync(path, { read: true, write: true, createNew: true });
    this.file.truncateSync(COUNT * WORD_BYTES);
  }

  /** Words before a command that run it under the library. */
  get prefix(): string[] {
    const { library, path, data, shadow } = this;
    const kept = shadow === null ? [] : [`CHAOS_SHADOW=${shadow}`];
    return ["env", `LD_PRELOAD=${library}`, `CHAOS_CONTROL=${path}`, `CHAOS_DATA=${data}`, ...kept];
  }

  /**
   * The power went while the process was killed: every file holds what was last synced of it, and
   * nothing where that never was. Names stay as they are. Gives the number of bytes that are gone.
   */
  losePower(): number {
    if (this.shadow === null) throw new Error(`${this.path}: no copies of what was synced`);
    let lost = 0;
    for (const { path, isFile } of [...walkSync(this.data)]) {
      if (!isFile) continue;
      const { ino, birthtime } = Deno.statSync(path);
      const kept = join(this.shadow, `${ino}-${birthtime?.getTime() ?? 0}`);
      const before = Deno.readFileSync(path);
      const after = existsSync(kept) ? Deno.readFileSync(kept) : new Uint8Array(0);
      Deno.writeFileSync(path, after);
      lost += Math.max(0, before.length - after.length);
    }
    return lost;
  }

  set(word: Word, value: number): void {
    this.seek(word);
    const bytes = new Uint8Array(BigInt64Array.of(BigInt(value)).buffer);
    if (this.file.writeSync(bytes) !== WORD_BYTES) throw new Error(`${this.path}: a short write`);
  }

  get(word: Word): number {
    this.seek(word);
    const bytes = new Uint8Array(WORD_BYTES);
    if (this.file.readSync(bytes) !== WORD_BYTES) throw new Error(`${this.path}: a short read`);
    return Number(new BigInt64Array(bytes.buffer)[0]);
  }

  close(): void {
    this.file.close();
  }

  private seek(word: Word): void {
    this.file.seekSync(WORDS[word] * WORD_BYTES, Deno.SeekMode.Start);
  }
}
