/**
 * MACHINE. Exactly-once for operators and scripts: a command that carries a request id and succeeds
 * leaves its answer behind, and the same request again gets that answer. A refusal changed nothing
 * and is not kept: the repeat is judged anew. Answers are kept in log order for
 * `limits.requestMemoryMs`. Where there are too many, those older than
 * `limits.requestLeastMemoryMs` go earlier; where none is that old, a new request is refused,
 * because a repeat of a forgotten one would be carried out twice.
 */

import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { AnsweredRequest, MetadataState } from "./state.ts";

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

/** Throws `overloaded` where the answer to one more request could not be remembered. */
export function requireRoom(state: MetadataState, timeMs: number): void {
  if (state.requests.size < limits.requestAnswers) return;
  if (isOlderThan(oldestOf(state), limits.requestLeastMemoryMs, timeMs)) return;
  throw new TrilogError(
    "overloaded",
    `Cannot apply request: ${limits.requestAnswers} were taken within ` +
      `${limits.requestLeastMemoryMs / 1_000} seconds and must be remembered`,
  );
}

/** Keeps an answer, and forgets those whose time is over. */
export function rememberAnswer(
  state: MetadataState,
  requestId: string,
  answered: AnsweredRequest,
): void {
  const { requests } = state;
  requests.set(requestId, answered);
  for (const [id, { timeMs }] of requests) {
    const isOver = isOlderThan(timeMs, limits.requestMemoryMs, answered.timeMs);
    if (!isOver && requests.size <= limits.requestAnswers) return;
    requests.delete(id);
  }
}

function oldestOf({ requests }: MetadataState): number {
  return requests.values().next().value?.timeMs ?? 0;
}

function isOlderThan(timeMs: number, ageMs: number, nowMs: number): boolean {
  return nowMs - timeMs > ageMs;
}
