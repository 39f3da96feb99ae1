/** Which inputs of a core are signs of life in its group, and which are the routine of a quiet one. */

import type { Raft } from "../raft/raft.ts";
import type { Input } from "../raft/types.ts";

/** Whether an input is more than the answers and heartbeats that go on in a quiet group. */
export function isActivity(input: Input): boolean {
  if (input.kind !== "message") return input.kind !== "resume";
  return input.message.kind !== "heartbeat_request" && input.message.kind !== "heartbeat_response";
}

/**
 * Whether an input to a resting replica only answers the last heartbeats before its leader's group
 * fell to rest: that is no reason to wake.
 */
export function isEcho(input: Input, raft: Raft): boolean {
  if (input.kind !== "message") return false;
  const { message } = input;
  return message.kind === "heartbeat_response" && message.term === raft.term &&
    message.lastSynced === raft.lastIndex;
}
