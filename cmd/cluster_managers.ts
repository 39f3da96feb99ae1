/** `trilog cluster add-manager`, `replace-manager`, `remove-manager`: the managers, changed live. */

import { sleep } from "../lib/base/clock.ts";
import { TrilogError } from "../lib/base/errors.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { bootstrapFlags, securityFlags } from "../lib/cli/common_flags.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { type Member, readMembers } from "../lib/cli/flags.ts";
import { exitStatus } from "../lib/cli/program.ts";
import type { Terminal } from "../lib/cli/terminal.ts";
import type { Managers } from "../lib/client/managers.ts";
import { metadataMethod, type Method } from "../lib/client/protocol.ts";
import {
  MEMBER_METHOD,
  type MemberChange,
  memberChangeCodec,
  type MemberState,
  memberStateCodec,
} from "../lib/replica/node_protocol.ts";
import { type Ask, withManagers } from "./managers_client.ts";
import { waitUntilDone } from "./progress_line.ts";

/** Time for one request; the managers go on after it. */
const CHANGE_MS = 2_000;
const WAY_MS = 1_000;
/** Brokers ask once a second who the managers are: the old one stays until they know the new. */
const LEARN_MS = 2_500;

const memberMethod: Method<MemberChange & { deadlineMs: number }, MemberState> = {
  name: MEMBER_METHOD,
  request: memberChangeCodec,
  answer: memberStateCodec,
};

const newArgument = { manager: { help: "NEW=HOST:PORT of a manager that was never one before" } };

const addManager = defineCommand({
  name: "add-manager",
  summary: "add a manager",
  details:
    "Start it with an empty data directory and --peers naming the others and itself, before\n" +
    "or after this. It votes as soon as it has caught up. Ctrl-C ends the waiting only.",
  examples: [
    "trilog cluster add-manager m4=127.0.0.1:9004",
    "trilog cluster add-manager m4=127.0.0.1:9004 --json",
  ],
  interruption: "graceful",
  positionals: newArgument,
  flags: { ...bootstrapFlags, ...securityFlags },
  run: ({ flags, args, json, terminal, signal }) =>
    withManagers(flags, async (ask, _, managers) => {
      const seat: Seat = { ask, managers };
      const added = parseNew(args.manager);
      if (!await add(seat, terminal, signal, added, null)) return exitStatus.done;
      return await tell(seat, terminal, json, `${added.name} votes`);
    }),
});

const replaceManager = defineCommand({
  name: "replace-manager",
  summary: "put a new manager in the place of another, dead or alive",
  details: "Start the new one with an empty data directory and --peers naming the others and\n" +
    "itself, before or after this. When it has caught up and votes, the old one is removed;\n" +
    "if it still runs, it ends. Ctrl-C leaves it where it is; the same command again goes\n" +
    "on. The new one must not be a manager already.",
  examples: [
    "trilog cluster replace-manager m1 m4=127.0.0.1:9004",
    "trilog cluster replace-manager m1 m4=127.0.0.1:9004 --json",
  ],
  interruption: "graceful",
  positionals: {
    old: { help: "name of the manager that leaves", completion: "manager" },
    ...newArgument,
  },
  flags: { ...bootstrapFlags, ...securityFlags },
  run: ({ flags, args, json, terminal, signal }) =>
    withManagers(flags, async (ask, _, managers) => {
      const seat: Seat = { ask, managers };
      const added = parseNew(args.manager);
      if (args.old === added.name) throw refused(args.old, "the new one needs a name of its own");
      if (!await add(seat, terminal, signal, added, args.old)) return exitStatus.done;
      if (!await isGone(seat, args.old)) await sleep(systemClock, LEARN_MS);
      if (!await remove(seat, terminal, signal, args.old)) return exitStatus.done;
      return await tell(seat, terminal, json, `${added.name} votes`);
    }),
});

const removeManager = defineCommand({
  name: "remove-manager",
  summary: "remove a manager, such as from five to three",
  details: "The managers that stay must have a majority that is alive. The removed one ends if\n" +
    "it runs. Ctrl-C ends the waiting only.",
  examples: ["trilog cluster remove-manager m5", "trilog cluster remove-manager m5 --json"],
  interruption: "graceful",
  positionals: { manager: { help: "name of the manager that leaves" } },
  flags: { ...bootstrapFlags, ...securityFlags },
  run: ({ flags, args, json, terminal, signal }) =>
    withManagers(flags, async (ask, _, managers) => {
      const seat: Seat = { ask, managers };
      const names = (await managersOf(seat)).map(({ id }) => id);
      if (!names.includes(args.manager)) {
        const state = `the managers are ${names.join(", ")}`;
        const message = `Cannot remove manager ${args.manager}: ${state}`;
        throw new TrilogError("invalid_membership", message);
      }
      if (!await remove(seat, terminal, signal, args.manager)) return exitStatus.done;
      return await tell(seat, terminal, json, `${args.manager} is removed`);
    }),
});

interface Seat {
  readonly ask: Ask;
  readonly managers: Managers;
}

export const managerCommands = [addManager, replaceManager, removeManager];

async function isGone(seat: Seat, name: string): Promise<boolean> {
  return !(await managersOf(seat)).some(({ id }) => id === name);
}

/** Waits until the manager is removed; false where the signal ended that. */
async function remove(
  seat: Seat,
  terminal: Terminal,
  signal: AbortSignal,
  name: string,
): Promise<boolean> {
  return await waitUntilDone(terminal, signal, async () => {
    const done = await isGone(seat, name) || await removeOld(seat, name);
    return { text: `${name} is being removed`, done };
  });
}

async function removeOld(seat: Seat, name: string): Promise<boolean> {
  const removal = { action: "remove", name, address: null, replaces: null } as const;
  try {
    return await change(seat, removal) === "removed";
  } catch (thrown) {
    // A repeat after a lost answer finds nobody of that name.
    if (await isGone(seat, name)) return true;
    throw thrown;
  }
}

/** Waits until the new manager votes; false where the signal ended that. */
async function add(
  seat: Seat,
  terminal: Terminal,
  signal: AbortSignal,
  { name, address }: Member,
  replaces: string | null,
): Promise<boolean> {
  const action = replaces === null ? "add" : "replace";
  return await waitUntilDone(terminal, signal, async () => {
    const state = await change(seat, { action, name, address, replaces });
    return { text: stateText(name, address, state), done: state === "voter" };
  });
}

function stateText(name: string, address: string, state: MemberState | null): string {
  if (state === null) return `${name} waits for a leader to take it in`;
  if (state !== "invited") return `${name} is a ${state}`;
  return `${name} is invited: start it at ${address} with --peers naming the others and itself`;
}

async function change({ ask }: Seat, wanted: MemberChange): Promise<MemberState | null> {
  try {
    const request = { ...wanted, deadlineMs: CHANGE_MS };
    return await ask(memberMethod, request, CHANGE_MS + WAY_MS, CHANGE_MS + WAY_MS);
  } catch (thrown) {
    // Whether it is under way or could not begin yet: it is asked for again.
    if (thrown instanceof TrilogError && thrown.retryable) return null;
    throw thrown;
  }
}

/** The managers of now, whom this client turns to from then on. */
async function managersOf({ ask, managers }: Seat) {
  const request = { topics: [], consistency: "linearizable" } as const;
  const known = (await ask(metadataMethod, request)).managers;
  managers.update(known);
  return known;
}

async function tell(seat: Seat, terminal: Terminal, json: boolean, what: string): Promise<number> {
  const managers = (await managersOf(seat)).map(({ id, address }) => ({ id, address }));
  const list = managers.map(({ id, address }) => `${id}=${address}`).join(",");
  await terminal.print(json ? JSON.stringify({ managers }) : `${what}; managers: ${list}`);
  return exitStatus.done;
}

function refused(old: string, state: string): TrilogError {
  return new TrilogError("invalid_membership", `Cannot replace manager ${old}: ${state}`);
}

function parseNew(text: string): Member {
  const members = readMembers(text);
  if (members?.length === 1) return members[0];
  throw new TrilogError("usage", `Cannot use ${JSON.stringify(text)}: expected one NEW=HOST:PORT`);
}
