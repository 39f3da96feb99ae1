/**
 * MessagePack as trilog speaks it: null, booleans, numbers, strings, binary, arrays, and maps with
 * string keys. Encoding is the `@msgpack/msgpack` library's. Decoding is our own single walk,
 * because hostile bytes must cost bounded memory: a length is believed only as far as bytes are
 * there, nesting is limited, strings must be UTF-8, extension types and whole numbers that a
 * double cannot hold exactly are refused rather than bent.
 */

import { Encoder } from "@msgpack/msgpack";
import { textOf, viewOf } from "./bytes.ts";
import { TrilogError } from "./errors.ts";
import { limits } from "./limits.ts";

/** What a frame or a command may hold. */
export type Packable =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Packable[]
  | { readonly [name: string]: Packable };

const encoder = new Encoder({ maxDepth: limits.nestingDepth, initialBufferSize: 4096 });

/** The bytes of a value, in an array of their own. */
export function pack(value: Packable): Uint8Array {
  return encoder.encode(value);
}

/**
 * The bytes of a value as a view of the encoder's own buffer: valid only until anything else is
 * packed, for callers that copy them onwards at once.
 */
export function packShared(value: Packable): Uint8Array {
  return encoder.encodeSharedRef(value);
}

/**
 * The value in `bytes`. Binary parts are views into `bytes`, not copies. Throws `malformed` on
 * anything else than exactly one well-formed value within the nesting limit, and on more than
 * `maxValues` values in all (an empty array is one byte on the wire and fifty in memory).
 */
export function unpack(bytes: Uint8Array, maxValues: number = Infinity): Packable {
  const reader = new Reader(bytes, maxValues);
  const value = reader.value(1);
  if (reader.at !== bytes.length) throw malformed("bytes are left over");
  return value;
}

function malformed(state: string): TrilogError {
  return new TrilogError("malformed", `Cannot decode message: ${state}`);
}

/** Strings up to this long are built character by character, which is faster than a decoder. */
const SHORT_STRING_BYTES = 32;

class Reader {
  at = 0;

  constructor(private readonly bytes: Uint8Array, private valuesLeft: number) {}

  /** One value; `depth` is 1 for the outermost. */
  value(depth: number): Packable {
    if (this.at >= this.bytes.length) throw malformed("it ends too early");
    this.valuesLeft -= 1;
    if (this.valuesLeft < 0) throw malformed("it holds too many values");
    const type = this.bytes[this.at];
    this.at += 1;
    if (type <= 0x7f) return type;
    if (type >= 0xe0) return type - 0x100;
    if (type <= 0x8f) return this.map(type & 0x0f, depth);
    if (type <= 0x9f) return this.array(type & 0x0f, depth);
    if (type <= 0xbf) return this.text(type & 0x1f);
    return this.longForm(type, depth);
  }

  private longForm(type: number, depth: number): Packable {
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.slice(this.unsigned8());
      case 0xc5:
        return this.slice(this.unsigned16());
      case 0xc6:
        return this.slice(this.unsigned32());
      case 0xca:
        return this.float(4).getFloat32(0);
      case 0xcb:
        return this.float(8).getFloat64(0);
      case 0xcc:
        return this.unsigned8();
      case 0xcd:
        return this.unsigned16();
      case 0xce:
        return this.unsigned32();
      case 0xcf:
        return this.exact(this.unsigned32() * 2 ** 32 + this.unsigned32());
      case 0xd0:
        return this.unsigned8() << 24 >> 24;
      case 0xd1:
        return this.unsigned16() << 16 >> 16;
      case 0xd2:
        return this.unsigned32() | 0;
      case 0xd3:
        return this.exact((this.unsigned32() | 0) * 2 ** 32 + this.unsigned32());
      case 0xd9:
        return this.text(this.unsigned8());
      case 0xda:
        return this.text(this.unsigned16());
      case 0xdb:
        return this.text(this.unsigned32());
      case 0xdc:
        return this.array(this.unsigned16(), depth);
      case 0xdd:
        return this.array(this.unsigned32(), depth);
      case 0xde:
        return this.map(this.unsigned16(), depth);
      case 0xdf:
        return this.map(this.unsigned32(), depth);
      default:
        throw malformed(`type 0x${type.toString(16)} is not known here`);
    }
  }

  /** Room for the elements is taken as they arrive, never by the count that is claimed. */
  private array(count: number, depth: number): Packable {
    this.enter(count, depth);
    const items: Packable[] = [];
    for (let item = 0; item < count; item += 1) items.push(this.value(depth + 1));
    return items;
  }

  private map(count: number, depth: number): Packable {
    this.enter(count * 2, depth);
    const entries: Record<string, Packable> = {};
    for (let entry = 0; entry < count; entry += 1) {
      const name = this.value(depth + 1);
      if (typeof name !== "string") throw malformed("a map has a key that is not a string");
      if (name === "__proto__") throw malformed("a map has a forbidden key");
      entries[name] = this.value(depth + 1);
    }
    return entries;
  }

  private enter(count: number, depth: number): void {
    if (count > this.bytes.length - this.at) throw malformed("a length goes beyond its end");
    if (count > 0 && depth > limits.nestingDepth) throw malformed("it is nested too deeply");
  }

  private slice(length: number): Uint8Array {
    const start = this.at;
    this.skip(length);
    return this.bytes.subarray(start, this.at);
  }

  private text(length: number): string {
    const start = this.at;
    this.skip(length);
    if (length <= SHORT_STRING_BYTES) {
      let text = "";
      let at = start;
      while (at < this.at && this.bytes[at] < 0x80) {
        text += String.fromCharCode(this.bytes[at]);
        at += 1;
      }
      if (at === this.at) return text;
    }
    try {
      return textOf(this.bytes.subarray(start, this.at));
    } catch {
      throw malformed("a string is not UTF-8");
    }
  }

  private unsigned8(): number {
    this.skip(1);
    return this.bytes[this.at - 1];
  }

  private unsigned16(): number {
    this.skip(2);
    return this.bytes[this.at - 2] << 8 | this.bytes[this.at - 1];
  }

  private unsigned32(): number {
    this.skip(4);
    const { bytes, at } = this;
    return (bytes[at - 4] << 24 | bytes[at - 3] << 16 | bytes[at - 2] << 8 | bytes[at - 1]) >>> 0;
  }

  private float(width: number): DataView {
    return viewOf(this.slice(width));
  }

  private exact(value: number): number {
    if (!Number.isSafeInteger(value)) throw malformed("a whole number is beyond 2^53");
    return value;
  }

  private skip(length: number): void {
    if (length > this.bytes.length - this.at) throw malformed("a length goes beyond its end");
    this.at += length;
  }
}
