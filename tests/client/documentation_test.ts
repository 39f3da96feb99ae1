import { assertEquals } from "@std/assert";
import { join } from "@std/path";

const FOLDER = join(import.meta.dirname!, "..", "..", "lib", "client");

Deno.test("everything that programs can name is documented, and names nothing that they cannot", async () => {
  const files = ["mod.ts", "examples.ts"].map((name) => join(FOLDER, name));
  const command = new Deno.Command(Deno.execPath(), {
    args: ["doc", "--lint", ...files],
    env: { NO_COLOR: "1" },
  });
  const { code, stderr } = await command.output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
});
