/**
 * PURE. Producers and consumers of the HTTP API: numbers that belong to one topic. They go with their
 * topic, and a number is never given out again, so an old one cannot be taken for a new one.
 */

import { nullable, record, text, whole, word } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Command } from "./command.ts";
import type { MetadataState, MetadataView, Registration, Topic } from "./state.ts";
import { createTopic } from "./topics.ts";

export type RegistrationKind = "producer" | "consumer";
const kind = word<RegistrationKind>("producer", "consumer");

export interface RegisterFields {
  readonly kind: RegistrationKind;
  readonly topic: string;
  /** The only partition that a consumer reads; null for all, and for producers. */
  readonly partition: number | null;
}

export interface Registered {
  readonly id: number;
  readonly partitions: number;
}

export interface FormerRegistration {
  readonly topic: string;
}
const former = record<FormerRegistration>({ topic: text });

/** Registers; a producer makes the topic where there is none of that name. */
export const register: Command<RegisterFields, Registered> = {
  name: "registrations.register",
  fields: record<RegisterFields>({ kind, topic: text, partition: nullable(whole) }),
  answer: record<Registered>({ id: whole, partitions: whole }),
  apply(state, fields, context) {
    const registered = registeredOf(state, fields.kind);
    refuseTooMany(fields.kind, registered.size);
    const { partition } = fields;
    if (fields.kind === "producer" && partition !== null) {
      throw new TrilogError("invalid_argument", "Cannot register producer: it names a partition");
    }
    if (fields.kind === "producer" && !state.topics.has(fields.topic)) {
      const settings = { retentionBytes: 0, retentionMs: 0 };
      createTopic.apply(state, { name: fields.topic, partitions: 1, settings }, context);
    }
    const topic = existingTopic(state, `register ${fields.kind}`, fields.topic);
    const partitions = topic.partitions.length;
    if (partition !== null && partition >= partitions) {
      throw new TrilogError(
        "no_such_partition",
        `Cannot register ${fields.kind} of ${topic.name}: there are ${partitions} partitions and ` +
          `no partition ${partition}`,
      );
    }
    const id = state.nextNumber(fields.kind);
    registered.set(id, {
      id,
      topic: topic.name,
      topicNumber: topic.number,
      partition,
      partitions,
      retired: false,
    });
    return { id, partitions };
  },
};

export interface RetireFields {
  readonly id: number;
}

/** Makes a consumer unusable while its positions are being deleted. */
export const retireConsumer: Command<RetireFields, FormerRegistration> = {
  name: "registrations.retire",
  fields: record<RetireFields>({ id: whole }),
  answer: former,
  apply(state, { id }) {
    const consumer = state.consumers.get(id);
    if (consumer === undefined) throw unknownRegistration("delete", "consumer", id);
    state.consumers.set(id, { ...consumer, retired: true });
    return { topic: consumer.topic };
  },
};

export interface ForgetFields {
  readonly kind: RegistrationKind;
  readonly id: number;
}

export const forget: Command<ForgetFields, FormerRegistration> = {
  name: "registrations.forget",
  fields: record<ForgetFields>({ kind, id: whole }),
  answer: former,
  apply(state, fields) {
    const registered = registeredOf(state, fields.kind);
    const found = registered.get(fields.id);
    if (found === undefined) throw unknownRegistration("delete", fields.kind, fields.id);
    registered.delete(fields.id);
    return { topic: found.topic };
  },
};

export interface UsedRegistration {
  readonly partition: number | null;
  /** Partitions that the topic had at the registration, and has now. */
  readonly registeredPartitions: number;
  readonly partitions: number;
  readonly firstGroupId: string;
}

/** The registration that somebody uses for a topic; throws where that may not be. */
export function registrationView(
  state: MetadataView,
  kind: RegistrationKind,
  id: number,
  topicName: string,
): UsedRegistration {
  const topic = existingTopic(state, `use ${kind} ${id}`, topicName);
  const found = (kind === "producer" ? state.producers : state.consumers).get(id);
  if (found === undefined || found.retired) throw unknownRegistration("use", kind, id);
  if (found.topicNumber !== topic.number) {
    throw new TrilogError(
      "wrong_topic",
      `Cannot use ${kind} ${id} for topic ${topicName}: it is registered for ${found.topic}`,
    );
  }
  return {
    partition: found.partition,
    registeredPartitions: found.partitions,
    partitions: topic.partitions.length,
    firstGroupId: topic.partitions[0].groupId,
  };
}

function registeredOf(state: MetadataState, kind: RegistrationKind): Map<number, Registration> {
  return kind === "producer" ? state.producers : state.consumers;
}

function existingTopic(state: MetadataView, act: string, name: string): Topic {
  const topic = state.topics.get(name);
  if (topic !== undefined) return topic;
  throw new TrilogError("no_such_topic", `Cannot ${act}: there is no topic of that name`);
}

function refuseTooMany(kind: RegistrationKind, present: number): void {
  const most = kind === "producer" ? limits.registeredProducers : limits.registeredConsumers;
  if (present < most) return;
  // Asking again does not help: somebody has to delete some.
  const state = `there are ${present} already, which is the limit`;
  throw new TrilogError("overloaded", `Cannot register ${kind}: ${state}`, { retryable: false });
}

function unknownRegistration(act: string, kind: RegistrationKind, id: number): TrilogError {
  return new TrilogError(
    kind === "producer" ? "no_such_producer" : "no_such_consumer",
    `Cannot ${act} ${kind} ${id}: it is not registered`,
  );
}
