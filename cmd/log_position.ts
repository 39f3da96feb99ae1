/** Places in a partition, as a person writes them. */

import type { LogPosition } from "../lib/client/group_offsets.ts";

/** `earliest`, `latest`, an offset or an RFC 3339 time; null for anything else. */
export function parsePosition(text: string): LogPosition | null {
  if (text === "earliest" || text === "latest") return { kind: text };
  if (/^\d{1,15}$/.test(text)) return { kind: "offset", offset: Number(text) };
  const timeMs = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN;
  return Number.isFinite(timeMs) && timeMs >= 0 ? { kind: "time", timeMs } : null;
}
