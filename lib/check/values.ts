/** PURE. The values that histories hold, and a text that is equal exactly where they are. */

export type Value =
  | null
  | boolean
  | number
  | string
  | readonly Value[]
  | { readonly [name: string]: Value };

/** JSON with the names of objects in order: equal values give equal texts. */
export function canonicalText(value: Value): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (isList(value)) return `[${value.map(canonicalText).join(",")}]`;
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonicalText(value[name])}`)}}`;
}

/** Whether a value is a list; `Array.isArray` does not know lists that cannot be changed. */
export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

/** Whether a value is an object with names. */
export function isObject(value: Value): value is { readonly [name: string]: Value } {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}
