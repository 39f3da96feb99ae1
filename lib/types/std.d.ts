/**
 * Types of the parts of `@std/*` that trilog uses. The npm package that carries them
 * (`deno-std`, the official packages as one) ships none; who maps the official packages instead
 * may delete this file.
 */

declare module "@std/assert" {
  export class AssertionError extends Error {}
  export function assert(expr: unknown, msg?: string): asserts expr;
  export function assertEquals<T>(actual: T, expected: T, msg?: string): void;
  export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void;
  export function assertStrictEquals<T>(actual: unknown, expected: T, msg?: string): void;
  export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T>;
  export function assertStringIncludes(actual: string, expected: string, msg?: string): void;
  export function assertMatch(actual: string, expected: RegExp, msg?: string): void;
  export function assertGreater<T>(actual: T, expected: T, msg?: string): void;
  export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void;
  export function assertLess<T>(actual: T, expected: T, msg?: string): void;
  export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void;
  export function assertAlmostEquals(actual: number, expected: number, tolerance?: number): void;
  export function assertInstanceOf<T>(
    actual: unknown,
    // deno-lint-ignore no-explicit-any
    expected: abstract new (...args: any[]) => T,
    msg?: string,
  ): asserts actual is T;
  // deno-lint-ignore no-explicit-any
  type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;
  export function assertThrows<E extends Error = Error>(
    fn: () => unknown,
    errorClass?: ErrorClass<E>,
    msgIncludes?: string,
    msg?: string,
  ): E;
  export function assertRejects<E extends Error = Error>(
    fn: () => PromiseLike<unknown>,
    errorClass?: ErrorClass<E>,
    msgIncludes?: string,
    msg?: string,
  ): Promise<E>;
  export function fail(msg?: string): never;
}

declare module "@std/cli/parse-args" {
  export interface ParseOptions {
    readonly boolean?: readonly string[];
    readonly string?: readonly string[];
    readonly collect?: readonly string[];
    readonly negatable?: readonly string[];
    readonly alias?: Readonly<Record<string, string | readonly string[]>>;
    readonly default?: Readonly<Record<string, unknown>>;
    readonly stopEarly?: boolean;
    readonly "--"?: boolean;
    readonly unknown?: (arg: string, key?: string, value?: unknown) => unknown;
  }
  export function parseArgs(
    args: readonly string[],
    options?: ParseOptions,
  ): { _: (string | number)[]; "--"?: string[]; [key: string]: unknown };
}

declare module "@std/fs" {
  export function ensureDirSync(dir: string): void;
  export function ensureDir(dir: string): Promise<void>;
  export function existsSync(
    path: string,
    options?: { isReadable?: boolean; isDirectory?: boolean; isFile?: boolean },
  ): boolean;
  export function exists(path: string): Promise<boolean>;
  export function emptyDirSync(dir: string): void;
  export function copySync(
    src: string,
    dest: string,
    options?: { overwrite?: boolean; preserveTimestamps?: boolean },
  ): void;
  export function moveSync(src: string, dest: string, options?: { overwrite?: boolean }): void;
  export interface WalkEntry {
    path: string;
    name: string;
    isFile: boolean;
    isDirectory: boolean;
    isSymlink: boolean;
  }
  export function walkSync(
    root: string,
    options?: {
      maxDepth?: number;
      includeFiles?: boolean;
      includeDirs?: boolean;
      exts?: string[];
      match?: RegExp[];
      skip?: RegExp[];
    },
  ): IterableIterator<WalkEntry>;
}

declare module "@std/msgpack" {
  export type ValueType =
    | number
    | bigint
    | string
    | boolean
    | null
    | Uint8Array
    | readonly ValueType[]
    | { [key: string]: ValueType };
  export function encode(value: ValueType): Uint8Array;
  export function decode(bytes: Uint8Array): ValueType;
}

declare module "@std/path" {
  export function join(...paths: string[]): string;
  export function resolve(...paths: string[]): string;
  export function dirname(path: string): string;
  export function basename(path: string, suffix?: string): string;
  export function relative(from: string, to: string): string;
  export function isAbsolute(path: string): boolean;
  export function normalize(path: string): string;
  export function extname(path: string): string;
  export function fromFileUrl(url: string | URL): string;
  export function toFileUrl(path: string): URL;
}

declare module "@std/streams" {
  export class DelimiterStream extends TransformStream<Uint8Array, Uint8Array> {
    constructor(
      delimiter: Uint8Array,
      options?: { disposition?: "suffix" | "prefix" | "discard" },
    );
  }
  export function writeAll(
    writer: { write(bytes: Uint8Array): Promise<number> },
    data: Uint8Array,
  ): Promise<void>;
  export function readAll(
    reader: { read(bytes: Uint8Array): Promise<number | null> },
  ): Promise<Uint8Array>;
  export function toArrayBuffer(stream: ReadableStream<Uint8Array>): Promise<ArrayBuffer>;
}
