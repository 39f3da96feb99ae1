/** Waiting that an abort signal may end. */

import { deferred } from "./deferred.ts";

/**
 * What `work` comes to, or null where the signal is aborted first. Leaves nothing on the signal:
 * a race against one promise for the whole run would keep every result until the run ends.
 */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | null> {
  if (signal.aborted) {
    work.catch(() => {});
    return null;
  }
  const { promise, resolve, reject } = deferred<T | null>();
  const stop = () => resolve(null);
  signal.addEventListener("abort", stop, { once: true });
  work.then(resolve, reject);
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
