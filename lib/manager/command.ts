/**
 * MACHINE. Commands of the metadata machine. Each has a name, its fields, its answer and what it
 * does to the state; `apply` either changes the state and answers, or throws a `TrilogError` before
 * it has changed anything, which becomes the refusal that the proposer gets.
 *
 * As stored: `[request id or "", command name, fields]`. An answer is `[true, answer]`, a refusal
 * `[false, wire error]`.
 */

import type { Codec } from "../base/codec.ts";
import { record, whole } from "../base/codec.ts";
import { errorFromWire, errorToWire, TrilogError, type WireError } from "../base/errors.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";
import type { ApplyContext } from "../replica/state_machine.ts";
import type { MetadataState } from "./state.ts";

export interface Command<Fields, Answer> {
  readonly name: string;
  readonly fields: Codec<Fields>;
  readonly answer: Codec<Answer>;
  apply(state: MetadataState, fields: Fields, context: ApplyContext): Answer;
}

/** A command of any kind. */
// deno-lint-ignore no-explicit-any
export type AnyCommand = Command<any, any>;

/** The metadata version in which a change is visible. */
export interface Changed {
  readonly version: number;
}
export const changedCodec: Codec<Changed> = record<Changed>({ version: whole });

/** The bytes to propose. With a request id the command takes effect once, if it comes twice. */
export function encodeCommand<Fields>(
  command: Pick<Command<Fields, unknown>, "name" | "fields">,
  fields: Fields,
  requestId = "",
): Uint8Array {
  return pack([requestId, command.name, command.fields.encode(fields)]);
}

export function encodeSuccess(answer: Packable): Uint8Array {
  return pack([true, answer]);
}

export function encodeRefusal(error: TrilogError): Uint8Array {
  return pack([false, errorToWire(error)]);
}

/** The answer in what `apply` returned; throws the refusal. */
export function decodeAnswer<Answer>(
  command: Pick<Command<unknown, Answer>, "name" | "answer">,
  bytes: Uint8Array,
): Answer {
  const [done, content] = unpack(bytes) as readonly [boolean, Packable];
  if (!done) throw errorFromWire(content as unknown as WireError);
  return command.answer.decode(content, `answer to ${command.name}`);
}
