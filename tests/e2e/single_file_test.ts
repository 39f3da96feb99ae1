/**
 * `dist/trilog`, the single file: first starts at once, a first start that is killed, a damaged
 * copy. What concerns unpacking is skipped, visibly, where the file is a compiled one.
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { existsSync } from "@std/fs";
import { join } from "@std/path";

const ROOT = join(import.meta.dirname!, "..", "..");
const FILE = join(ROOT, "dist", "trilog");

if (!existsSync(FILE)) {
  const { success, stderr } = await new Deno.Command("bash", {
    args: [join(ROOT, "compile.sh")],
    env: { DENO: Deno.execPath() },
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

const selfExtracting = firstBytes(FILE) === "#!";

function firstBytes(path: string): string {
  using file = Deno.openSync(path);
  const bytes = new Uint8Array(2);
  file.readSync(bytes);
  return new TextDecoder().decode(bytes);
}

function start(cache: string, words: readonly string[], file = FILE): Deno.ChildProcess {
  return new Deno.Command(file, {
    args: [...words],
    env: { XDG_CACHE_HOME: cache, NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function run(cache: string, words: readonly string[], file = FILE) {
  const { code, stdout, stderr } = await start(cache, words, file).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** A cache directory of its own, removed afterwards. */
async function withCache(body: (cache: string) => Promise<void>): Promise<void> {
  const cache = await Deno.makeTempDir({ prefix: "trilog-cache-" });
  try {
    await body(cache);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
}

function unpacked(cache: string): string[] {
  return [...Deno.readDirSync(join(cache, "trilog"))].filter(({ isFile }) => isFile)
    .map(({ name }) => name.replace(/[0-9a-f]{16}/, "HASH")).sort();
}

Deno.test("six first starts at once all work, and leave one copy of everything", async () => {
  await withCache(async (cache) => {
    const runs = await Promise.all(Array.from({ length: 6 }, () => run(cache, ["--version"])));
    for (const { code, stdout, stderr } of runs) {
      assertMatch(stdout, /^trilog \d+\.\d+\.\d+\n$/);
      assertEquals([code, stderr], [0, ""]);
    }
    if (selfExtracting) assertEquals(unpacked(cache), ["deno-HASH", "trilog-HASH.js"]);
  });
});

Deno.test("the single file keeps exit statuses, streams and arguments with spaces", async () => {
  await withCache(async (cache) => {
    const wrong = await run(cache, ["comple tions", "*"]);
    assertEquals([wrong.code, wrong.stdout], [2, ""]);
    assertStringIncludes(wrong.stderr, "trilog comple tions: there is no such command");
    const script = await run(cache, ["completions", "bash"]);
    assertEquals(script.code, 0);
    assertStringIncludes(script.stdout, "complete -F _trilog trilog");
  });
});

Deno.test({
  name: "a first start killed in the middle leaves nothing that a later one trips over",
  ignore: !selfExtracting,
  async fn() {
    await withCache(async (cache) => {
      for (let round = 0; round < 3; round += 1) {
        const child = start(cache, ["--version"]);
        // Killed once the directory is there: before, in or after the unpacking.
        while (!existsSync(join(cache, "trilog"))) await new Promise((go) => setTimeout(go, 1));
        for (let wait = 0; wait < round * 10; wait += 1) {
          await new Promise((go) => setTimeout(go, 1));
        }
        child.kill("SIGKILL");
        await child.output();
      }
      assertEquals((await run(cache, ["--version"])).code, 0);
      const whole = unpacked(cache).filter((name) => !name.endsWith(".tmp"));
      assertEquals(whole, ["deno-HASH", "trilog-HASH.js"]);
    });
  },
});

Deno.test({
  name: "a copy that lost its last bytes says so and unpacks nothing half",
  ignore: !selfExtracting,
  async fn() {
    await withCache(async (cache) => {
      const damaged = join(cache, "damaged");
      await Deno.copyFile(FILE, damaged);
      await Deno.truncate(damaged, (await Deno.stat(damaged)).size - 1);
      const { code, stdout, stderr } = await run(cache, ["--version"], damaged);
      assertEquals([code, stdout], [1, ""]);
      assertStringIncludes(stderr, "the bytes on disk are not those written");
      assertEquals(unpacked(cache), ["trilog-HASH.js"]);
    });
  },
});

Deno.test({
  name: "a cache that cannot be written is named",
  ignore: !selfExtracting,
  async fn() {
    await withCache(async (cache) => {
      const occupied = join(cache, "file");
      await Deno.writeTextFile(occupied, "");
      const { code, stderr } = await run(occupied, ["--version"]);
      assertEquals(code, 1);
      assertStringIncludes(stderr, `Cannot unpack into ${occupied}/trilog: no permission`);
    });
  },
});
