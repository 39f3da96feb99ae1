/**
 * Raft as a module: what a replicated service is built on. README.md beside this file teaches it.
 */

export type { Clock, Timer } from "../base/clock.ts";
export { Prng, type Random } from "../base/prng.ts";
export { type Handler, Network, type NetworkOptions } from "./network.ts";
export { MemoryPersister, type Persister } from "./persister.ts";
export { make, RaftServer } from "./server.ts";
export type { ApplyMessage, Peer, ServerOptions, ServerState, StartResult } from "./types.ts";
