/** PURE. What somebody probably meant: the nearest of the known words. */

/** Levenshtein distance: insertions, deletions and replacements of one character each. */
export function editDistance(left: string, right: string): number {
  let above = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const replaced = above[column - 1] + (left[row - 1] === right[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, above[column] + 1, current[column - 1] + 1));
    }
    above = current;
  }
  return above[right.length];
}

/**
 * The known word nearest to `word`, or null where none is near: at most a third of the longer
 * word's characters (and always one) may differ. A word that `word` begins is near, too.
 */
export function nearestWord(word: string, known: Iterable<string>): string | null {
  let nearest: string | null = null;
  let least = Infinity;
  for (const candidate of known) {
    const begun = word.length >= 2 && candidate.startsWith(word);
    const distance = begun ? 0.5 : editDistance(word.toLowerCase(), candidate.toLowerCase());
    const allowed = Math.max(1, Math.floor(Math.max(word.length, candidate.length) / 3));
    if (distance <= allowed && distance < least) {
      nearest = candidate;
      least = distance;
    }
  }
  return nearest;
}

/** `; did you mean X?` or nothing, to end an error message with. */
export function suggestion(word: string, known: Iterable<string>): string {
  const nearest = nearestWord(word, known);
  return nearest === null ? "" : `; did you mean ${nearest}?`;
}
