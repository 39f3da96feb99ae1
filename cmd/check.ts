/** `trilog check`: is a recorded history linearizable? */

import { systemClock } from "../lib/base/system_clock.ts";
import { TrilogError } from "../lib/base/errors.ts";
import { explain } from "../lib/check/explain.ts";
import { type History, type Operation, readHistory } from "../lib/check/history.ts";
import {
  checkInTurns,
  type CheckOptions,
  type CheckReport,
  type Verdict,
} from "../lib/check/linearizability.ts";
import { MODEL_NAMES, type ModelName } from "../lib/check/models/models.ts";
import { pictureOf } from "../lib/check/picture.ts";
import { defineCommand } from "../lib/cli/command.ts";
import { exitStatus } from "../lib/cli/program.ts";
import { printError } from "../lib/cli/terminal.ts";
import { counted, roundedDuration, roundedSize } from "../lib/cli/units.ts";

const STATUS: Readonly<Record<Verdict, number>> = {
  linearizable: exitStatus.done,
  not_linearizable: exitStatus.failed,
  unknown: exitStatus.noAnswer,
};

export const command = defineCommand({
  name: "check",
  summary: "say whether a recorded history is linearizable",
  details: [
    'Reads JSON lines, {"process","type":"invoke|ok|fail|info","f","key","value","time"},',
    "as --record of kv, atm, bench kv and bench atm writes them, Jepsen's log lines and",
    "Jepsen's maps; the order of the lines is the order of time.",
    "",
    "register: read, write, cas [old, new]",
    "kv:       get, put (or set), append, delete, cas [old, new]",
    "queue:    append MESSAGE answers its offset, read OFFSET, end",
    "bank:     deposit, withdraw, balance (the key is the account),",
    "          transfer {from, to, amount}, accounts",
    "",
    "Exits with 0 if it is linearizable, 1 if not, 3 if the budget ended before that was",
    "known, and 2 if the history cannot be read.",
  ].join("\n"),
  examples: [
    "trilog check history.jsonl --model kv",
    "trilog check etcd_001.log --model register --html picture.html",
  ],
  positionals: { history: { help: "file that the history is in", completion: "file" } },
  flags: {
    model: { type: "choice", choices: MODEL_NAMES, required: true, help: "what the object is" },
    html: { type: "path", placeholder: "FILE", help: "write a picture of the history there" },
    budget: { type: "duration", default: "1m", help: "how long it may take" },
    memory: { type: "size", default: "512MiB", help: "how much the search may remember" },
  },
  async run({ args, flags, json, terminal }) {
    const startMs = systemClock.monotonicMs();
    const elapsedMs = () => systemClock.monotonicMs() - startMs;
    const history = await unreadableIsUsage(() => readHistory(readText(args.history)));
    const report = await unreadableIsUsage(() =>
      checkWithPauses(history.operations, flags.model, {
        memoryBytes: flags.memory,
        isOutOfTime: () => elapsedMs() > flags.budget,
      })
    );
    if (flags.html !== undefined) writeText(flags.html, pictureOf(report));
    if (json) await terminal.print(JSON.stringify(reportObject(history, report, elapsedMs())));
    else {
      for (const line of explain(report)) await terminal.print(line);
      await terminal.flush();
      printError(
        terminal,
        `${counted(report.configurations, "configuration")} in ` +
          `${roundedDuration(elapsedMs())} and ${roundedSize(report.peakMemoryBytes)}`,
      );
    }
    return STATUS[report.verdict];
  },
});

function reportObject({ form }: History, report: CheckReport, elapsedMs: number) {
  const { verdict, model, operations, parts, violation, exhausted, configurations } = report;
  return {
    verdict,
    model,
    form,
    operations,
    objects: parts.length,
    configurations,
    elapsedMs: Math.round(elapsedMs),
    ...(exhausted === null ? {} : { exhausted }),
    ...(violation === null ? {} : {
      key: violation.part.name,
      isSmallest: violation.isSmallest,
      window: violation.window.map(operationObject),
      longestOrder: violation.part.order.map(({ number }) => number),
    }),
  };
}

function operationObject(operation: Operation) {
  const { number, process, f, key, input, outcome, output, error } = operation;
  const { calledAt, returnedAt, calledMs, returnedMs } = operation;
  const times = { calledAt, returnedAt, calledMs, returnedMs };
  return { number, process, f, key, input, outcome, output, error, ...times };
}

/** Lets signals in after each turn, so that Ctrl-C ends a long search. */
async function checkWithPauses(
  operations: readonly Operation[],
  model: ModelName,
  options: CheckOptions,
): Promise<CheckReport> {
  const turns = checkInTurns(operations, model, options);
  for (;;) {
    const { done, value } = turns.next();
    if (done) return value;
    await new Promise<void>((resolve) => systemClock.nextTurn(resolve));
  }
}

/** The status of what is not linearizable must not be that of a history that cannot be read. */
async function unreadableIsUsage<T>(run: () => T | Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (thrown) {
    if (!(thrown instanceof TrilogError) || thrown.code !== "malformed") throw thrown;
    throw new TrilogError("usage", thrown.message, { cause: thrown });
  }
}

function readText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (thrown) {
    throw fileError("read", path, thrown);
  }
}

function writeText(path: string, text: string): void {
  try {
    Deno.writeTextFileSync(path, text);
  } catch (thrown) {
    throw fileError("write", path, thrown);
  }
}

function fileError(act: string, path: string, thrown: unknown): TrilogError {
  const state = thrown instanceof Deno.errors.NotFound
    ? "there is no such file"
    : thrown instanceof Error
    ? thrown.message
    : String(thrown);
  return new TrilogError("usage", `Cannot ${act} ${path}: ${state}`, { cause: thrown });
}
