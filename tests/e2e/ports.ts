/**
 * Ports for real processes. Several test files run side by side, and a killed server's port must
 * still be free when it is started again: so each test file has a range of ports of its own, below
 * those that the system hands out by itself, and a lock keeps the others away from it.
 */

import { join } from "@std/path";

const FIRST_PORT = 10_000;
const RANGE_PORTS = 2_000;
const RANGES = 11;
/** Ports in a row that `trilog up` may use. */
const BLOCK_PORTS = 400;

// Taken when the file is loaded, outside of any test, and held until it ends.
const first = takeRange();
let next = first;
let end = first + RANGE_PORTS;

/** A port of loopback that nobody listens on now and that was not given out before. */
export function freePort(): number {
  while (next < end) {
    const port = next++;
    if (isFree(port)) return port;
  }
  throw new Error("this test file has used up its ports");
}

/** The first of {@link BLOCK_PORTS} ports in a row that are all the caller's. */
export function portBlock(): number {
  end -= BLOCK_PORTS;
  if (next > end) throw new Error("this test file has used up its ports");
  return end;
}

function takeRange(): number {
  const directory = join(Deno.env.get("TMPDIR") ?? "/tmp", "trilog-test-ports");
  Deno.mkdirSync(directory, { recursive: true });
  for (let range = 0; range < RANGES; range += 1) {
    const file = Deno.openSync(join(directory, String(range)), { create: true, write: true });
    if (file.tryLockSync(true)) return FIRST_PORT + range * RANGE_PORTS;
    file.close();
  }
  throw new Error("every range of ports is taken by other tests");
}

function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch {
    return false;
  }
}
