import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { HistoryFile, historyPath } from "../../lib/cli/deno_history_file.ts";

function inDirectory(test: (path: string) => void): void {
  const directory = Deno.makeTempDirSync();
  try {
    test(join(directory, "state", "trilog", "atm-history"));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("lines typed at one prompt are there at the next, for their user only", () => {
  inDirectory((path) => {
    assertEquals(new HistoryFile(path).load(), []);
    const first = new HistoryFile(path);
    for (const line of ["deposit alice 1", "  ", "balance alice"]) first.add(line);
    assertEquals(new HistoryFile(path).load(), ["deposit alice 1", "balance alice"]);
    assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
  });
});

Deno.test("a long history is cut to its newest thousand lines", () => {
  inDirectory((path) => {
    const history = new HistoryFile(path);
    history.add("first");
    const lines = Array.from({ length: 2_100 }, (_, at) => `line ${at}\n`).join("");
    Deno.writeTextFileSync(path, lines);
    assertEquals(history.load().length, 1_000);
    assertEquals(Deno.readTextFileSync(path).split("\n").length, 1_001);
    assertEquals(history.load().at(-1), "line 2099");
  });
});

Deno.test("a history that cannot be kept is no error", () => {
  const nowhere = new HistoryFile("/proc/none/history");
  nowhere.add("x");
  assertEquals(nowhere.load(), []);
  new HistoryFile(null).add("x");
});

Deno.test("the place of a history follows the environment", () => {
  const path = (variables: Record<string, string>) => historyPath("kv", (name) => variables[name]);
  assertEquals(path({ HOME: "/h" }), "/h/.local/state/trilog/kv-history");
  assertEquals(path({ HOME: "/h", XDG_STATE_HOME: "/s" }), "/s/trilog/kv-history");
  assertEquals(path({ HOME: "/h", TRILOG_HISTORY: "/x" }), "/x");
  assertEquals(path({ HOME: "/h", TRILOG_HISTORY: "" }), null);
  assertEquals(path({}), null);
});
