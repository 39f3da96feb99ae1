/**
 * MessagePack as trilog speaks it: arrays, strings, whole numbers below 2^53, booleans, null and
 * binary. Decoding hostile bytes costs bounded memory and ends in a value or a `malformed` error.
 */

import { Decoder, Encoder } from "@msgpack/msgpack";
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
const decoder = new Decoder({
  maxStrLength: limits.clientFrameBytes,
  maxExtLength: 0,
});

/** The bytes of a value, in an array of their own. */
export function pack(value: Packable): Uint8Array {
  return encoder.encode(value);
}

/**
 * The value in `bytes`. Binary parts are views into `bytes`, not copies. Throws `malformed` on
 * anything else than exactly one well-formed value within the nesting limit.
 */
export function unpack(bytes: Uint8Array): Packable {
  checkShape(bytes);
  try {
    return decoder.decode(bytes) as Packable;
  } catch (thrown) {
    throw new TrilogError("malformed", "Cannot decode message: not valid MessagePack", {
      cause: thrown,
    });
  }
}

function malformed(state: string): TrilogError {
  return new TrilogError("malformed", `Cannot decode message: ${state}`);
}

/**
 * Walks the encoding before anything is built: lengths must lie inside the buffer, so an array
 * that claims 2^32 elements in 5 bytes is refused before memory is set aside for it, nesting
 * stays within the limit, and extension types are not spoken here.
 */
function checkShape(bytes: Uint8Array): void {
  /** Values still expected at each open level. */
  const pending: number[] = [1];
  let at = 0;
  while (pending.length > 0) {
    const level = pending.length - 1;
    if (pending[level] === 0) {
      pending.pop();
      continue;
    }
    pending[level] -= 1;
    if (at >= bytes.length) throw malformed("it ends too early");
    const children = childrenAt(bytes, at);
    at = children.next;
    if (children.count > bytes.length - at) throw malformed("a length goes beyond its end");
    if (children.count > 0) {
      if (pending.length > limits.nestingDepth) throw malformed("it is nested too deeply");
      pending.push(children.count);
    }
  }
  if (at !== bytes.length) throw malformed("bytes are left over");
}

/** Payload sizes of the fixed-size types 0xca to 0xd3: float32 to int64. */
const FIXED_SIZES = [4, 8, 1, 2, 4, 8, 1, 2, 4, 8];

function childrenAt(bytes: Uint8Array, at: number): { next: number; count: number } {
  const type = bytes[at];
  const body = at + 1;
  if (type <= 0x7f || type >= 0xe0) return { next: body, count: 0 };
  if (type <= 0x8f) return { next: body, count: (type & 0x0f) * 2 };
  if (type <= 0x9f) return { next: body, count: type & 0x0f };
  if (type <= 0xbf) return skip(bytes, body, type & 0x1f);
  if (type === 0xc0 || type === 0xc2 || type === 0xc3) return { next: body, count: 0 };
  if (type >= 0xc4 && type <= 0xc6) return skipSized(bytes, body, 1 << (type - 0xc4));
  if (type >= 0xca && type <= 0xd3) return skip(bytes, body, FIXED_SIZES[type - 0xca]);
  if (type >= 0xd9 && type <= 0xdb) return skipSized(bytes, body, 1 << (type - 0xd9));
  if (type === 0xdc || type === 0xdd) {
    const width = type === 0xdc ? 2 : 4;
    return { next: body + width, count: readLength(bytes, body, width) };
  }
  if (type === 0xde || type === 0xdf) {
    const width = type === 0xde ? 2 : 4;
    return { next: body + width, count: readLength(bytes, body, width) * 2 };
  }
  throw malformed(`type 0x${type.toString(16)} is not spoken here`);
}

function skipSized(bytes: Uint8Array, at: number, width: number) {
  return skip(bytes, at + width, readLength(bytes, at, width));
}

function skip(bytes: Uint8Array, at: number, length: number): { next: number; count: number } {
  if (at + length > bytes.length) throw malformed("a length goes beyond its end");
  return { next: at + length, count: 0 };
}

function readLength(bytes: Uint8Array, at: number, width: number): number {
  if (at + width > bytes.length) throw malformed("it ends too early");
  let value = 0;
  for (let offset = 0; offset < width; offset += 1) value = value * 256 + bytes[at + offset];
  return value;
}
