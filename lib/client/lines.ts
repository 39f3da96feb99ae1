/** Lines of text as messages: nothing but the newline between them is added or lost. */

import type { RecordHeader } from "../batch/batch_writer.ts";

/** Header of a message that was the last line of its input and had no newline. */
export const OPEN_LINE: RecordHeader = { key: "trilog.open-line", value: null };

/** Whether the message's line had no newline. */
export function isOpenLine(headers: readonly RecordHeader[]): boolean {
  return headers.length > 0 && headers.some(({ key }) => key === OPEN_LINE.key);
}

/** The headers that the sender gave: all but the mark of an open line. */
export function shownHeaders(headers: readonly RecordHeader[]): readonly RecordHeader[] {
  return isOpenLine(headers) ? headers.filter(({ key }) => key !== OPEN_LINE.key) : headers;
}
