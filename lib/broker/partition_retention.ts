/**
 * What of a partition's log may go: whole segments from the front, by size and by age. Pure
 * functions that return a plan; the leader proposes the `trim` that follows from it.
 *
 * A segment is as old as its last entry, by the stamp of the leader that appended it; producers'
 * timestamps play no part. Segments end by age as well as by size (`rollAfterMs`). The segment that
 * is being written is never dropped: when all its messages are too old, the leader appends an entry
 * (`isStampDue`), which begins the next segment. Since a wrong clock here would delete everything at once, a clock that
 * leaps forward stops retention by age for a while.
 */

/** How much of a partition is kept; 0 means no limit. A topic's settings have this form. */
export interface RetentionSettings {
  readonly retentionBytes: number;
  readonly retentionMs: number;
}

/** A segment of the log, oldest first; the last one is being written. */
export interface RetainedSegment {
  /** Index of its first entry. */
  readonly first: number;
  readonly bytes: number;
  /**
   * Stamp of the entry before `first`, from the checkpoint of the state as of there; null where no
   * such checkpoint is stored, so that the log cannot begin at this segment.
   */
  readonly stampBeforeMs: number | null;
}

/** Segments to drop, or why nothing is dropped. */
export interface RetentionPlan {
  /** Entry that the log shall begin at; null: nothing goes. */
  readonly trimTo: number | null;
  readonly reason: "size" | "age" | null;
}

/**
 * The furthest segment start that size or age allows as the new beginning of the log. By size, at
 * least `retentionBytes` stay; by age, everything younger than `retentionMs` stays. 0 is no limit.
 * `nowMs` is the wall clock, or null while it is not trusted.
 */
export function retentionPlan(
  segments: readonly RetainedSegment[],
  settings: RetentionSettings,
  nowMs: number | null,
): RetentionPlan {
  const { retentionBytes, retentionMs } = settings;
  let plan: RetentionPlan = { trimTo: null, reason: null };
  let bytesLeft = segments.reduce((sum, segment) => sum + segment.bytes, 0);
  for (let at = 0; at + 1 < segments.length; at += 1) {
    bytesLeft -= segments[at].bytes;
    const { first, stampBeforeMs } = segments[at + 1];
    // The log cannot begin here, but a later segment may serve.
    if (stampBeforeMs === null) continue;
    const bySize = retentionBytes > 0 && bytesLeft >= retentionBytes;
    const byAge = retentionMs > 0 && nowMs !== null && stampBeforeMs < nowMs - retentionMs;
    if (!bySize && !byAge) break;
    plan = { trimTo: first, reason: bySize ? "size" : "age" };
  }
  return plan;
}

/** Segments without a message are dropped by age from this many bytes on. */
const SMALLEST_DROP_BYTES = 64 * 1024;

/**
 * Whether it is worth a `trim` to drop segments. The trim is an entry itself and may begin a
 * segment; without this rule, an idle partition would trim its last trim for ever.
 */
export function isWorthATrim(messages: number, bytes: number): boolean {
  return messages > 0 || bytes >= SMALLEST_DROP_BYTES;
}

/** Segments of a partition in a retention time: messages stay at most one of these longer. */
const SEGMENTS_IN_RETENTION = 8;
const SHORTEST_ROLL_MS = 1_000;

/** Milliseconds of stamps after which a segment ends, so that it can be dropped; 0: by size only. */
export function rollAfterMs({ retentionMs }: RetentionSettings): number {
  if (retentionMs === 0) return 0;
  return Math.max(SHORTEST_ROLL_MS, Math.floor(retentionMs / SEGMENTS_IN_RETENTION));
}

/**
 * Whether an entry is to be appended only because of its stamp: the segment being written holds
 * messages, and its last entry, stamped `lastStampMs`, is too old to be kept.
 */
export function isStampDue(
  holdsMessages: boolean,
  lastStampMs: number,
  { retentionMs }: RetentionSettings,
  nowMs: number | null,
): boolean {
  return retentionMs > 0 && holdsMessages && nowMs !== null && lastStampMs < nowMs - retentionMs;
}

/** What is remembered between two looks at the clock; kept in the leader's memory. */
export interface ClockWatch {
  readonly wallMs: number;
  readonly monotonicMs: number;
  /** Retention by age rests until this monotonic time; null: it does not rest. */
  readonly distrustUntilMs: number | null;
}

export interface ClockWatchSettings {
  /** A leap of the wall clock beyond this many milliseconds is distrusted. */
  readonly largestLeapMs: number;
  /** How long it is distrusted: time for somebody to notice and to set it right. */
  readonly distrustMs: number;
}

export const clockWatchDefaults: ClockWatchSettings = {
  largestLeapMs: 3_600_000,
  distrustMs: 3_600_000,
};

/**
 * Takes a look at both clocks. The wall clock should have gone as far as the monotonic one since
 * the last look; at the first look (`previous` null: a new leader) it is held against the stamp
 * of the log's last entry. A leap back ends the distrust, as the clock was then set right.
 */
export function watchClock(
  previous: ClockWatch | null,
  now: { readonly wallMs: number; readonly monotonicMs: number },
  lastStampMs: number,
  settings: ClockWatchSettings = clockWatchDefaults,
): ClockWatch {
  const { wallMs, monotonicMs } = now;
  const expectedMs = previous === null
    ? lastStampMs
    : previous.wallMs + (monotonicMs - previous.monotonicMs);
  const leapMs = wallMs - expectedMs;
  let distrustUntilMs = previous?.distrustUntilMs ?? null;
  if (leapMs > settings.largestLeapMs) distrustUntilMs = monotonicMs + settings.distrustMs;
  else if (leapMs < -settings.largestLeapMs) distrustUntilMs = null;
  else if (distrustUntilMs !== null && monotonicMs >= distrustUntilMs) distrustUntilMs = null;
  return { wallMs, monotonicMs, distrustUntilMs };
}

/** The wall clock for `retentionPlan`: null while it is distrusted. */
export function trustedNowMs(watch: ClockWatch): number | null {
  return watch.distrustUntilMs === null ? watch.wallMs : null;
}
