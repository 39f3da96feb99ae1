import { assert, assertEquals } from "@std/assert";
import { eventually, type Harness, portBlock, type Running, withHarness } from "./harness.ts";

interface Process {
  readonly role: string;
  readonly id: string;
  readonly address: string;
  readonly http?: string;
  readonly pid: number;
}

interface Up {
  readonly running: Running;
  readonly bootstrap: string;
  readonly processes: readonly Process[];
}

async function up(harness: Harness, data: string, base: number, ...more: string[]): Promise<Up> {
  const flags = ["--data", data, "--base-port", String(base), "--json", ...more];
  const running = harness.start("up", ...flags);
  const { text } = await running.line("stdout", /^\{/, { patienceMs: 60_000 });
  return { running, ...JSON.parse(text) };
}

function isAlive(pid: number): boolean {
  try {
    Deno.kill(pid, "SIGCONT");
    return true;
  } catch {
    return false;
  }
}

Deno.test("up brings a cluster, stops it cleanly, and finds everything again", async () => {
  await withHarness(async (harness) => {
    const data = harness.temporaryDirectory();
    const base = portBlock();
    const first = await up(harness, data, base);
    assertEquals(first.processes.map(({ id }) => id), ["m1", "m2", "m3", "b1", "b2", "b3"]);
    assertEquals(first.processes[0].address, `127.0.0.1:${base + 1}`);
    assertEquals(first.processes[0].http, `127.0.0.1:${base + 201}`);
    assertEquals(first.processes[3].http, undefined);
    assertEquals(first.processes[3].address, `127.0.0.1:${base + 101}`);
    const run = (args: string[], input = "") =>
      harness.run([...args, "--bootstrap", first.bootstrap], input);
    assertEquals((await run(["topic", "create", "t"])).code, 0);
    assertEquals((await run(["produce", "t"], "kept\n")).code, 0);
    assertEquals(await first.running.terminate(), 0);
    for (const { pid } of first.processes) assert(!isAlive(pid), `${pid} has ended`);
    // Every server is at a new address now, and the metadata hold the old ones.
    const second = await up(harness, data, base + 10);
    const moved = ["--bootstrap", second.bootstrap];
    assertEquals((await harness.run(["consume", "t", ...moved])).stdout, "kept\n");
    const addresses = second.processes.map(({ address }) => address);
    await eventually("every server to be known and heard at its new address", async () => {
      const { code, stdout } = await harness.run(["cluster", "status", "--json", ...moved]);
      const { managers, brokers } = JSON.parse(stdout);
      const known = [...managers, ...brokers].map(({ address }) => address);
      return code === 0 && known.join() === addresses.join() || null;
    });
    assertEquals(await second.running.terminate(), 0);
  });
});

Deno.test("up prints how to start a server that died, or starts it itself", async () => {
  await withHarness(async (harness) => {
    const base = portBlock();
    const { running, processes, bootstrap } = await up(harness, harness.temporaryDirectory(), base);
    const broker = processes.find(({ id }) => id === "b2")!;
    const status = () => harness.run(["cluster", "status", "--bootstrap", bootstrap]);
    assertEquals((await status()).code, 0);
    Deno.kill(broker.pid, "SIGKILL");
    const suspected = await eventually("b2 to be late", async () => {
      const { code, stdout } = await status();
      return stdout.startsWith("SUSPECT: 1 of 3 brokers LATE (b2)") ? { code } : null;
    });
    assertEquals(suspected.code, 1);
    const { text } = await running.line("stderr", /^start it again: /);
    const again = harness.startCommand("bash", "-c", text.slice("start it again: ".length));
    await again.line("stderr", /^listening on/);
    for (const { id, pid } of processes) if (id === "m1" || id === "m2") Deno.kill(pid, "SIGKILL");
    const alone = await status();
    assertEquals(alone.code, 3, alone.stdout);
    assert(alone.stdout.startsWith("TROUBLE: NO QUORUM of the 3 managers answers"), alone.stdout);
    assertEquals(await again.terminate(), 0);
    assertEquals(await running.terminate(), 0);
  });
  await withHarness(async (harness) => {
    const data = harness.temporaryDirectory();
    const { running, processes, bootstrap } = await up(harness, data, portBlock(), "--restart");
    const broker = processes.find(({ id }) => id === "b2")!;
    Deno.kill(broker.pid, "SIGKILL");
    await running.line("stderr", /^b2 has ended/);
    const { text } = await running.line("stderr", /^b2 is back: process \d+$/);
    const pid = Number(text.split(" ").at(-1));
    assert(pid !== broker.pid && isAlive(pid), text);
    await eventually("b2 to be alive again", async () => {
      const args = ["cluster", "status", "--json", "--bootstrap", bootstrap];
      const { brokers } = JSON.parse((await harness.run(args)).stdout);
      return brokers.find((one: { id: string }) => one.id === "b2")?.alive || null;
    });
    running.signal("SIGINT");
    assertEquals(await running.status(), 0);
  });
});

Deno.test("up prints a table and the word ready; a second one on its ports names server and address", async () => {
  await withHarness(async (harness) => {
    const data = harness.temporaryDirectory();
    const base = ["--base-port", String(portBlock())];
    const running = harness.start("up", "--data", data, ...base);
    await running.line("stdout", /^ready$/, { patienceMs: 60_000 });
    const table = running.lines("stdout");
    assert(/^ROLE +ID +ADDRESS +HTTP +PID$/.test(table[0]), table[0]);
    assertEquals(table.filter((line) => line.startsWith("broker")).length, 3);
    const second = await harness.run(["up", "--data", harness.temporaryDirectory(), ...base]);
    const complaint = new RegExp(
      "^trilog: Cannot start [mb][123]: cannot listen on 127\\.0\\.0\\.1:\\d+: " +
        "the address is in use \\(address_in_use\\)\n$",
    );
    assert(complaint.test(second.stderr), second.stderr);
    assertEquals([second.code, second.stdout], [1, ""]);
    assertEquals(await running.terminate(), 0);
  });
});

/** Process whose command line holds `text`, or null. */
function processWith(text: string): number | null {
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const words = Deno.readTextFileSync(`/proc/${name}/cmdline`).split("\0").join(" ");
      if (words.includes(text)) return Number(name);
    } catch {
      // It has ended meanwhile.
    }
  }
  return null;
}

Deno.test({
  name: "up says which server it waits for while that one does not start",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    withHarness(async (harness) => {
      const base = portBlock();
      const flags = ["--data", harness.temporaryDirectory(), "--base-port", String(base)];
      const running = harness.start("up", ...flags);
      const b3 = `--id b3 --listen 127.0.0.1:${base + 103}`;
      const pid = await eventually("b3's process", () => processWith(b3));
      Deno.kill(pid, "SIGSTOP");
      await running.line("stderr", /^waiting: (b3|.* and b3) not (listening|registered) yet$/);
      Deno.kill(pid, "SIGCONT");
      await running.line("stdout", /^ready$/, { patienceMs: 60_000 });
      assertEquals(await running.terminate(), 0);
    }),
});
