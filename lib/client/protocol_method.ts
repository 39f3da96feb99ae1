/** PURE. The form of an RPC method; see `protocol.ts`. */

import type { Codec } from "../base/codec.ts";

export interface Method<Request, Answer> {
  readonly name: string;
  readonly request: Codec<Request>;
  readonly answer: Codec<Answer>;
}

/** Describes a method. */
export function method<Request, Answer>(
  methodName: string,
  request: Codec<Request>,
  answer: Codec<Answer>,
): Method<Request, Answer> {
  return { name: methodName, request, answer };
}
