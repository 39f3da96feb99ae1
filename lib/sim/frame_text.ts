/** Frames, requests and answers on the simulated network as text, for a trace that people read. */

import type { Codec } from "../base/codec.ts";
import { type Packable, unpack } from "../base/msgpack.ts";
import { messageFromWire } from "../raft/message.ts";
import { EntryKind } from "../raft/types.ts";
import {
  beatCodec,
  chunkCodec,
  claimCodec,
  entriesCodec,
  FrameKind,
  offerCodec,
  rangeCodec,
  refusedCodec,
  restCodec,
  wantedCodec,
} from "../replica/frames.ts";

const CODECS: Readonly<Record<number, Codec<object>>> = {
  [FrameKind.snapshotOffer]: offerCodec,
  [FrameKind.snapshotWanted]: wantedCodec,
  [FrameKind.snapshotChunk]: chunkCodec,
  [FrameKind.snapshotRefused]: refusedCodec,
  [FrameKind.rest]: restCodec,
  [FrameKind.beat]: beatCodec,
  [FrameKind.beatReply]: beatCodec,
  [FrameKind.acknowledged]: claimCodec,
  [FrameKind.entriesWanted]: rangeCodec,
  [FrameKind.entries]: entriesCodec,
};

const NAMES = Object.fromEntries(
  Object.entries(FrameKind).map(([name, kind]) => [kind, name.replace(/[A-Z]/g, "_$&")]),
);

const ENTRY_KINDS = Object.fromEntries(
  Object.entries(EntryKind).map(([name, kind]) => [kind, name]),
);

/** The packed bytes that `SimNetwork.carry` takes under a label; "" where they have no content. */
export function carriedText(label: string, bytes: Uint8Array): string {
  const [first, second] = unpack(bytes.slice()) as [Packable, Packable];
  if (label === "frame") return frameText(first as string, second);
  if (label === "request") return String(first);
  return first === true ? "answered" : `refused ${(second as Packable[])[0]}`;
}

/**
 * A frame's body, such as `g1 append_request term 3, prev 12@2, entries 13@3 command (24 bytes),
 * commit 11, round 5, leaseMs 0`. A log position is `index@term`.
 */
export function frameText(group: string, body: Packable): string {
  const [kind, content] = body as [number, Packable];
  const words = group === "" ? [] : [group];
  if (kind === FrameKind.raft) {
    const { kind, from: _from, to: _to, ...fields } = messageFromWire("", "", content);
    words.push(kind, fieldsText(fields));
  } else {
    words.push((NAMES[kind] ?? `frame kind ${kind}`).toLowerCase());
    if (kind in CODECS) words.push(fieldsText(CODECS[kind].decode(content, "frame")));
  }
  return words.join(" ");
}

function fieldsText(fields: object): string {
  return Object.entries(fields).map(([name, value]) => `${name} ${valueText(value)}`).join(", ");
}

function valueText(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (Array.isArray(value)) return value.map(valueText).join(" ") || "none";
  if (value === null || typeof value !== "object") return String(value);
  if (!("index" in value) || !("term" in value)) return `{${fieldsText(value)}}`;
  const position = `${value.index}@${value.term}`;
  if (!("kind" in value) || !("data" in value)) return position;
  return `${position} ${ENTRY_KINDS[value.kind as number]} (${valueText(value.data)})`;
}
