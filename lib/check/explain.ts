/** PURE. A report in words. */

import type { Operation } from "./history.ts";
import type { CheckReport, PartReport, Violation } from "./linearizability.ts";
import { describeOperation } from "./models/model.ts";

/** Operations, or objects, that are listed one by one. */
const MAX_ROWS = 40;

/** Lines for people: the verdict first, then why. */
export function explain(report: CheckReport): string[] {
  const { verdict, violation, operations, parts } = report;
  if (violation !== null) return explainViolation(violation);
  const counted = `${count(operations, "operation")} on ${count(parts.length, "object")}`;
  if (verdict === "linearizable") return [`linearizable: ${counted}`];
  const undecided = parts.filter((part) => part.verdict === "unknown");
  return [
    `unknown: the ${report.exhausted} budget ran out before ${
      undecided.length === 1 ? "one object was" : `${undecided.length} objects were`
    } decided (${counted})`,
    ...undecided.slice(0, MAX_ROWS).map((part) => `  ${progressOf(part)}`),
    ...(undecided.length > MAX_ROWS ? [`  and ${undecided.length - MAX_ROWS} more`] : []),
  ];
}

/** The sentence that stands over the operations of a window. */
export function windowSentence({ window, part, isSmallest }: Violation): string {
  const [subject, verb] = window.length === 1
    ? ["This operation", "cannot be given a place in any order"]
    : [`These ${window.length} operations`, "cannot be ordered"];
  const doubt = isSmallest ? "" : " (the budget ended before the smallest were found)";
  return part.operations.length === window.length
    ? `${subject} ${verb}${doubt}:`
    : `${subject} ${verb}, whatever the others did and in whatever order they came${doubt}:`;
}

/** When an operation was under way: in times where they are known, else in events. */
export function spanOf({ calledAt, returnedAt, calledMs, returnedMs }: Operation): string {
  if (calledMs !== null) {
    const end = returnedAt === null ? "?" : returnedMs === null ? "?" : milliseconds(returnedMs);
    return `${milliseconds(calledMs)}..${end} ms`;
  }
  return `events ${calledAt + 1}..${returnedAt === null ? "?" : returnedAt + 1}`;
}

/** The part's name for people: nothing where there is only one object. */
export function nameOf({ name }: PartReport): string {
  return name === "" ? "" : `key ${JSON.stringify(name)}`;
}

function explainViolation(violation: Violation): string[] {
  const { part, blocked, window } = violation;
  const name = nameOf(part);
  const rows = window.slice(0, MAX_ROWS).map((operation) => [
    `process ${operation.process}`,
    describeOperation(operation),
    spanOf(operation),
  ]);
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column].length)));
  return [
    `not linearizable${name === "" ? "" : `: ${name}`}`,
    windowSentence(violation),
    ...rows.map(([process, what, span]) =>
      `  ${process.padEnd(widths[0])}  ${what.padEnd(widths[1])}  ${span}`
    ),
    ...(window.length > MAX_ROWS ? [`  and ${window.length - MAX_ROWS} more`] : []),
    `The longest order: ${progressOf(part)}.`,
    `No order gets past the answer to: process ${blocked.process}, ${describeOperation(blocked)}.`,
  ];
}

function progressOf(part: PartReport): string {
  const name = nameOf(part);
  const ordered = `${part.order.length} of ${count(part.operations.length, "operation")}`;
  return `${name === "" ? "" : `${name}, `}${ordered}, leading to ${part.stateAfter}`;
}

function count(number: number, thing: string): string {
  return number === 1 ? `1 ${thing}` : `${number} ${thing}s`;
}

function milliseconds(timeMs: number): string {
  return String(Number(timeMs.toFixed(3)));
}
