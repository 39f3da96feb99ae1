/** PURE. How many columns of a terminal a text takes. */

const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/** Blocks that terminals draw two columns wide (East Asian Wide and Fullwidth, and emoji). */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1f64f}\u{1f680}-\u{1f6ff}\u{1f900}-\u{1f9ff}\u{20000}-\u{3fffd}]/u;

const ASCII_ONLY = /^[\u0020-\u007e]*$/;

/** The characters of a text as people see them: a letter with its marks is one. */
export function graphemes(text: string): string[] {
  if (ASCII_ONLY.test(text)) return [...text];
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** Columns of one grapheme: 0, 1 or 2. */
export function graphemeWidth(grapheme: string): number {
  if (/^[\p{Mark}\u200b-\u200f\u2060]+$/u.test(grapheme)) return 0;
  return WIDE.test(grapheme) || grapheme.includes("\ufe0f") ? 2 : 1;
}

export function textWidth(text: string): number {
  if (ASCII_ONLY.test(text)) return text.length;
  return graphemes(text).reduce((sum, grapheme) => sum + graphemeWidth(grapheme), 0);
}

/** The text itself, or its beginning and `…`, in at most `width` columns. */
export function clipped(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  let kept = "";
  let used = 0;
  for (const grapheme of graphemes(text)) {
    const next = graphemeWidth(grapheme);
    if (used + next > width - 1) break;
    kept += grapheme;
    used += next;
  }
  return width < 1 ? "" : `${kept}…`;
}

/** The text in rows of at most `width` columns, broken at spaces where there are any. */
export function wrapped(text: string, width: number): string[] {
  if (textWidth(text) <= width || width < 1) return [text];
  const rows: string[] = [];
  let row = "";
  let used = 0;
  for (const grapheme of graphemes(text)) {
    const next = graphemeWidth(grapheme);
    if (used + next > width) {
      const cut = grapheme === " " ? row.length : row.lastIndexOf(" ") + 1;
      rows.push((cut > 0 ? row.slice(0, cut) : row).trimEnd());
      row = cut > 0 ? row.slice(cut) : "";
      used = textWidth(row);
      if (grapheme === " ") continue;
    }
    row += grapheme;
    used += next;
  }
  return row === "" ? rows : [...rows, row];
}

/** The text with spaces to exactly `width` columns, where it is not wider already. */
export function padded(text: string, width: number, align: "left" | "right" = "left"): string {
  const space = " ".repeat(Math.max(0, width - textWidth(text)));
  return align === "right" ? space + text : text + space;
}
