/** Text of strangers made safe to print: no control character reaches a terminal. */

/** Characters of a stranger's text that a message repeats. */
const SHOWN_CHARACTERS = 60;

/**
 * `text` in quotes, with everything but printable ASCII as `\u{...}`, and cut where it is long.
 * Other scripts are escaped too: a look-alike letter is what such a message is often about.
 */
export function visible(text: string): string {
  const characters = [...text.slice(0, SHOWN_CHARACTERS * 2)];
  let shown = "";
  for (const character of characters.slice(0, SHOWN_CHARACTERS)) shown += escaped(character);
  const cut = characters.length > SHOWN_CHARACTERS || text.length > SHOWN_CHARACTERS * 2;
  return `"${shown}"${cut ? "..." : ""}`;
}

function escaped(character: string): string {
  if (character === '"' || character === "\\") return `\\${character}`;
  const code = character.codePointAt(0)!;
  return code >= 0x20 && code < 0x7f ? character : `\\u{${code.toString(16)}}`;
}
