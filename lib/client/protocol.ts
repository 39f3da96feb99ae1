/**
 * What clients, managers and brokers say to each other over RPC. A method is a name, the fields of
 * its request and the fields of its answer; both travel as MessagePack arrays in the order given
 * here. A refusal is a `TrilogError` of the RPC layer, never an answer.
 *
 * Replica ids name brokers here, since a broker that lost its disk comes back under the same name
 * with another replica id. Offsets count messages of one partition, from 0.
 */

export * from "./protocol_consumers.ts";
export * from "./protocol_groups.ts";
export * from "./protocol_leaders.ts";
export * from "./protocol_membership.ts";
export * from "./protocol_metadata.ts";
export * from "./protocol_method.ts";
export * from "./protocol_metrics.ts";
export * from "./protocol_partitions.ts";
export * from "./protocol_registrations.ts";
export * from "./protocol_status.ts";
export * from "./protocol_upkeep.ts";
