/** The frames between the hosts of two processes: `[kind, body]`. */

import { binary, type Codec, type Decoded, list, record, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { decodeMembership, encodeMembership } from "../raft/membership.ts";
import { type Entry, EntryKind, type SnapshotMeta } from "../raft/types.ts";

/** First element of every frame's body. Never reuse a number. */
export const FrameKind = {
  /** A message of a group's Raft core. */
  raft: 0,
  /** A leader has a snapshot to send. */
  snapshotOffer: 1,
  /** The follower names the byte it wants next. */
  snapshotWanted: 2,
  snapshotChunk: 3,
  /** The follower knows a newer leader than the one that offers. */
  snapshotRefused: 4,
  /** A group falls to rest: the beats of its leader's process stand for its heartbeats. */
  rest: 5,
  /** The receiver must wake a group that it holds at rest. */
  wake: 6,
  beat: 7,
  beatReply: 8,
  /** The sender holds no replica of this group, or has just closed it. */
  gone: 9,
  /** The sender has opened its replica and asks what it acknowledged before; see acknowledged.ts. */
  opened: 10,
  /** What the receiver acknowledged to the sender. */
  acknowledged: 11,
  /** Entries of the sender's log have rotted: it asks for them. */
  entriesWanted: 12,
  entries: 13,
} as const;

/** Group of frames that concern two processes rather than one group. */
export const PROCESS_GROUP = "";

export const beatCodec = record({
  sequence: whole,
  /** Digest of the groups at rest that sender and receiver share; see beats.ts. */
  digest: whole,
});
export type Beat = Decoded<typeof beatCodec>;

export const rangeCodec = record({ first: whole, last: whole });

const entryCodec: Codec<Entry> = record<Entry>({
  index: whole,
  term: whole,
  kind: {
    encode: (kind) => kind,
    decode: (packed, thing) => entryKind(whole.decode(packed, thing), thing),
  },
  timeMs: whole,
  data: binary,
});

function entryKind(value: number, thing: string): EntryKind {
  const known = Object.values(EntryKind).find((kind) => kind === value);
  if (known === undefined) throw new TrilogError("malformed", `Cannot decode ${thing}: no kind`);
  return known;
}

/** Entries from `first` on; none where the sender has them not. */
export const entriesCodec = record({ first: whole, entries: list(entryCodec) });

export const claimCodec = record({ index: whole, term: whole });

export const restCodec = record({ term: whole, lastIndex: whole });
export type Rest = Decoded<typeof restCodec>;

/** A snapshot as it is announced. */
export interface Offer {
  readonly term: number;
  readonly meta: SnapshotMeta;
  /** Bytes of the machine's state. */
  readonly size: number;
}

const flatOffer = record({
  term: whole,
  index: whole,
  lastTerm: whole,
  timeMs: whole,
  membership: binary,
  size: whole,
});

export const offerCodec: Codec<Offer> = {
  encode: ({ term, meta, size }) =>
    flatOffer.encode({
      term,
      index: meta.last.index,
      lastTerm: meta.last.term,
      timeMs: meta.timeMs,
      membership: encodeMembership(meta.membership),
      size,
    }),
  decode(packed, thing) {
    const flat = flatOffer.decode(packed, thing);
    return {
      term: flat.term,
      meta: {
        last: { index: flat.index, term: flat.lastTerm },
        timeMs: flat.timeMs,
        membership: decodeMembership(flat.membership),
      },
      size: flat.size,
    };
  },
};

export const wantedCodec = record({ index: whole, offset: whole });
export type Wanted = Decoded<typeof wantedCodec>;

export const refusedCodec = record({ index: whole });
export type Refused = Decoded<typeof refusedCodec>;

export const chunkCodec = record({
  term: whole,
  index: whole,
  offset: whole,
  bytes: binary,
  /** Bytes of the whole snapshot. */
  size: whole,
});
export type Chunk = Decoded<typeof chunkCodec>;
