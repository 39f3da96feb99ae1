/** How a server command runs until it is told to stop. */

import { printError, type Terminal } from "../lib/cli/terminal.ts";

/**
 * Runs a server until it is told to stop or must. `start` binds its port; the line that scripts
 * wait for is printed then. Resolves with the exit status.
 */
export async function serve(
  terminal: Terminal,
  signal: AbortSignal,
  start: (onFatal: (error: unknown) => void) => { address: string; stop(): Promise<void> },
): Promise<number> {
  const { promise: failed, resolve: onFatal } = Promise.withResolvers<unknown>();
  const server = start(onFatal);
  printError(terminal, `listening on ${server.address}`);
  const stopped = new Promise<null>((resolve) => {
    if (signal.aborted) resolve(null);
    signal.addEventListener("abort", () => resolve(null), { once: true });
  });
  const failure = await Promise.race([failed, stopped]);
  if (failure !== null) throw failure;
  await server.stop();
  return 0;
}
