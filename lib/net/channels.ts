/**
 * The frames after the handshake: arrays that begin with their channel. Both sides of each channel
 * use these words; the layout stands in DESIGN.md.
 */

import { errorToWire, TrilogError } from "../base/errors.ts";
import type { Packable } from "../base/msgpack.ts";

export const Channel = {
  /** `[0, group, from, to, body]`: a frame between replicas. */
  peer: 0,
  /** `[1, id, method, deadlineMs, params]`: a call. */
  request: 1,
  /** `[2, id, error or null, result]`: its answer. */
  response: 2,
  /** `[3, id]`: the caller no longer waits. */
  cancel: 3,
  /** `[4, error]`: the last frame of a side that closes the connection. */
  farewell: 4,
  /** `[5]`: is anybody there? Asked by peers on the connections they dialled. */
  ping: 5,
  /** `[6]`: its answer. */
  pong: 6,
} as const;

/** The farewell that tells the other side why the connection is closed. */
export function farewellFrame(reason: TrilogError): Packable {
  return [Channel.farewell, errorToWire(reason)];
}

/** A frame as an array of exactly `fields` elements; throws `malformed`. */
export function checkFrame(frame: readonly Packable[], fields: number): readonly Packable[] {
  if (frame.length !== fields) throw malformedFrame("it has too few or too many fields");
  return frame;
}

/** Any decoded payload as a frame; throws `malformed`. */
export function asFrame(value: Packable): readonly Packable[] {
  if (!Array.isArray(value)) throw malformedFrame("it is not an array");
  return value;
}

/** A whole number from 0 to 2^53; throws `malformed`. */
export function asCount(value: Packable): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) {
    throw malformedFrame("a number is out of range");
  }
  return value as number;
}

export function asText(value: Packable): string {
  if (typeof value !== "string") throw malformedFrame("a text is missing");
  return value;
}

export function malformedFrame(state: string): TrilogError {
  return new TrilogError("malformed", `Cannot take frame: ${state}`);
}
