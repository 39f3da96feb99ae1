/** Is a partition's log what its producers were told? Nothing lost, nothing twice, in order. */

/** A message as a consumer sees it. */
export interface Message {
  readonly offset: number;
  readonly value: string;
}

export interface Books {
  /** What each producer has sent, in its order; whether or not it heard back. */
  readonly sent: ReadonlyMap<string, readonly string[]>;
  /** Acknowledged messages with their offsets. */
  readonly acknowledged: ReadonlyMap<string, number>;
}

/** Every way in which the whole log contradicts the books, as sentences; none: all is well. */
export function auditLog(log: readonly Message[], { sent, acknowledged }: Books): string[] {
  return [
    ...gaps(log),
    ...doubles(log),
    ...losses(log, acknowledged),
    ...strangers(log, sent),
    ...swaps(log, sent),
  ];
}

function gaps(log: readonly Message[]): string[] {
  const at = log.findIndex(({ offset }, place) => offset !== place);
  return at < 0 ? [] : [`offset ${at} is missing: ${log[at].offset} stands there`];
}

function doubles(log: readonly Message[]): string[] {
  const seen = new Set<string>();
  return log.filter(({ value }) => seen.size === seen.add(value).size)
    .map(({ value, offset }) => `${value} is there twice, again at ${offset}`);
}

function losses(log: readonly Message[], acknowledged: ReadonlyMap<string, number>): string[] {
  const at = new Map(log.map(({ offset, value }) => [offset, value]));
  return [...acknowledged].filter(([value, offset]) => at.get(offset) !== value)
    .map(([value, offset]) =>
      `${value} was acknowledged at ${offset}, where ${at.get(offset) ?? "nothing"} is`
    );
}

function strangers(
  log: readonly Message[],
  sent: ReadonlyMap<string, readonly string[]>,
): string[] {
  const known = new Set([...sent.values()].flat());
  return log.filter(({ value }) => !known.has(value)).map(({ value }) => `nobody sent ${value}`);
}

function swaps(log: readonly Message[], sent: ReadonlyMap<string, readonly string[]>): string[] {
  const offsets = new Map(log.map(({ offset, value }) => [value, offset]));
  return [...sent.values()].flatMap((values) => {
    const there = values.filter((value) => offsets.has(value));
    return there.slice(1).filter((value, at) => offsets.get(value)! < offsets.get(there[at])!)
      .map((value) => `${value} overtook a message of its producer before it`);
  });
}
