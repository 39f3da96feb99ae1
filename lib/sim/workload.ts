/**
 * Customers of a system under sessions: they give commands and look, repeat under the same request
 * id what may be repeated, and write down what they were told. `session_audit.ts` holds that
 * against the log.
 */

import { TrilogError } from "../base/errors.ts";
import type { Prng } from "../base/prng.ts";
import type { Index } from "../raft/types.ts";
import type { StateMachine } from "../replica/state_machine.ts";
import type { CommandWatch } from "./command_watch.ts";
import type { SimProcess } from "./process.ts";
import type { Reach, SimClient } from "./system.ts";
import type { Look, Mutation, Trade } from "./trade.ts";

/** How often one mutation is tried at most. */
const MOST_ATTEMPTS = 6;

/** What the customers of one group share. */
export interface Ledger<Command, Question, Answer> {
  readonly watch: CommandWatch<Command>;
  /** Highest index of whose effect any customer was told. */
  known: Index;
  readonly mutations: Mutation<Command, Answer>[];
  /** In the order of their answers. */
  readonly looks: Look<Question, Answer>[];
}

export class Customer<Command, Question, Answer> implements SimClient {
  private requests = 0;
  private stopping = false;
  private address: string;
  busy = false;

  constructor(
    private readonly process: SimProcess,
    private readonly trade: Trade<Command, Question, Answer, StateMachine>,
    private readonly ledgers: readonly Ledger<Command, Question, Answer>[],
    private readonly reach: Reach,
    private readonly random: Prng,
  ) {
    this.address = random.pick(reach.addresses);
  }

  start(): void {
    if (this.stopping) return;
    this.process.after(this.random.between(1, 40), "customer", () => {
      const group = this.random.below(this.ledgers.length);
      this.busy = true;
      const work = this.random.chance(0.3)
        ? this.look(group, this.trade.drawQuestion(this.random))
        : this.mutate(group, this.newRequestId(), this.trade.drawCommand);
      work.then(() => {
        this.busy = false;
        this.start();
      });
    });
  }

  /** Ends after the operation under way. */
  stop(): void {
    this.stopping = true;
  }

  async prove(group: number): Promise<void> {
    const { proofCommand, proofQuestion } = this.trade;
    while (!await this.mutate(group, this.newRequestId(), proofCommand));
    while (!await this.look(group, proofQuestion));
  }

  /** Asks; true when there was an answer. */
  private async look(group: number, question: Question): Promise<boolean> {
    const ledger = this.ledgers[group];
    const { known: knownBefore, looks: { length: looksBefore } } = ledger;
    const bytes = await this.attempt(group, "query", this.trade.encodeQuestion(question));
    if (bytes instanceof TrilogError) return false;
    const highestAfter = this.reach.highest(group);
    const answer = this.trade.decodeAnswer(bytes);
    ledger.looks.push({ question, answer, knownBefore, looksBefore, highestAfter });
    return true;
  }

  /** Runs one command until it is answered or patience ends; true when it was acknowledged. */
  private async mutate(
    group: number,
    requestId: string,
    draw: (random: Prng, requestId: string) => Command,
  ): Promise<boolean> {
    const ledger = this.ledgers[group];
    const command = draw(this.random, requestId);
    const mutation: Mutation<Command, Answer> = {
      requestId,
      command,
      knownBefore: ledger.known,
      outcome: "under way",
      answer: null,
    };
    ledger.mutations.push(mutation);
    const bytes = this.trade.encodeCommand(command);
    let mayHaveHappened = false;
    for (let left = this.random.between(1, MOST_ATTEMPTS); left > 0; left -= 1) {
      const reply = await this.attempt(group, "command", bytes);
      if (!(reply instanceof TrilogError)) {
        mutation.answer = this.trade.decodeAnswer(reply);
        mutation.outcome = "acknowledged";
        ledger.known = Math.max(ledger.known, ledger.watch.indexOf(requestId) ?? 0);
        return true;
      }
      mayHaveHappened ||= reply.outcomeUnknown;
    }
    mutation.outcome = mayHaveHappened ? "unknown" : "refused";
    return false;
  }

  /** A request id that nobody else uses. */
  private newRequestId(): string {
    this.requests += 1;
    return `${this.process.name}-${this.requests}`;
  }

  /** One call; a failure that a user may meet is returned, and the next call goes elsewhere. */
  private async attempt(
    group: number,
    method: "command" | "query",
    bytes: Uint8Array,
  ): Promise<Uint8Array | TrilogError> {
    try {
      return await this.reach.call(this.process, this.address, group, method, bytes) as Uint8Array;
    } catch (error) {
      if (!(error instanceof TrilogError)) throw error;
      // Who knows the leader says so; otherwise any node may be asked.
      this.address = error.leader ?? this.random.pick(this.reach.addresses);
      return error;
    }
  }
}
