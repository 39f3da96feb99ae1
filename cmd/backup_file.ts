/**
 * The file that `trilog cluster backup` writes. A stream of parts, each a MessagePack array behind
 * its length and checksum, so that a file that was cut or damaged shows itself:
 *
 *   0  8 bytes  `trilogBK`
 *   8  u32      format version
 *  12           parts: u32 length, u32 CRC-32 of the payload, payload; little-endian
 *
 * Parts: one `cluster`; a `topic` for each; with data, after its topic, `batch` (stored record
 * batches as they are) and after the last of a partition `partition`, which says where it ended;
 * then, with data, a `position` for each place where a consumer group stands; then one `end` with
 * the counts. The file gets its name when it is whole and synced.
 */

import { existsSync } from "@std/fs";
import { crc32 } from "node:zlib";
import { binary, type Codec, flag, list, name, record, token, whole } from "../lib/base/codec.ts";
import { utf8, viewOf } from "../lib/base/bytes.ts";
import { toTrilogError, TrilogError } from "../lib/base/errors.ts";
import { limits } from "../lib/base/limits.ts";
import { pack, type Packable, unpack } from "../lib/base/msgpack.ts";

const MAGIC = utf8("trilogBK");
const VERSION = 1;
const PREAMBLE_BYTES = 12;
const PART_HEADER_BYTES = 8;
const READ_BYTES = 1024 * 1024;

/** One topic, as it is to be made again. */
export interface BackedUpTopic {
  readonly topic: string;
  readonly partitions: number;
  readonly retentionBytes: number;
  readonly retentionMs: number;
}

interface Parts {
  readonly cluster: {
    readonly clusterId: string;
    /** Milliseconds since 1970. */
    readonly takenAtMs: number;
    readonly withData: boolean;
    /** Names of the brokers that there were, for people. */
    readonly brokers: readonly string[];
  };
  readonly topic: BackedUpTopic;
  readonly batch: {
    readonly topic: string;
    readonly partition: number;
    readonly bytes: Uint8Array;
  };
  readonly partition: {
    readonly topic: string;
    readonly partition: number;
    readonly startOffset: number;
    readonly endOffset: number;
  };
  readonly position: {
    readonly group: string;
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
  };
  readonly end: { readonly topics: number; readonly messages: number };
}

type Kind = keyof Parts;
export type Part = { [K in Kind]: { readonly kind: K } & Parts[K] }[Kind];

const shapes: { readonly [K in Kind]: Codec<Parts[K]> } = {
  cluster: record<Parts["cluster"]>({
    clusterId: token,
    takenAtMs: whole,
    withData: flag,
    brokers: list(name),
  }),
  topic: record<BackedUpTopic>({
    topic: name,
    partitions: whole,
    retentionBytes: whole,
    retentionMs: whole,
  }),
  batch: record<Parts["batch"]>({ topic: name, partition: whole, bytes: binary }),
  partition: record<Parts["partition"]>({
    topic: name,
    partition: whole,
    startOffset: whole,
    endOffset: whole,
  }),
  position: record<Parts["position"]>({
    group: name,
    topic: name,
    partition: whole,
    offset: whole,
  }),
  end: record<Parts["end"]>({ topics: whole, messages: whole }),
};

/**
 * Writes under a temporary name; {@link finish} gives the file its own. Throws `file_exists` where
 * there is a file of that name that is not to be overwritten.
 */
export class BackupWriter {
  private isOpen = true;
  private readonly file: Deno.FsFile;
  private readonly temporary: string;
  /** Bytes written. */
  sizeBytes = PREAMBLE_BYTES;

  constructor(private readonly path: string, private readonly overwrite: boolean) {
    this.refuseExisting();
    this.temporary = `${path}.tmp`;
    this.file = onFile(
      `write ${path}`,
      () => Deno.openSync(this.temporary, { write: true, create: true, truncate: true }),
    );
    const preamble = new Uint8Array(PREAMBLE_BYTES);
    preamble.set(MAGIC);
    viewOf(preamble).setUint32(MAGIC.length, VERSION, true);
    this.writeAll(preamble);
  }

  add(part: Part): void {
    const shape = shapes[part.kind] as Codec<unknown>;
    const payload = pack([part.kind, ...(shape.encode(part) as readonly Packable[])]);
    const header = new Uint8Array(PART_HEADER_BYTES);
    viewOf(header).setUint32(0, payload.length, true);
    viewOf(header).setUint32(4, crc32(payload), true);
    this.writeAll(header);
    this.writeAll(payload);
    this.sizeBytes += header.length + payload.length;
  }

  finish(): void {
    onFile(`write ${this.path}`, () => {
      this.file.syncSync();
      this.refuseExisting();
      this.close();
      Deno.renameSync(this.temporary, this.path);
    });
  }

  /** Leaves nothing behind, unless the file is finished. */
  abandon(): void {
    if (!this.isOpen) return;
    this.close();
    Deno.removeSync(this.temporary);
  }

  private close(): void {
    this.isOpen = false;
    this.file.close();
  }

  private refuseExisting(): void {
    if (this.overwrite || !existsSync(this.path)) return;
    throw new TrilogError(
      "file_exists",
      `Cannot write ${this.path}: there is a file of that name; --overwrite replaces it`,
    );
  }

  private writeAll(bytes: Uint8Array): void {
    onFile(`write ${this.path}`, () => {
      for (let at = 0; at < bytes.length;) at += this.file.writeSync(bytes.subarray(at));
    });
  }
}

/** The parts of a backup, checked; throws `corrupt` for a file that is not whole. */
export function* readBackup(path: string): Generator<Part, void, undefined> {
  const file = onFile(`read ${path}`, () => Deno.openSync(path));
  try {
    const source = new Source(path, file);
    const preamble = source.take(PREAMBLE_BYTES) ?? corrupt(path, "it is too short to be a backup");
    if (!MAGIC.every((byte, at) => preamble[at] === byte)) corrupt(path, "it is no backup");
    const version = viewOf(preamble).getUint32(MAGIC.length, true);
    if (version !== VERSION) {
      const message = `Cannot read ${path}: its format version ${version} is not known here`;
      throw new TrilogError("unsupported_version", message);
    }
    for (let ended = false; !ended;) {
      const part = source.part();
      ended = part.kind === "end";
      yield part;
    }
    if (source.take(1) !== null) corrupt(path, "bytes follow its end");
  } finally {
    file.close();
  }
}

class Source {
  private buffer: Uint8Array = new Uint8Array(0);

  constructor(private readonly path: string, private readonly file: Deno.FsFile) {}

  part(): Part {
    const header = this.take(PART_HEADER_BYTES) ?? corrupt(this.path, "its end is missing");
    const length = viewOf(header).getUint32(0, true);
    const crc = viewOf(header).getUint32(4, true);
    if (length > limits.peerFrameBytes) corrupt(this.path, "a part is too long");
    const payload = this.take(length) ?? corrupt(this.path, "its end is missing");
    if (crc32(payload) !== crc) corrupt(this.path, "a part fails its checksum");
    const [kind, ...fields] = unpack(payload) as readonly Packable[];
    const shape = shapes[kind as Kind] as Codec<object> | undefined;
    if (shape === undefined) return corrupt(this.path, "a part is of an unknown kind");
    return { kind, ...shape.decode(fields, String(kind)) } as Part;
  }

  /** The next bytes; null where there are not so many. */
  take(length: number): Uint8Array | null {
    while (this.buffer.length < length) {
      const more = new Uint8Array(READ_BYTES);
      const count = onFile(`read ${this.path}`, () => this.file.readSync(more));
      if (count === null) return null;
      const joined = new Uint8Array(this.buffer.length + count);
      joined.set(this.buffer);
      joined.set(more.subarray(0, count), this.buffer.length);
      this.buffer = joined;
    }
    const taken = this.buffer.subarray(0, length);
    this.buffer = this.buffer.subarray(length);
    return taken;
  }
}

function corrupt(path: string, state: string): never {
  throw new TrilogError("corrupt", `Cannot read backup ${path}: ${state}`);
}

function onFile<T>(act: string, run: () => T): T {
  try {
    return run();
  } catch (thrown) {
    if (thrown instanceof TrilogError) throw thrown;
    const message = `Cannot ${act}: ${toTrilogError(thrown).message}`;
    throw new TrilogError("invalid_argument", message, { cause: thrown });
  }
}
