/**
 * What customers of a system under sessions were told, held against the log: an acknowledged
 * command stands there after whatever its customer knew when it began, with the answer that the
 * books give; what was refused stands nowhere; every read was true at some moment between its
 * question and its answer, and no earlier than a read that had been answered before it began.
 */

import type { Index } from "../raft/types.ts";
import { BrokenInvariant } from "./oracle.ts";
import type { Books, Look, Trade } from "./trade.ts";
import type { StateMachine } from "../replica/state_machine.ts";
import type { Ledger } from "./workload.ts";

/** Checks everything that customers of one group were told; throws {@link BrokenInvariant}. */
export function auditLedger<Command, Question, Answer>(
  group: string,
  trade: Trade<Command, Question, Answer, StateMachine>,
  { watch, mutations, looks }: Ledger<Command, Question, Answer>,
): void {
  const demand = (holds: boolean, message: string) => {
    if (!holds) throw new BrokenInvariant(`group ${group}: ${message}`);
  };
  const books = trade.newBooks();
  for (const noted of watch.inOrder()) {
    const requestId = trade.requestIdOf(noted.command);
    books.enter(noted, requestId !== null && watch.indexOf(requestId) === noted.index);
  }
  for (const { requestId, command, outcome, answer, knownBefore } of mutations) {
    const index = watch.indexOf(requestId);
    if (outcome === "refused") {
      demand(index === null, `${requestId} was certainly not done, yet stands at ${index}`);
    }
    if (outcome !== "acknowledged" || answer === null) continue;
    demand(index !== null, `durability: ${requestId} was acknowledged and is nowhere`);
    demand(
      index as Index > knownBefore,
      `linearizability: ${requestId} stands at ${index}, but began after ${knownBefore}`,
    );
    const fault = books.wrongAnswer(index as Index, command, answer);
    demand(fault === null, `${requestId} at ${index}: ${fault}`);
  }
  /** Of the first n looks, the latest moment that one of them must have seen. */
  const seen = [0];
  for (const look of looks) {
    const from = Math.max(look.knownBefore, seen[look.looksBefore]);
    const moment = earliestMoment(books, look, from);
    demand(moment !== null, `a read is stale: ${textOf(look, from)}`);
    seen.push(Math.max(seen[seen.length - 1], moment as Index));
  }
}

/** The first index from `from` on after which a read's answer is true; null: it came too early. */
function earliestMoment<Command, Question, Answer>(
  books: Books<Command, Question, Answer>,
  { question, answer, highestAfter }: Look<Question, Answer>,
  from: Index,
): Index | null {
  const { pages } = books;
  let page = pages.length - 1;
  while (pages[page] > from) page -= 1;
  for (; page < pages.length && pages[page] <= Math.max(from, highestAfter); page += 1) {
    if (books.isTrue(page, question, answer)) return Math.max(from, pages[page]);
  }
  return null;
}

function textOf<Question, Answer>(look: Look<Question, Answer>, from: Index): string {
  return `${JSON.stringify(look.question)} between ${from} and ${look.highestAfter}: ` +
    JSON.stringify(look.answer);
}
