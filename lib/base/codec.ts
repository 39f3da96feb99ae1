/**
 * Typed shapes over MessagePack values: what is sent or stored is described once and gives both
 * directions. Decoding is strict (exact lengths, exact types, known words) and ends in a value of
 * the described type or in a `malformed` error that names the field.
 */

import { TrilogError } from "./errors.ts";
import { isValidName } from "./limits.ts";
import type { Packable } from "./msgpack.ts";

export interface Codec<T> {
  encode(value: T): Packable;
  /** `thing` names the value in the error. Binary values stay views into the decoded bytes. */
  decode(packed: Packable, thing: string): T;
}

/** The type that a codec describes. */
export type Decoded<C> = C extends Codec<infer T> ? T : never;

function malformed(thing: string, state: string): TrilogError {
  return new TrilogError("malformed", `Cannot decode ${thing}: ${state}`);
}

/** A codec for values that travel as they are, given the test that they must pass. */
function plain<T extends Packable>(
  description: string,
  accepts: (packed: Packable) => packed is T,
): Codec<T> {
  return {
    encode: (value) => value,
    decode(packed, thing) {
      if (!accepts(packed)) throw malformed(thing, `not ${description}`);
      return packed;
    },
  };
}

/** A whole number from 0 to 2^53 - 1. */
export const whole: Codec<number> = plain(
  "a whole number",
  (packed): packed is number => Number.isSafeInteger(packed) && (packed as number) >= 0,
);

export const flag: Codec<boolean> = plain(
  "a flag",
  (packed): packed is boolean => typeof packed === "boolean",
);

export const binary: Codec<Uint8Array> = plain(
  "binary",
  (packed): packed is Uint8Array => packed instanceof Uint8Array,
);

/** Text of any kind, such as an error message; its length is bounded by the frame. */
export const text: Codec<string> = plain(
  "text",
  (packed): packed is string => typeof packed === "string",
);

/** The name of a topic, group or node: see `isValidName`. */
export const name: Codec<string> = plain("a valid name", isValidName);

/** Text of printable ASCII without spaces, 1 to 249 characters: identities, addresses, labels. */
export const token: Codec<string> = plain(
  "printable text of 1 to 249 characters",
  (packed): packed is string => typeof packed === "string" && /^[!-~]{1,249}$/.test(packed),
);

/** A label that may be empty: up to 249 printable characters. */
export const label: Codec<string> = plain(
  "printable text of up to 249 characters",
  (packed): packed is string => typeof packed === "string" && /^[!-~]{0,249}$/.test(packed),
);

/** One of a few words. */
export function word<const W extends string>(...words: readonly W[]): Codec<W> {
  return plain(
    `one of ${words.join(", ")}`,
    (packed): packed is W => (words as readonly Packable[]).includes(packed),
  );
}

/** A value or null. */
export function nullable<T>(codec: Codec<T>): Codec<T | null> {
  return {
    encode: (value) => value === null ? null : codec.encode(value),
    decode: (packed, thing) => packed === null ? null : codec.decode(packed, thing),
  };
}

/** Values of one type, in order. */
export function list<T>(codec: Codec<T>): Codec<readonly T[]> {
  return {
    encode: (values) => values.map((value) => codec.encode(value)),
    decode(packed, thing) {
      if (!Array.isArray(packed)) throw malformed(thing, "not a list");
      return packed.map((item: Packable) => codec.decode(item, thing));
    },
  };
}

/**
 * A record that has grown: a value of the older form, with `fields` fields, decodes as if `added`
 * followed it.
 */
export function grown<T>(
  codec: Codec<T>,
  { fields, added }: { readonly fields: number; readonly added: readonly Packable[] },
): Codec<T> {
  return {
    encode: (value) => codec.encode(value),
    decode(packed, thing) {
      const older = Array.isArray(packed) && packed.length === fields;
      return codec.decode(older ? [...packed, ...added] : packed, thing);
    },
  };
}

/** An object, as an array of its fields in the order in which they are given here. */
export function record<T extends object>(
  fields: { readonly [Field in keyof T]-?: Codec<T[Field]> },
): Codec<T> {
  const names = Object.keys(fields) as (keyof T & string)[];
  const codecs = names.map((field) => fields[field] as Codec<unknown>);
  return {
    encode: (value) => codecs.map((codec, at) => codec.encode(value[names[at]])),
    decode(packed, thing) {
      if (!Array.isArray(packed)) throw malformed(thing, "not a list of fields");
      if (packed.length !== names.length) {
        throw malformed(thing, `${packed.length} fields instead of ${names.length}`);
      }
      const value: Record<string, unknown> = {};
      for (let at = 0; at < names.length; at += 1) {
        value[names[at]] = codecs[at].decode(packed[at], names[at]);
      }
      return value as T;
    },
  };
}
