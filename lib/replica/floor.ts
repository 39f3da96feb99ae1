/**
 * A replica that was removed from its group, deleted, and made anew under the same identity has
 * forgotten its term, the vote it gave there and the entries it acknowledged. If a member that
 * missed the removal asks it again, old membership and new could both find a majority. The removal
 * itself gives the remedy: it was committed at some position, and from then on nobody can win or
 * lead rightfully who does not hold that position. So this replica hears no leader of a lower
 * term, votes for no candidate whose log ends before it, and wins no election before its own log
 * reaches it: the old membership, which it receives first, may name it as a voter.
 */

import type { Input, LogId, Message } from "../raft/types.ts";

/**
 * Whether a replica made anew, whose log ends at `ownLast`, must not hear `message`; to its sender it
 * is as good as lost. Votes of others count as soon as its own log holds the position, whatever term
 * the voters are in: one that has heard nothing yet answers in term 0.
 */
export function isBelowFloor(floor: LogId, message: Message, ownLast: LogId): boolean {
  switch (message.kind) {
    case "vote_request":
      return message.term < floor.term || isBefore(message.last, floor);
    case "vote_response":
      return isBefore(ownLast, floor);
    default:
      return message.term < floor.term;
  }
}

/** Whether an input is a message that a replica with that floor must not hear. */
export function isHiddenBy(floor: LogId | undefined, input: Input, ownLast: LogId): boolean {
  return floor !== undefined && input.kind === "message" &&
    isBelowFloor(floor, input.message, ownLast);
}

function isBefore(left: LogId, right: LogId): boolean {
  return left.term < right.term || (left.term === right.term && left.index < right.index);
}
