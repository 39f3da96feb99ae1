/**
 * How the records of a batch may be compressed, by the number that the format gives each way.
 * Decompression is bounded: a batch that claims more than it may hold is refused before memory is
 * set aside for it. snappy (2) and lz4 (3) are not spoken: the libraries that would fit in a bundle
 * do not check what they read.
 */

import * as zlib from "node:zlib";
import { TrilogError } from "../base/errors.ts";
import { invalidBatch } from "./varint.ts";

/** The numbers stand in the attributes of stored batches: never change one. */
export const compressionCodes = { none: 0, gzip: 1, zstd: 4 } as const;
/** Ways in which the messages of a batch may be compressed. */
export type Compression = keyof typeof compressionCodes;

/** Names in the order in which help texts show them. */
export const compressions = Object.keys(compressionCodes) as readonly Compression[];

/** Whether `name` is a way of compressing that can be asked for. */
export function isCompression(name: unknown): name is Compression {
  return typeof name === "string" && Object.hasOwn(compressionCodes, name);
}

/** The compression that a batch's attributes name; throws `invalid_batch` for any other bits. */
export function compressionOf(attributes: number): Compression {
  for (const name of compressions) {
    if (compressionCodes[name] === attributes) return name;
  }
  throw invalidBatch(`attributes 0x${(attributes & 0xffff).toString(16)} are not supported`);
}

/** The compressed form of `bytes`; with `none` the very same array. */
export function compress(compression: Compression, bytes: Uint8Array): Uint8Array {
  switch (compression) {
    case "none":
      return bytes;
    case "gzip":
      return zlib.gzipSync(bytes);
    case "zstd":
      requireZstd();
      return zlib.zstdCompressSync(bytes);
  }
}

/** The bytes that were compressed, at most `maxBytes`; throws `invalid_batch` otherwise. */
export function decompress(
  compression: Compression,
  bytes: Uint8Array,
  maxBytes: number,
): Uint8Array {
  const options = { maxOutputLength: maxBytes };
  try {
    switch (compression) {
      case "none":
        return bytes;
      case "gzip":
        return plain(zlib.gunzipSync(bytes, options));
      case "zstd":
        requireZstd();
        return plain(zlib.zstdDecompressSync(bytes, options));
    }
  } catch (thrown) {
    if (thrown instanceof TrilogError) throw thrown;
    throw invalidBatch(`its ${compression} data cannot be decompressed`, thrown);
  }
}

/** Node.js has zstd from 22.15 on only. */
function requireZstd(): void {
  if ("zstdCompressSync" in zlib) return;
  const state = "this runtime has no zstd";
  throw new TrilogError("invalid_argument", `Cannot use compression zstd: ${state}`);
}

/** The runtime's buffers cut and compare otherwise than the arrays that all else here uses. */
function plain(buffer: Uint8Array): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}
