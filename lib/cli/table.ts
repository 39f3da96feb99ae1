/** PURE. Aligned tables for terminals. */

import { clipped, padded, textWidth } from "./width.ts";

export interface Column {
  readonly title: string;
  /** Numbers stand on the right. */
  readonly align?: "left" | "right";
}

const GAP = "  ";

/**
 * Lines of a table: titles, then rows. A table wider than `columns` loses the end of its widest
 * column (shown by `…`), so that a row stays a line. Control characters never reach the terminal.
 */
export function tableLines(
  columns: readonly (Column | string)[],
  rows: readonly (readonly (string | number)[])[],
  maxWidth = Infinity,
): string[] {
  const heads = columns.map((column) => typeof column === "string" ? { title: column } : column);
  const cells = [heads.map(({ title }) => title), ...rows.map((row) => row.map(printable))];
  const widths = heads.map((_, at) =>
    cells.reduce((most, row) => Math.max(most, textWidth(row[at] ?? "")), 0)
  );
  shrink(widths, maxWidth - GAP.length * (widths.length - 1));
  return cells.map((row) =>
    heads.map(({ align }, at) => padded(clipped(row[at] ?? "", widths[at]), widths[at], align))
      .join(GAP).trimEnd()
  );
}

/** Cuts the widest columns down until all fit in `room`; none below 4. */
function shrink(widths: number[], room: number): void {
  let total = widths.reduce((sum, width) => sum + width, 0);
  while (total > room) {
    const widest = widths.indexOf(Math.max(...widths));
    if (widths[widest] <= 4) return;
    widths[widest] -= 1;
    total -= 1;
  }
}

/** Text that cannot move the cursor: control characters show as U+FFFD. */
function printable(cell: string | number): string {
  // deno-lint-ignore no-control-regex
  return String(cell).replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
}
