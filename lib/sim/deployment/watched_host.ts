/**
 * The host of a server process, with every replica under the eyes of its group's oracle: what its
 * core takes in and gives out, what its machine applies, and which promises leave the process.
 */

import { TrilogError } from "../../base/errors.ts";
import type { Packable } from "../../base/msgpack.ts";
import type { ReplicaId } from "../../raft/types.ts";
import { Host, type HostOptions } from "../../replica/host.ts";
import type { Replica } from "../../replica/replica.ts";
import type { ReplicaOptions } from "../../replica/replica_types.ts";
import { GroupOracle } from "../oracle.ts";
import { WatchedTransport } from "../watched_transport.ts";

/** The oracles of all groups that were ever opened. */
export class Oracles {
  private readonly groups = new Map<string, GroupOracle>();

  of(group: string): GroupOracle {
    let oracle = this.groups.get(group);
    if (oracle === undefined) {
      oracle = new GroupOracle(group);
      this.groups.set(group, oracle);
    }
    return oracle;
  }

  /** In the order of their names. */
  get names(): string[] {
    return [...this.groups.keys()].sort();
  }

  throwIfBroken(): void {
    for (const oracle of this.groups.values()) oracle.throwIfBroken();
  }
}

/** What a watched host needs of its machine. */
export interface HostWatch {
  readonly oracles: Oracles;
  /** A vote or an acknowledgement leaves the process. */
  promised(): void;
  /** A frame leaves the process. */
  sending(to: ReplicaId, group: string, body: Packable): void;
  /** Whether a fault may have changed what the machine's disk holds of a group. */
  mayHaveRotted(group: string): boolean;
  /** A replica is opened. */
  opened(group: string): void;
  /** A replica begins blank in a group that let its identity go, or for the first time. */
  begunBlank(group: string): void;
}

export class WatchedHost extends Host {
  constructor(options: HostOptions, private readonly watch: HostWatch) {
    const promised = (group: string) => {
      watch.promised();
      return watch.oracles.of(group);
    };
    const transport = new WatchedTransport(options.transport, promised, watch.sending);
    super({ ...options, transport });
  }

  override open(options: ReplicaOptions): Replica {
    const { group, store, floor } = options;
    const oracle = this.watch.oracles.of(group);
    const { hardState, last } = store.recovered;
    const blank = hardState.term === 0 && last.index === 0;
    this.watch.opened(group);
    if (blank) this.watch.begunBlank(group);
    if (blank && floor !== undefined) oracle.begunAgain(this.self);
    const amnesia = oracle.reopened(this.self, hardState, last);
    if (amnesia !== null) {
      // Rot in the last record before a stop cannot be told from a write that was never synced; that
      // nothing is left can.
      if (!blank && this.watch.mayHaveRotted(group)) throw new TrilogError("corrupt", amnesia);
      oracle.breaks(amnesia);
    }
    const machine = oracle.watch(this.self, options.machine);
    const replica = super.open({ ...options, machine });
    oracle.follow(replica);
    return replica;
  }
}
