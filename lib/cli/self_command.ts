/** How this program starts another process of itself: one of the few files that may touch `Deno`. */

import { fromFileUrl } from "@std/path";

export interface SelfCommand {
  readonly executable: string;
  /** What comes before our own words. */
  readonly args: readonly string[];
}

/**
 * The single file that this process was started from (the self-extracting one says so in
 * `TRILOG_EXECUTABLE`; a compiled one is its own runtime), or else deno with `main.ts`. A process
 * started so has the pid of the server itself: the single file replaces itself by it.
 */
export function selfCommand(): SelfCommand {
  const file = Deno.env.get("TRILOG_EXECUTABLE");
  if (file !== undefined) return { executable: file, args: [] };
  if (Deno.build.standalone) return { executable: Deno.execPath(), args: [] };
  return {
    executable: Deno.execPath(),
    args: ["run", "--quiet", "--no-prompt", "--allow-all", fromFileUrl(Deno.mainModule)],
  };
}
