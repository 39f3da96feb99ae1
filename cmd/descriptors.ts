/** How many files and connections a server may have open, by the limit of its process. */

import { TrilogError } from "../lib/base/errors.ts";
import { limits } from "../lib/base/limits.ts";

/** What a process's descriptors are for; the rest is the runtime's and that of calls to others. */
export interface DescriptorShares {
  /** Files of the data directory that are open at a time. */
  readonly files: number;
  /** Connections of peers and clients. */
  readonly connections: number;
  /** Connections of the HTTP API. */
  readonly httpConnections: number;
}

/** The least that a server starts with. */
const LEAST_DESCRIPTORS = 128;
/** Where the system does not say: what Deno raises the limit to on macOS is at least twice this. */
const ASSUMED_DESCRIPTORS = 4_096;
/** The runtime's own files, timers and signals. */
const RUNTIME_DESCRIPTORS = 48;
const MOST_FILES = 4_096;

/**
 * Descriptors that this process may have (`ulimit -n`; Deno has raised the soft limit to the hard
 * one when the program starts). The system's own table may be read with all permissions only; the
 * single file's shell part asks before it starts Deno, and a compiled program asks a shell.
 */
export function descriptorLimit(): number {
  for (const ask of [fromEnvironment, fromTable, fromShell]) {
    try {
      const limit = ask();
      if (limit !== null) return limit;
    } catch {
      // Not permitted, or not there: the next one may know.
    }
  }
  return ASSUMED_DESCRIPTORS;
}

function fromEnvironment(): number | null {
  return parseNumber(Deno.env.get("TRILOG_OPEN_FILES") ?? "");
}

function fromTable(): number | null {
  return parseLimit(Deno.readTextFileSync("/proc/self/limits"));
}

function fromShell(): number | null {
  const { stdout } = new Deno.Command("sh", { args: ["-c", "ulimit -n"] }).outputSync();
  return parseNumber(new TextDecoder().decode(stdout));
}

function parseNumber(text: string): number | null {
  return /^\s*\d+\s*$/.test(text) ? Number(text) : null;
}

/** The soft limit of open files in the text of `/proc/PID/limits`; null where it says none. */
export function parseLimit(text: string): number | null {
  const limit = /^Max open files\s+(\d+)\s/m.exec(text);
  return limit === null ? null : Number(limit[1]);
}

/**
 * Divides the limit. Files come before connections: a connection that is refused comes again, a
 * file that cannot be opened stops a partition. `withHttp`: the process serves the HTTP API, too.
 * Throws `usage` where the limit is too low for a server.
 */
export function shareDescriptors(limit: number, withHttp: boolean): DescriptorShares {
  if (limit < LEAST_DESCRIPTORS) {
    const state = `it may open ${limit} files, at least ${LEAST_DESCRIPTORS} are needed`;
    throw new TrilogError("usage", `Cannot start: ${state} (ulimit -n)`);
  }
  const calls = Math.floor(limit / 16);
  const files = Math.min(Math.floor(limit / 4), MOST_FILES);
  const left = limit - RUNTIME_DESCRIPTORS - calls - files;
  const http = withHttp ? Math.min(Math.floor(left / 3), limits.httpConnections) : 0;
  return {
    files,
    connections: Math.min(left - http, limits.connections),
    httpConnections: http,
  };
}
