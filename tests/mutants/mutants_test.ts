/** Mutants must not rot: each changes what is there, and names tests that are there. */

import { assertEquals } from "@std/assert";
import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { MUTANTS } from "./mutants.ts";

const ROOT = join(import.meta.dirname!, "../..");

Deno.test("the text of every mutant is found exactly once in its file", () => {
  const texts = new Map(MUTANTS.map(({ file }) => [file, Deno.readTextFileSync(join(ROOT, file))]));
  const lost = MUTANTS.filter(({ file, find }) => texts.get(file)!.split(find).length !== 2);
  assertEquals(lost.map(({ name, file }) => `${name} in ${file}`), []);
});

Deno.test("every mutant changes something, has a name of its own, and names killers that exist", () => {
  assertEquals(MUTANTS.filter(({ find, put }) => find === put), []);
  assertEquals(new Set(MUTANTS.map(({ name }) => name)).size, MUTANTS.length);
  const missing = MUTANTS.flatMap(({ killers }) => killers)
    .filter((path) => !existsSync(join(ROOT, path)));
  assertEquals(missing, []);
});
