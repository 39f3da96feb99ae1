/** A disk that can be filled: a file system in memory, with a ballast beside the data. */

import { join } from "@std/path";

const SIZE = "96m";

export class SmallDisk {
  private constructor(readonly directory: string) {}

  /** Mounts one at `directory`, which must be there; gives a reason where that is not possible. */
  static async mount(directory: string, size = SIZE): Promise<SmallDisk | string> {
    const words = ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", directory];
    const failure = await run("mount", words);
    return failure === null ? new SmallDisk(directory) : `cannot mount: ${failure}`;
  }

  /** Takes all space that is left. */
  fill(): void {
    using ballast = Deno.openSync(this.ballast, { create: true, append: true });
    for (const sizeBytes of [1024 * 1024, 4096]) {
      const part = new Uint8Array(sizeBytes);
      while (wrote(ballast, part));
    }
  }

  /** Gives the space back. */
  free(): void {
    Deno.removeSync(this.ballast);
  }

  async unmount(): Promise<void> {
    const failure = await run("umount", [this.directory]);
    if (failure !== null) throw new Error(`cannot unmount ${this.directory}: ${failure}`);
  }

  private get ballast(): string {
    return join(this.directory, "ballast");
  }
}

/** Whether any of it found room. */
function wrote(file: Deno.FsFile, part: Uint8Array): boolean {
  try {
    return file.writeSync(part) > 0;
  } catch (thrown) {
    if ((thrown as { code?: string }).code === "ENOSPC") return false;
    throw thrown;
  }
}

/** Null, or why it failed. */
async function run(command: string, args: readonly string[]): Promise<string | null> {
  try {
    const { success, stderr } = await new Deno.Command(command, { args: [...args] }).output();
    return success ? null : new TextDecoder().decode(stderr).trim();
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) return `there is no ${command}`;
    throw thrown;
  }
}
