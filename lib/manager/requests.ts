/**
 * MACHINE. Exactly-once for operators and scripts: a command that carries a request id and succeeds
 * leaves its answer behind, and the same request again gets that answer. A refusal changed nothing
 * and is not kept: the repeat is judged anew. The newest `limits.requestAnswers` are kept, in log
 * order.
 */

import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { MetadataState } from "./state.ts";

/** The answer given to this request before, or null; throws where another command has its id. */
export function repeatedAnswer(
  state: MetadataState,
  requestId: string,
  command: string,
): Uint8Array | null {
  const answered = state.requests.get(requestId);
  if (answered === undefined) return null;
  if (answered.command !== command) {
    throw new TrilogError(
      "invalid_argument",
      `Cannot apply ${command}: request ${requestId} was used for ${answered.command}`,
    );
  }
  return answered.answer;
}

/** Keeps an answer, and drops the oldest beyond the limit. */
export function rememberAnswer(
  state: MetadataState,
  requestId: string,
  command: string,
  answer: Uint8Array,
): void {
  state.requests.set(requestId, { command, answer });
  if (state.requests.size <= limits.requestAnswers) return;
  const oldest = state.requests.keys().next();
  if (!oldest.done) state.requests.delete(oldest.value);
}
