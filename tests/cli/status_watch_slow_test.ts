import { assert, assertEquals } from "@std/assert";
import { type CommandTable, runProgram } from "../../lib/cli/program.ts";
import { FakeTerminal } from "./fake_terminal.ts";

const commands: CommandTable = { cluster: () => import("../../cmd/cluster.ts") };

/** A port at which no server listens. */
function unusedAddress(): string {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return `127.0.0.1:${port}`;
}

Deno.test("status --watch says within two seconds that no manager answers, and goes on until Ctrl-C", async () => {
  const terminal = new FakeTerminal({ isTerminal: true });
  const interrupt = new AbortController();
  const words = ["cluster", "status", "--watch", "--bootstrap", unusedAddress()];
  const startMs = performance.now();
  const ended = runProgram(words, {
    version: "1",
    commands,
    terminal,
    onStart: () => interrupt.signal,
  });
  while (!terminal.screen.includes("TROUBLE: no manager has answered for 1")) {
    assert(performance.now() - startMs < 10_000, terminal.screen);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  interrupt.abort();
  assertEquals(await ended, 130);
});
