/**
 * Methods of managers for the producers and consumers of the HTTP API. Each has a number that is
 * never given to another, and belongs to one topic.
 */

import { nullable, record, text, token, whole, word } from "../base/codec.ts";
import { method } from "./protocol_method.ts";

export type RegistrationKind = "producer" | "consumer";
const kind = word<RegistrationKind>("producer", "consumer");

export interface RegisterRequest {
  /** The same request sent again gets the first answer. */
  readonly requestId: string;
  readonly kind: RegistrationKind;
  /** Made with one partition for a producer where there is none of that name. */
  readonly topic: string;
  /** The only partition that a consumer reads; null for all, and for producers. */
  readonly partition: number | null;
}

export interface RegisterAnswer {
  readonly id: number;
  readonly partitions: number;
}

export const registerMethod = method<RegisterRequest, RegisterAnswer>(
  "manager.register",
  record<RegisterRequest>({ requestId: token, kind, topic: text, partition: nullable(whole) }),
  record<RegisterAnswer>({ id: whole, partitions: whole }),
);

export interface RegistrationRequest {
  readonly kind: RegistrationKind;
  readonly id: number;
  /** Refused with `wrong_topic` where the registration belongs to another one. */
  readonly topic: string;
}

export interface RegistrationAnswer {
  /** As given at the registration. */
  readonly partition: number | null;
  /** Partitions that the topic had at the registration, and has now: never fewer. */
  readonly registeredPartitions: number;
  readonly partitions: number;
  /** Group of partition 0: tells whether a client's picture is of this topic or a namesake. */
  readonly firstGroupId: string;
}

/** A registration, read linearizably. */
export const registrationMethod = method<RegistrationRequest, RegistrationAnswer>(
  "manager.registration",
  record<RegistrationRequest>({ kind, id: whole, topic: text }),
  record<RegistrationAnswer>({
    partition: nullable(whole),
    registeredPartitions: whole,
    partitions: whole,
    firstGroupId: token,
  }),
);

/**
 * A consumer goes in three steps, so that a crash in between leaves no position behind that nobody
 * knows of: it is retired (and refused from then on), its positions are deleted in the partitions,
 * and it is forgotten. A producer is forgotten at once.
 */
export interface RetireRequest {
  readonly id: number;
}

export interface FormerRegistration {
  readonly topic: string;
}
const former = record<FormerRegistration>({ topic: text });

/** Retires a consumer; to be repeated without harm. */
export const retireConsumerMethod = method<RetireRequest, FormerRegistration>(
  "manager.retire_consumer",
  record<RetireRequest>({ id: whole }),
  former,
);

export interface ForgetRequest {
  readonly requestId: string;
  readonly kind: RegistrationKind;
  readonly id: number;
}

export const forgetMethod = method<ForgetRequest, FormerRegistration>(
  "manager.forget",
  record<ForgetRequest>({ requestId: token, kind, id: whole }),
  former,
);
