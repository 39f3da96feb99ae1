/**
 * Histories that others recorded, with the verdicts that others came to (porcupine's test data,
 * recorded by Jepsen against etcd). Skipped where the data is not there.
 */

import { assert, assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { readHistory } from "../../lib/check/history.ts";
import { checkHistory } from "../../lib/check/linearizability.ts";
import type { ModelName } from "../../lib/check/models/models.ts";

const DATA = join(import.meta.dirname!, "../../../shared/data/porcupine");
const ignore = !existsSync(DATA);
const skipped = ignore ? ` (SKIPPED: there is no ${DATA})` : "";

const LINEARIZABLE = new Set([2, 5, 7, 18, 25, 31, 38, 45, 48, 49]);

/** Far above what any of them takes, far below what is allowed. */
const MAX_STEPS = 1_000_000;
const MEMORY_BYTES = 64 * 1024 * 1024;

function verdictOf(file: string, model: ModelName): string {
  const { operations } = readHistory(Deno.readTextFileSync(join(DATA, file)));
  const report = checkHistory(operations, model, {
    maxSteps: MAX_STEPS,
    memoryBytes: MEMORY_BYTES,
  });
  if (report.violation !== null) assertEquals(report.violation.isSmallest, true, file);
  return report.verdict;
}

Deno.test({
  name: `all 51 registers of etcd get the right verdict${skipped}`,
  ignore,
  fn() {
    for (let number = 0; number <= 50; number += 1) {
      const file = `etcd_${String(number).padStart(3, "0")}.log`;
      const expected = LINEARIZABLE.has(number) ? "linearizable" : "not_linearizable";
      assertEquals(verdictOf(file, "register"), expected, file);
    }
  },
});

Deno.test({
  name: `all four key-value histories get the right verdict${skipped}`,
  ignore,
  fn() {
    assertEquals(verdictOf("kv_c01-ok.txt", "kv"), "linearizable");
    assertEquals(verdictOf("kv_c01-bad.txt", "kv"), "not_linearizable");
    assertEquals(verdictOf("kv_c10-ok.txt", "kv"), "linearizable");
    assertEquals(verdictOf("kv_c10-bad.txt", "kv"), "not_linearizable");
    assert(Deno.memoryUsage().rss < 2 ** 30, "none of it needs a gibibyte");
  },
});
