/** PURE. Durations and sizes as people write them: `500ms`, `15s`, `2m`, `1h`; `64KiB`, `1GiB`. */

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const SIZE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
};

const QUANTITY = /^(\d+(?:\.\d+)?)([A-Za-z]*)$/;

/** Milliseconds of `500ms`, `1.5s`, `2m`, `1h`, `7d` or `0`; null for anything else. */
export function parseDuration(text: string): number | null {
  if (text === "0") return 0;
  return parseQuantity(text, DURATION_UNITS);
}

/** Bytes of `4096`, `64KiB`, `1.5GiB`, `10MB`; null for anything else. A plain number is bytes. */
export function parseSize(text: string): number | null {
  return parseQuantity(text, SIZE_UNITS);
}

/** A whole number of the smallest unit, exact below 2^53, or null. */
function parseQuantity(text: string, units: Readonly<Record<string, number>>): number | null {
  const match = QUANTITY.exec(text);
  if (match === null || !Object.hasOwn(units, match[2])) return null;
  // Rounding only takes away the error of binary fractions such as 1.1; 0.5ms is refused.
  const exact = Number(match[1]) * units[match[2]];
  const whole = Math.round(exact);
  if (Math.abs(exact - whole) > 1e-6 || !Number.isSafeInteger(whole)) return null;
  return whole;
}

/** The shortest exact form that {@link parseDuration} reads back; fractions of 1 ms are dropped. */
export function formatDuration(durationMs: number): string {
  const whole = Math.round(durationMs);
  for (const unit of ["d", "h", "m", "s"]) {
    const scale = DURATION_UNITS[unit];
    if (whole >= scale && whole % scale === 0) return `${whole / scale}${unit}`;
  }
  return `${whole}ms`;
}

/** The shortest exact form that {@link parseSize} reads back. */
export function formatSize(sizeBytes: number): string {
  for (const unit of ["TiB", "GiB", "MiB", "KiB"]) {
    const scale = SIZE_UNITS[unit];
    if (sizeBytes >= scale && sizeBytes % scale === 0) return `${sizeBytes / scale}${unit}`;
  }
  return `${sizeBytes}B`;
}

/** A size to be read at a glance, rounded to three digits: `1.46GiB`. */
export function roundedSize(sizeBytes: number): string {
  for (const unit of ["TiB", "GiB", "MiB", "KiB"]) {
    const scale = SIZE_UNITS[unit];
    if (sizeBytes >= scale) return `${threeDigits(sizeBytes / scale)}${unit}`;
  }
  return `${Math.round(sizeBytes)}B`;
}

/** A duration to be read at a glance, rounded: `0.42ms`, `1.24s`, `3m 12s`, `5h 7m`. */
export function roundedDuration(durationMs: number): string {
  if (durationMs < 1_000) return `${threeDigits(durationMs)}ms`;
  if (durationMs < 60_000) return `${threeDigits(durationMs / 1_000)}s`;
  const seconds = Math.round(durationMs / 1_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)}h ${minutes % 60}m`;
}

/** A whole number with thin groups for people: `1,234,567`. */
export function groupedNumber(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

function threeDigits(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

/** `1 broker`, `2 brokers`. */
export function counted(count: number, noun: string): string {
  return `${groupedNumber(count)} ${noun}${count === 1 ? "" : "s"}`;
}
