/**
 * PURE. A report as a page of HTML that needs nothing else: for each object a picture of its
 * history, one lane a client, one bar an operation from its invocation to its answer, the window
 * that cannot be ordered in red, and the longest order that was found as numbered points joined by
 * a line. Distances show the order of the events, not their times.
 */

import { explain, nameOf, spanOf, windowSentence } from "./explain.ts";
import type { Operation } from "./history.ts";
import type { CheckReport, PartReport, Violation } from "./linearizability.ts";
import { describeOperation } from "./models/model.ts";

/** Operations in one picture; of a longer history, those around the window are shown. */
const MAX_OPERATIONS = 400;
/** Pictures on one page. */
const MAX_PARTS = 20;

const EVENT_WIDTH = 72;
const LANE_HEIGHT = 44;
const BAR_HEIGHT = 26;
const MARGIN = { left: 110, top: 12, right: 30, bottom: 12 } as const;

const STYLE = `
body { font: 14px/1.5 system-ui, sans-serif; margin: 24px; color: #1b1f24; background: #fff; }
h1 { font-size: 20px; } h2 { font-size: 16px; margin-top: 28px; }
table { border-collapse: collapse; } td, th { padding: 2px 16px 2px 0; text-align: left; }
td { font-family: ui-monospace, monospace; }
.scroll { overflow-x: auto; border: 1px solid #d0d7de; }
svg { display: block; font: 11px ui-monospace, monospace; }
.lane { stroke: #e6e9ed; } .name { font-size: 12px; }
.bar { fill: #dcebfa; stroke: #4a7fb5; }
.failed .bar { fill: #eceff2; stroke: #8a939c; }
.unknown .bar { fill: #fdf3d8; stroke: #b58a1e; stroke-dasharray: 5 3; }
.window .bar { fill: #ffd6d6; stroke: #c4161c; stroke-width: 2.5; }
.span { fill: #c4161c; fill-opacity: 0.07; }
.order { fill: none; stroke: #2b2f36; stroke-opacity: 0.45; }
.point { fill: #2b2f36; } .place { fill: #fff; font-size: 9px; text-anchor: middle; }
`;

/** The page. */
export function pictureOf(report: CheckReport): string {
  const { violation, verdict } = report;
  const parts = partsToShow(report);
  const left = report.parts.length - parts.length;
  const title = `${verdict.replace("_", " ")} (${report.model})`;
  return [
    `<!DOCTYPE html>`,
    `<html lang="en"><head><meta charset="utf-8"/><title>${escaped(title)}</title>`,
    `<style>${STYLE}</style></head><body>`,
    `<h1>${escaped(title)}</h1>`,
    violation === null ? explanation(report) : windowTable(violation),
    LEGEND,
    ...parts.map((part) => partPicture(part, part === violation?.part ? violation : null)),
    left > 0 ? `<p>Objects that are not shown: ${left}.</p>` : "",
    `</body></html>`,
    "",
  ].join("\n");
}

const LEGEND =
  "<p>A lane is a client, a bar an operation from its invocation to its answer; dashed: " +
  "the outcome is unknown. The numbered points are the longest order that was found. Red: the " +
  "operations that cannot be ordered.</p>";

/** The wrong object alone; else those that are undecided before the others. */
function partsToShow({ violation, parts }: CheckReport): PartReport[] {
  if (violation !== null) return [violation.part];
  const isUndecided = ({ verdict }: PartReport) => verdict === "unknown";
  return [...parts.filter(isUndecided), ...parts.filter((part) => !isUndecided(part))]
    .slice(0, MAX_PARTS);
}

function explanation(report: CheckReport): string {
  return explain(report).map((line) => `<p>${escaped(line)}</p>`).join("\n");
}

function windowTable(violation: Violation): string {
  const rows = violation.window.map((operation) => {
    const link = `<a href="#operation-${operation.number}">${escaped(spanOf(operation))}</a>`;
    const cells = [escaped(operation.process), escaped(describeOperation(operation)), link];
    return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
  });
  return [
    `<p>${escaped(windowSentence(violation))}</p>`,
    `<table><tr><th>process</th><th>operation</th><th>under way</th></tr>`,
    ...rows,
    `</table>`,
  ].join("\n");
}

function partPicture(part: PartReport, violation: Violation | null): string {
  const shown = operationsToShow(part, violation);
  const { order, operations, stateAfter } = part;
  const hidden = operations.length - shown.length;
  const caption = `${order.length} of ${operations.length} operations in order, leading to ` +
    stateAfter + (hidden > 0 ? `; operations that are not shown: ${hidden}` : "");
  return [
    `<h2>${escaped(nameOf(part) || "the history")}</h2>`,
    `<p>${escaped(caption)}</p>`,
    `<div class="scroll">`,
    new Drawing(shown, order, violation?.window ?? []).svg(),
    `</div>`,
  ].join("\n");
}

/** All, or as many as fit a picture: those that end with the window, or the first. */
function operationsToShow(
  { operations }: PartReport,
  violation: Violation | null,
): readonly Operation[] {
  if (operations.length <= MAX_OPERATIONS) return operations;
  const last = violation === null
    ? 0
    : operations.findIndex((operation) => operation === violation.blocked);
  const end = Math.min(operations.length, Math.max(MAX_OPERATIONS, last + MAX_OPERATIONS / 8));
  const around = operations.slice(end - MAX_OPERATIONS, end);
  const earlier = violation?.window.filter((operation) => !around.includes(operation)) ?? [];
  return [...earlier, ...around];
}

class Drawing {
  /** Columns by position among all events: those of the operations that are shown. */
  private readonly columns: ReadonlyMap<number, number>;
  private readonly lanes: ReadonlyMap<string, number>;
  private readonly window: ReadonlySet<Operation>;
  /** The key is the same everywhere, and stands over the picture. */
  private readonly isOneObject: boolean;

  constructor(
    private readonly operations: readonly Operation[],
    private readonly order: readonly Operation[],
    window: readonly Operation[],
  ) {
    const events = operations.flatMap(({ calledAt, returnedAt }) =>
      returnedAt === null ? [calledAt] : [calledAt, returnedAt]
    ).sort((left, right) => left - right);
    this.columns = new Map(events.map((event, column) => [event, column]));
    const processes = [...new Set(operations.map(({ process }) => process))].sort(byName);
    this.lanes = new Map(processes.map((process, lane) => [process, lane]));
    this.window = new Set(window);
    this.isOneObject = operations.every(({ key }) => key === operations[0].key);
  }

  svg(): string {
    const width = this.x(this.columns.size) + MARGIN.right;
    const height = MARGIN.top + this.lanes.size * LANE_HEIGHT + MARGIN.bottom;
    return [
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
      `viewBox="0 0 ${width} ${height}">`,
      this.windowSpan(height),
      ...[...this.lanes.keys()].map((process) => this.lane(process, width)),
      ...this.operations.map((operation) => this.bar(operation)),
      this.points(),
      `</svg>`,
    ].join("\n");
  }

  /** The time of the window, over all lanes. */
  private windowSpan(height: number): string {
    if (this.window.size === 0) return "";
    const window = [...this.window];
    const left = Math.min(...window.map((operation) => this.left(operation)));
    const right = Math.max(...window.map((operation) => this.right(operation)));
    return `<rect class="span" x="${left}" y="0" width="${right - left}" height="${height}"/>`;
  }

  private lane(process: string, width: number): string {
    const y = this.middle(process);
    return `<line class="lane" x1="${MARGIN.left}" x2="${width}" y1="${y}" y2="${y}"/>` +
      `<text class="name" x="8" y="${y + 4}">${escaped(process.slice(0, 14))}</text>`;
  }

  private bar(operation: Operation): string {
    const { outcome, process, number } = operation;
    const kind = outcome === "ok" ? "done" : outcome === "fail" ? "failed" : "unknown";
    const classes = this.window.has(operation) ? `${kind} window` : kind;
    const left = this.left(operation);
    const width = this.right(operation) - left;
    const top = this.middle(process) - BAR_HEIGHT / 2;
    const text = describeOperation(operation);
    const label = this.isOneObject ? describeOperation(operation, false) : text;
    return [
      `<g class="operation ${classes}" id="operation-${number}">`,
      `<title>${escaped(`process ${process}: ${text} (${spanOf(operation)})`)}</title>`,
      `<rect class="bar" x="${left}" y="${top}" width="${width}" height="${BAR_HEIGHT}" rx="3"/>`,
      // A picture within the picture cuts off what does not fit into the bar.
      `<svg x="${left}" y="${top}" width="${width}" height="${BAR_HEIGHT}">`,
      `<text x="5" y="11">${escaped(label)}</text></svg>`,
      `</g>`,
    ].join("");
  }

  /** Each operation of the order takes effect at a point within its bar, from left to right. */
  private points(): string {
    const shown = this.order.filter(({ calledAt }) => this.columns.has(calledAt));
    const columns: number[] = [];
    for (const { calledAt } of shown) {
      columns.push(Math.max(columns.at(-1) ?? 0, this.columns.get(calledAt)!));
    }
    const inColumn = Map.groupBy(columns.keys(), (at) => columns[at]);
    const places = new Map(this.order.map((operation, at) => [operation, at + 1]));
    const points = shown.map((operation, at) => {
      const together = inColumn.get(columns[at])!;
      const part = (together.indexOf(at) + 1) / (together.length + 1);
      const x = Math.round(this.x(columns[at] + part) * 10) / 10;
      return { x, y: this.middle(operation.process) + 6, place: places.get(operation)! };
    });
    return [
      `<polyline class="order" points="${points.map(({ x, y }) => `${x},${y}`).join(" ")}"/>`,
      ...points.map(({ x, y, place }) =>
        `<circle class="point" cx="${x}" cy="${y}" r="6.5"/>` +
        `<text class="place" x="${x}" y="${y + 3}">${place}</text>`
      ),
    ].join("\n");
  }

  private x(column: number): number {
    return MARGIN.left + column * EVENT_WIDTH;
  }

  private left({ calledAt }: Operation): number {
    return this.x(this.columns.get(calledAt)!) + 2;
  }

  /** An unknown outcome may come at any later time. */
  private right({ returnedAt }: Operation): number {
    const column = returnedAt === null ? this.columns.size : this.columns.get(returnedAt)!;
    return this.x(column) - 2;
  }

  private middle(process: string): number {
    return MARGIN.top + (this.lanes.get(process)! + 0.5) * LANE_HEIGHT;
  }
}

/** Numbers by size, names by letters. */
function byName(left: string, right: string): number {
  const difference = Number(left) - Number(right);
  if (!Number.isNaN(difference)) return difference;
  return left < right ? -1 : left > right ? 1 : 0;
}

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
};

/** Text for HTML; control characters, which it may not hold, are shown as U+FFFD. */
function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (letter) => ESCAPES[letter])
    // deno-lint-ignore no-control-regex
    .replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g, "\ufffd");
}
