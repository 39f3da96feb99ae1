/** What customers of a system under sessions say, and the books that judge the answers. */

import type { Prng } from "../base/prng.ts";
import type { Index } from "../raft/types.ts";
import type { GroupService } from "../replica/group_service.ts";
import type { StateMachine } from "../replica/state_machine.ts";
import type { Noted } from "./command_watch.ts";
import type { Seat } from "./system.ts";

export interface Trade<Command, Question, Answer, Machine extends StateMachine> {
  newMachine(): Machine;
  newBooks(): Books<Command, Question, Answer>;
  /** What a node does by itself beside answering. */
  background(machine: Machine, seat: Seat, service: GroupService): void;
  encodeCommand(command: Command): Uint8Array;
  decodeCommand(bytes: Uint8Array): Command | null;
  /** Null for a command that no customer gave. */
  requestIdOf(command: Command): string | null;
  encodeQuestion(question: Question): Uint8Array;
  decodeAnswer(bytes: Uint8Array): Answer;
  drawCommand(random: Prng, requestId: string): Command;
  drawQuestion(random: Prng): Question;
  /** A command and a question that a healed group must answer. */
  proofCommand(random: Prng, requestId: string): Command;
  readonly proofQuestion: Question;
}

/** What must follow from the commands of one group's log, by the simplest possible rules. */
export interface Books<Command, Question, Answer> {
  /** Takes the next command of the log; `first`: its request id is new. */
  enter(noted: Noted<Command>, first: boolean): void;
  /** Indexes after which something may be otherwise than before, from 0, ascending. */
  readonly pages: readonly Index[];
  /** What an answer says that the books do not, or null. `index`: of the request's first command. */
  wrongAnswer(index: Index, command: Command, answer: Answer): string | null;
  /** Whether an answer is true on the page of this number. */
  isTrue(page: number, question: Question, answer: Answer): boolean;
}

/** A mutation and what became of it. */
export interface Mutation<Command, Answer> {
  readonly requestId: string;
  readonly command: Command;
  /** Highest index in the group of whose effect any customer knew when it began. */
  readonly knownBefore: Index;
  /** Acknowledged with an answer; refused: certainly not done; or nobody can tell. */
  outcome: "acknowledged" | "refused" | "unknown" | "under way";
  answer: Answer | null;
}

/** A linearizable read and its answer. */
export interface Look<Question, Answer> {
  readonly question: Question;
  readonly answer: Answer;
  readonly knownBefore: Index;
  /** How many looks at the group had been answered when this one began. */
  readonly looksBefore: number;
  /** Highest index applied anywhere when the answer arrived. */
  readonly highestAfter: Index;
}
