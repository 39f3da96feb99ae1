/** Members and status of a node as people type and read them, alike in every system. */

import { TrilogError } from "../base/errors.ts";
import { isValidName } from "../base/limits.ts";
import { parseAddress } from "../net/address.ts";
import type { Attempts } from "./attempts.ts";
import type { Backend } from "./backends.ts";
import type { MemberChange, MemberState, NodeStatus } from "./node_protocol.ts";

export const MEMBER_USAGE = "member add|replace|remove NAME";

/** The words after `member`; throws `unknown_command` where they are no change. */
export function parseMemberChange(words: readonly string[]): MemberChange {
  const [action, ...rest] = words;
  const [, name, address] = /^([^=]*)=(.*)$/.exec(rest[rest.length - 1] ?? "") ?? [];
  const isPlace = isValidName(name) && isAddress(address);
  if (action === "add" && rest.length === 1 && isPlace) {
    return { action, name, address, replaces: null };
  }
  if (action === "replace" && rest.length === 2 && isPlace && isValidName(rest[0])) {
    return { action, name, address, replaces: rest[0] };
  }
  if (action === "remove" && rest.length === 1 && isValidName(rest[0])) {
    return { action, name: rest[0], address: null, replaces: null };
  }
  const typed = "member add NAME=HOST:PORT, member replace OLD NEW=HOST:PORT or member remove NAME";
  throw new TrilogError("unknown_command", `Cannot run member: it is typed ${typed}`);
}

function isAddress(text: string): boolean {
  try {
    return parseAddress(text).port > 0;
  } catch {
    return false;
  }
}

/**
 * Has a member added, replaced or removed; null: see the attempts' error. A replaced member of
 * another name is removed as soon as the new one votes. A repeat of a removal whose answer was lost
 * finds no member of that name: then it was carried out.
 */
export async function changeMember(
  attempts: Attempts,
  backend: Backend,
  change: MemberChange,
): Promise<MemberState | null> {
  const state = await attempts.run((timeoutMs) => backend.changeMember(change, timeoutMs));
  const { replaces } = change;
  if (state === "voter" && replaces !== null && replaces !== change.name) {
    const removal = { action: "remove", name: replaces, address: null, replaces: null } as const;
    return await changeMember(attempts, backend, removal) === null ? null : "voter";
  }
  const gone = state === null && change.action === "remove" && !attempts.certain &&
    attempts.error?.code === "invalid_membership";
  return gone ? "removed" : state;
}

/** `add member a4`, to follow "Cannot". */
export function memberChangeText({ action, name, replaces }: MemberChange): string {
  return action === "replace" ? `replace member ${replaces}` : `${action} member ${name}`;
}

export function memberStateText(change: MemberChange, state: MemberState): string {
  const { name, address, replaces } = change;
  const former = replaces === null || replaces === name ? "" : ` and ${replaces} is removed`;
  switch (state) {
    case "invited":
      return `${name} is invited: start it at ${address} with --peers naming the members and itself`;
    case "learner":
      return `${name} is a learner and votes when it has caught up`;
    case "voter":
      return `${name} is a voter${former}`;
    case "removed":
      return `${name} is removed`;
  }
}

/** The node itself, then one line for each member. */
export function statusLines(status: NodeStatus): string[] {
  const leader = status.leader === null ? "no leader known" : `leader ${status.leader}`;
  return [
    `${status.name} ${status.address} ${status.role}, ${leader}, term ${status.term}, ` +
    `applied ${status.applied} of ${status.lastIndex}`,
    ...catchUpLines(status),
    ...memberLines(status),
  ];
}

function catchUpLines({ caughtUp }: NodeStatus): string[] {
  if (caughtUp === null) return [];
  const { agoMs } = caughtUp;
  return [`${catchUpText(caughtUp)}, ${Math.round(agoMs / 1_000)} s ago`];
}

export function catchUpText({ entries, from }: { entries: number; from: string }): string {
  return `caught up ${entries} ${entries === 1 ? "entry" : "entries"} from ${from}`;
}

export function memberLines(status: NodeStatus): string[] {
  return status.members.map(({ name, address, role, lag, heardMs }) => {
    const behind = lag === null ? "" : `, ${lag} entries behind`;
    const heard = heardMs === null ? "" : `, heard ${heardMs} ms ago`;
    return `member ${name} ${address} ${role}${behind}${heard}`;
  });
}
