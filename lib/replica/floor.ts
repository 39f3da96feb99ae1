/**
 * A replica that was removed from its group, deleted, and made anew under the same identity has
 * forgotten its term, the vote it gave there and the entries it acknowledged. If a member that
 * missed the removal asks it again, old membership and new could both find a majority. The removal
 * itself gives the remedy: it was committed at some position, and from then on nobody can win or
 * lead rightfully who does not hold that position. So this replica hears no leader of a lower
 * term, and votes for no candidate whose log ends before it.
 */

import type { Input, LogId, Message } from "../raft/types.ts";

/** Whether a replica made anew must not hear `message`; to its sender it is as good as lost. */
export function isBelowFloor(floor: LogId, message: Message): boolean {
  if (message.term < floor.term) return true;
  if (message.kind !== "vote_request") return false;
  const { last } = message;
  return last.term < floor.term || (last.term === floor.term && last.index < floor.index);
}

/** Whether an input is a message that a replica with that floor must not hear. */
export function isHiddenBy(floor: LogId | undefined, input: Input): boolean {
  return floor !== undefined && input.kind === "message" && isBelowFloor(floor, input.message);
}
