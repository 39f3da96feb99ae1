/** Tables of tests/README.md that a program writes, each between two marks. */

import { join } from "@std/path";

const README = join(import.meta.dirname!, "README.md");

/** Puts a table between the marks of its name, and its columns under each other. */
export async function writeReadmeTable(mark: string, table: string): Promise<void> {
  const text = Deno.readTextFileSync(README);
  const [begin, end] = [`<!-- ${mark}: begin -->`, `<!-- ${mark}: end -->`];
  const [before, rest] = text.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`tests/README.md has no place for the table ${mark}`);
  Deno.writeTextFileSync(README, `${before}${begin}\n\n${table}\n\n${end}${after}`);
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", README] }).output();
}

/** A table in Markdown, its columns not aligned yet. */
export function markdownTable(
  titles: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  return [titles, titles.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n");
}
