/** Brokers on disks that are too small for what is sent to them. */

import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import { SmallDisk } from "../chaos/small_disk.ts";
import { eventually, freePort, type Harness, type Running, withHarness } from "./harness.ts";

const DISK = "24m";
const LIMIT = "4MiB";
const NAMES = ["b1", "b2", "b3"];

/** A small disk for each broker; null, with a word, where nothing may be mounted. */
async function mountAll(harness: Harness, root: string): Promise<Map<string, SmallDisk> | null> {
  const disks = new Map<string, SmallDisk>();
  for (const name of NAMES) {
    const directory = join(root, name);
    Deno.mkdirSync(directory);
    const disk = await SmallDisk.mount(directory, DISK);
    if (typeof disk === "string") {
      console.log(`not tested: ${disk}`);
      return null;
    }
    harness.defer(() => disk.unmount());
    disks.set(name, disk);
  }
  return disks;
}

/** So many KiB of messages. */
function messages(count: number): string {
  const line = "x".repeat(1_000);
  return Array.from({ length: count }, (_, at) => `${at} ${line}\n`).join("");
}

Deno.test("limits make room on full disks, and a server starts where nothing is free", () =>
  withHarness(async (harness) => {
    const root = harness.temporaryDirectory();
    const disks = await mountAll(harness, root);
    if (disks === null) return;
    const manager = `127.0.0.1:${freePort()}`;
    harness.start(
      ...["manager", "--id", "m1", "--listen", manager, "--peers", `m1=${manager}`],
      ...["--data", join(root, "m1")],
    );
    const addresses = new Map(NAMES.map((name) => [name, `127.0.0.1:${freePort()}`]));
    const start = (name: string): Running =>
      harness.start(
        ...["broker", "--id", name, "--listen", addresses.get(name)!],
        ...["--data", join(root, name, "data"), "--managers", manager],
      );
    const brokers = new Map(NAMES.map((name) => [name, start(name)]));
    const run = (words: string[], input = "") =>
      harness.run([...words, "--bootstrap", manager], input);
    const done = async (words: string[], input = "") => {
      const { code, stdout, stderr } = await run(words, input);
      assertEquals(code, 0, `${words.join(" ")}: ${stderr}`);
      return stdout;
    };
    await eventually("a topic is made", async () => {
      await done(["topic", "create", "limited", "--retention-bytes", LIMIT]);
      return true;
    });
    // More than a disk holds.
    await done(["produce", "limited"], messages(30_000));

    await done(["topic", "create", "unlimited"]);
    await done(["produce", "unlimited"], messages(9_000));
    for (const name of NAMES) disks.get(name)!.fill();
    const refused = await run(["produce", "unlimited", "--timeout", "1s"], messages(500));
    assert(refused.code !== 0, "the disks are full");
    await brokers.get("b2")!.kill();
    brokers.set("b2", start("b2"));
    await brokers.get("b2")!.line("stderr", /registered/);
    assert((await done(["consume", "limited"])).length > 0, "what is there is served");
    await done(["topic", "alter", "unlimited", "--retention-bytes", LIMIT]);
    await done(["produce", "unlimited"], "after\n");
    for (const [name, broker] of brokers) {
      assert(!broker.exited, `${name} goes on`);
      await broker.kill();
      const { code, stdout } = await harness.run(["verify", join(root, name, "data")]);
      assertEquals([code, stdout], [0, ""], `${name} is sound`);
    }
  }));
