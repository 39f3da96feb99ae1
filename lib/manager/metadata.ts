/**
 * MACHINE. The managers' state machine. Its commands stand in the files named for their subjects;
 * this file dispatches them and keeps the state in snapshots.
 *
 * Snapshot: one byte format version, then a MessagePack list of sections `[name, version, data]`.
 * A subject added later brings commands and a section of its own: a snapshot without that section
 * restores as "none of these yet", one with a section or a version that is not known here was made
 * by a newer trilog and is refused.
 */

import { toTrilogError, TrilogError } from "../base/errors.ts";
import { concatBytes } from "../base/bytes.ts";
import { limits } from "../base/limits.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";
import type { ApplyContext, StateMachine } from "../replica/state_machine.ts";
import { declare, initialise, registerBroker } from "./brokers.ts";
import { type AnyCommand, encodeRefusal, encodeSuccess } from "./command.ts";
import { joinMembers, leaveMembers, releaseMany } from "./group_batches.ts";
import {
  expelMembers,
  GENERATIONS,
  joinGroup,
  leaveGroup,
  releasePartitions,
  reserveGeneration,
  settleGroups,
} from "./groups.ts";
import { deleteGroup, expireGroups } from "./group_removal.ts";
import { drain, removeBroker } from "./drains.ts";
import { leap } from "./leaps.ts";
import { place, rearrange } from "./moves.ts";
import { recover } from "./recoveries.ts";
import { report } from "./reports.ts";
import { forget, register, retireConsumer } from "./registrations.ts";
import { rememberAnswer, repeatedAnswer, requireRoom } from "./requests.ts";
import { type Section, sections } from "./sections.ts";
import { keepSilences } from "./silences.ts";
import { MetadataState, type MetadataView } from "./state.ts";
import { alterTopic, createTopic, deleteTopic } from "./topics.ts";

const FORMAT_VERSION = 1;

const commandList: readonly AnyCommand[] = [
  initialise,
  registerBroker,
  declare,
  keepSilences,
  createTopic,
  alterTopic,
  deleteTopic,
  place,
  report,
  register,
  retireConsumer,
  forget,
  joinGroup,
  joinMembers,
  leaveGroup,
  leaveMembers,
  expelMembers,
  releasePartitions,
  releaseMany,
  settleGroups,
  reserveGeneration,
  deleteGroup,
  expireGroups,
  drain,
  removeBroker,
  rearrange,
  recover,
  leap,
];
const commands = new Map(commandList.map((command) => [command.name, command]));

export class MetadataMachine implements StateMachine {
  private current = new MetadataState();
  private readonly placementListeners: (() => void)[] = [];
  private readonly groupListeners: (() => void)[] = [];

  /** The present state; replaced as a whole by `restore`, so do not keep it. */
  get state(): MetadataView {
    return this.current;
  }

  /** Calls `listener` whenever there is a new placement version. */
  onPlacement(listener: () => void): void {
    this.placementListeners.push(listener);
  }

  /** Calls `listener` whenever a consumer group has changed. */
  onGroups(listener: () => void): void {
    this.groupListeners.push(listener);
  }

  apply(command: Uint8Array, context: ApplyContext): Uint8Array {
    const { placementVersion } = this.current;
    const generation = this.current.counters.get(GENERATIONS);
    try {
      const answer = this.run(command, context);
      if (this.current.placementVersion !== placementVersion) notify(this.placementListeners);
      if (this.current.counters.get(GENERATIONS) !== generation) notify(this.groupListeners);
      return answer;
    } catch (thrown) {
      if (thrown instanceof TrilogError) return encodeRefusal(thrown);
      throw thrown;
    }
  }

  /** The data of the section named by `question` (MessagePack text), answered as by `apply`. */
  query(question: Uint8Array): Uint8Array {
    try {
      const wanted = unpack(question);
      const section = sections.find((section) => section.name === wanted);
      if (section === undefined) throw malformed("there is no such section");
      return encodeSuccess(section.save(this.current));
    } catch (thrown) {
      return encodeRefusal(toTrilogError(thrown));
    }
  }

  snapshot(): Uint8Array {
    const saved = sections.map(({ name, version, save }) => [name, version, save(this.current)]);
    return concatBytes([new Uint8Array([FORMAT_VERSION]), pack(saved)]);
  }

  restore(snapshot: Uint8Array): void {
    if (snapshot[0] !== FORMAT_VERSION) throw newer(`format version ${snapshot[0]}`);
    const saved = unpack(snapshot.subarray(1));
    if (!Array.isArray(saved)) throw malformed("not a list of sections");
    const state = new MetadataState();
    for (const part of saved as Packable[]) {
      if (!Array.isArray(part) || part.length !== 3) throw malformed("not a section");
      const [name, version, data] = part as [Packable, Packable, Packable];
      const section = sections.find((section) => section.name === name);
      if (section === undefined || !speaks(section, version)) {
        throw newer(`section ${name} version ${version}`);
      }
      section.load(state, data, version);
    }
    this.current = state;
    notify(this.placementListeners);
    notify(this.groupListeners);
  }

  private run(bytes: Uint8Array, context: ApplyContext): Uint8Array {
    const parts = unpack(bytes);
    if (!Array.isArray(parts) || parts.length !== 3) throw malformed("not a command");
    const [requestId, name, packedFields] = parts as [Packable, Packable, Packable];
    if (typeof requestId !== "string" || requestId.length > limits.nameCharacters) {
      throw malformed("its request id is not a short text");
    }
    const command = typeof name === "string" ? commands.get(name) : undefined;
    if (command === undefined) throw malformed("there is no such command");
    const repeated = repeatedAnswer(this.current, requestId, command.name);
    if (repeated !== null) return repeated;
    const { timeMs } = context;
    if (requestId !== "") requireRoom(this.current, timeMs);
    const fields = command.fields.decode(packedFields, command.name);
    const answer = encodeSuccess(
      command.answer.encode(command.apply(this.current, fields, context)),
    );
    if (requestId !== "") {
      rememberAnswer(this.current, requestId, { command: command.name, answer, timeMs });
    }
    return answer;
  }
}

function speaks(
  { version: newest, oldestVersion = newest }: Section,
  version: Packable,
): version is number {
  return typeof version === "number" && version >= oldestVersion && version <= newest;
}

function notify(listeners: readonly (() => void)[]): void {
  for (const listener of listeners) listener();
}

function malformed(state: string): TrilogError {
  return new TrilogError("malformed", `Cannot apply metadata: ${state}`);
}

function newer(what: string): TrilogError {
  return new TrilogError(
    "unsupported_version",
    `Cannot restore metadata: ${what} is not known here`,
  );
}
