/** The words of a line that a person types. */

/** A word of a line; a quoted one is never a flag. */
export interface Word {
  readonly text: string;
  readonly quoted: boolean;
}

/**
 * Words are parted by blanks and tabs; single or double quotes hold a word together. The carriage
 * return of a line that ended in CR LF is not part of it. Null where a quote is not closed.
 */
export function splitLine(line: string): Word[] | null {
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  const words: Word[] = [];
  let rest = text.replace(/^[ \t]+/, "");
  while (rest !== "") {
    const quoted = rest[0] === '"' || rest[0] === "'";
    const parts = quoted ? /^(?:"([^"]*)"|'([^']*)')/.exec(rest) : /^([^ \t]+)/.exec(rest);
    if (parts === null) return null;
    words.push({ text: parts[1] ?? parts[2] ?? "", quoted });
    rest = rest.slice(parts[0].length).replace(/^[ \t]+/, "");
  }
  return words;
}

/** The command that a word names: `exit` is another name of `quit`. */
export function commandNamed(word: string): string {
  return word === "exit" ? "quit" : word;
}
