/**
 * PURE. Why partitions cannot be used at the moment: what their brokers answered last. Kept until
 * a request to the partition succeeds, so that errors and progress lines name the cause.
 */

import { TrilogError } from "../base/errors.ts";
import { Failures } from "../base/failures.ts";

interface Trouble {
  /** `TOPIC/PARTITION`, for people. */
  readonly label: string;
  readonly failures: Failures;
}

export class Troubles {
  private readonly byGroup = new Map<string, Trouble>();

  /** A request to a broker of a partition failed; gives the same error with the whole reason. */
  note(
    groupId: string,
    label: string,
    broker: { readonly address: string; readonly name: string | undefined },
    error: TrilogError,
  ): TrilogError {
    if (!error.retryable || error.code === "cancelled") return error;
    const trouble = this.byGroup.get(groupId) ?? { label, failures: new Failures() };
    this.byGroup.set(groupId, trouble);
    trouble.failures.note(broker.address, broker.name, error);
    return new TrilogError(error.code, `Cannot use ${label}: ${stateOf(trouble)}`, {
      retryable: error.retryable,
      leader: error.leader,
      answered: error.answered,
      cause: error,
    });
  }

  succeeded(groupId: string): void {
    this.byGroup.delete(groupId);
  }

  /** The cause for which some partition cannot be used just now; null where there is none. */
  get current(): string | null {
    for (const trouble of this.byGroup.values()) return stateOf(trouble);
    return null;
  }
}

function stateOf({ label, failures }: Trouble): string {
  const { answer, silent, silentCount, reason } = failures;
  const verb = silentCount === 1 ? "does" : "do";
  if (answer === null) return `no broker of ${label} answers: ${silent} (${reason})`;
  return silent === null || answer.includes(NO_MAJORITY)
    ? answer
    : `${answer}; ${silent} ${verb} not answer`;
}

/** Part of a broker's answer that names the missing brokers by itself. */
const NO_MAJORITY = "has no majority";
