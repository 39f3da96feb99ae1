import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { withHarness } from "./harness.ts";
import { QueueCluster } from "./queue_cluster.ts";

const ROOT = join(import.meta.dirname!, "..", "..");

Deno.test("the examples of the client library's documentation run against a cluster", async () => {
  await withHarness(async (harness) => {
    const cluster = new QueueCluster(harness);
    await cluster.ready();
    await cluster.createTopic("orders", 3);
    // Their imports are checked with the rest; the examples leave some of what is offered unused.
    const files = ["mod.ts", "examples.ts"].map((name) => join(ROOT, "lib", "client", name));
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "--doc", "--no-check", "-A", "--config", join(ROOT, "deno.json"), ...files],
      cwd: ROOT,
      env: { TRILOG_BOOTSTRAP: cluster.bootstrap, NO_COLOR: "1" },
    }).output();
    const output = new TextDecoder().decode(stdout);
    assertEquals(code, 0, output + new TextDecoder().decode(stderr));
    assertStringIncludes(output, "5 passed");
    const view = JSON.parse(await cluster.done(["group", "describe", "my-consumers", "--json"]));
    assertEquals([view.state, view.members], ["empty", []]);
  });
});
