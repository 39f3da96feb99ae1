/**
 * MACHINE. How long brokers have been silent so far, over changes of the leading manager. A leader
 * counts silence in memory; were nothing stored, leaderships that are shorter than the time to dead
 * would keep a dead broker alive for good. Stored only while a broker is silent.
 */

import { type Codec, list, record, token, whole } from "../base/codec.ts";
import { type Changed, changedCodec, type Command } from "./command.ts";

export interface Silence {
  readonly replicaId: string;
  /** Milliseconds that leaders have counted; 0: it was heard again. */
  readonly silentMs: number;
}
export const silenceCodec: Codec<Silence> = record<Silence>({ replicaId: token, silentMs: whole });

export interface SilenceFields {
  /** Term in which the leader counted; in another one its count is old news. */
  readonly term: number;
  readonly silences: readonly Silence[];
}

/** The leader's count; clients see nothing of it. */
export const keepSilences: Command<SilenceFields, Changed> = {
  name: "brokers.silent",
  fields: record<SilenceFields>({ term: whole, silences: list(silenceCodec) }),
  answer: changedCodec,
  apply(state, { term: countedIn, silences }, { term }) {
    if (countedIn === term) {
      for (const { replicaId, silentMs } of silences) {
        const counts = silentMs > 0 && state.brokerOf(replicaId)?.alive === true;
        if (counts) state.silences.set(replicaId, silentMs);
        else state.silences.delete(replicaId);
      }
    }
    return { version: state.version };
  },
};
