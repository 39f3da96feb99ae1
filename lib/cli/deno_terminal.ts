/** The terminal of this process: one of the few files that may touch `Deno`. */

import { systemClock } from "../base/system_clock.ts";
import { utf8 } from "../base/bytes.ts";
import { BufferedOutput } from "./output.ts";
import { OutputClosed, type Terminal } from "./terminal.ts";

export function denoTerminal(): Terminal {
  const output = new BufferedOutput(writeStdout, systemClock.nextTurn);
  return {
    get stdin() {
      return Deno.stdin.readable;
    },
    stdinIsTerminal: Deno.stdin.isTerminal(),
    stdoutIsTerminal: Deno.stdout.isTerminal(),
    stderrIsTerminal: Deno.stderr.isTerminal(),
    write: (bytes) => output.write(bytes),
    print: (line) => output.print(line),
    flush: () => output.flush(),
    writeError,
    columns,
    rows,
    setRaw: (raw) => Deno.stdin.setRaw(raw),
    environment: (name) => Deno.env.get(name),
  };
}

async function writeStdout(bytes: Uint8Array): Promise<number> {
  try {
    return await Deno.stdout.write(bytes);
  } catch (thrown) {
    if (thrown instanceof Deno.errors.BrokenPipe) throw new OutputClosed();
    throw thrown;
  }
}

function writeError(text: string): void {
  const bytes = utf8(text);
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
  } catch (thrown) {
    if (!(thrown instanceof Deno.errors.BrokenPipe)) throw thrown;
  }
}

function columns(): number {
  try {
    // A terminal that does not know its size says 0.
    return Deno.consoleSize().columns || 80;
  } catch {
    return 80;
  }
}

function rows(): number {
  try {
    return Deno.consoleSize().rows;
  } catch {
    return Infinity;
  }
}
