/**
 * What every server process of trilog is made of: a locked data directory with an identity, one
 * port for peers and clients, remote calls, and a host for Raft groups. `node.ts` runs one group
 * on it, a broker many.
 */

import type { Clock, Timer } from "../base/clock.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import type { Histogram } from "../base/metrics.ts";
import type { Random } from "../base/prng.ts";
import { type NetCounters, newCounters } from "../net/counters.ts";
import { type HandshakePolicy, judgeByRecord, type RemoteIdentity } from "../net/handshake.ts";
import { Mux } from "../net/mux.ts";
import { TcpPeers } from "../net/peers.ts";
import { RpcServer } from "../net/rpc.ts";
import { RpcClient } from "../net/rpc_client.ts";
import type { Sockets } from "../net/tcp.ts";
import type { Membership, NodeInfo, ReplicaId } from "../raft/types.ts";
import type { Disk } from "../storage/disk.ts";
import { type DataDirectory, openDataDirectory } from "../storage/identity.ts";
import { Host, type HostOptions } from "./host.ts";

export interface ProcessOptions {
  /** Node name such as `a1`. */
  readonly name: string;
  /** `host:port` to bind; port 0 picks one. */
  readonly listen: string;
  /** Address that others are told; the bound one by default. */
  readonly advertise?: string | undefined;
  /** Shared secret of the cluster; empty for none. */
  readonly token: string;
  readonly disk: Disk;
  /** Most connections that others may have to this process; `limits.connections` by default. */
  readonly maxConnections?: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly heartbeatMs: number;
  readonly electionTimeoutMs: number;
  readonly newIdentity: () => string;
  /** Where connections come from; the machine's network by default. */
  readonly sockets?: Sockets;
  /** Makes the host of the Raft groups; the simulator watches its own. */
  readonly newHost?: (options: HostOptions) => Host;
  /** How long the disk's syncs take, where that is counted. */
  readonly syncTimes?: Histogram;
  /** Told once when the process must end: its disk failed, or its identity is refused by others. */
  readonly onFatal: (error: unknown) => void;
  /** See `HostOptions`. */
  readonly addressesOf?: (id: ReplicaId, node: NodeInfo) => readonly string[];
  /** Why an identity of a node of this name was superseded, where that is known. */
  readonly whyFormer?: (name: string) => string | undefined;
  readonly onMembership?: (group: string, membership: Membership, previous: Membership) => void;
  readonly onCorrupt?: (group: string, error: TrilogError) => void;
}

/** Start numbers are `counter * 2^20 + random`: two starts of one copied directory differ. */
const START_NONCES = 2 ** 20;

export class ServerProcess {
  readonly directory: DataDirectory;
  readonly rpc: RpcServer;
  readonly caller: RpcClient;
  readonly peers: TcpPeers;
  readonly mux: Mux;
  readonly host: Host;
  readonly counters: NetCounters = newCounters();
  private storeTimer: Timer | null = null;
  /** Address that others dial; set by {@link listen}. */
  address = "";
  /** Address really bound; set by {@link listen}. */
  bound = "";

  /** Opens the data directory; throws what `openDataDirectory` throws. */
  constructor(readonly options: ProcessOptions) {
    const { clock, random, logger, disk, name, sockets } = options;
    this.directory = openDataDirectory(disk, { name, newReplicaId: options.newIdentity });
    this.directory.onFailed = (error) => options.onFatal(error);
    this.storeLater();
    const policy = this.policy(random.below(START_NONCES));
    const { counters } = this;
    this.rpc = new RpcServer({ clock, logger });
    this.caller = new RpcClient({ policy, role: "peer", clock, random, counters, sockets });
    this.peers = new TcpPeers({
      self: this.directory.replicaId,
      policy,
      clock,
      random,
      logger,
      counters,
      sockets,
      onRefused: (error) => this.refusedByPeer(error),
    });
    const { rpc, peers } = this;
    const { maxConnections = limits.connections } = options;
    this.mux = new Mux({ policy, clock, logger, counters, sockets, rpc, peers, maxConnections });
    const { newHost = (options) => new Host(options) } = options;
    this.host = newHost({
      self: this.directory.replicaId,
      clock,
      random,
      logger,
      transport: this.peers,
      heartbeatMs: options.heartbeatMs,
      electionTimeoutMs: options.electionTimeoutMs,
      onFatal: (error) => options.onFatal(this.withAdvice(error)),
      ...(options.addressesOf === undefined ? {} : { addressesOf: options.addressesOf }),
      ...(options.onCorrupt === undefined ? {} : { onCorrupt: options.onCorrupt }),
      onMembership: (group, membership, previous) => {
        options.onMembership?.(group, membership, previous);
      },
    });
  }

  /** Binds the port and serves; returns the address really bound. */
  listen(): string {
    this.bound = this.mux.listen(this.options.listen);
    this.address = this.options.advertise ?? this.bound;
    return this.bound;
  }

  /** An identity lost its place: nobody listens to it any more, for ever. */
  supersede(id: ReplicaId): void {
    this.directory.supersede(id);
    this.storeLater();
    this.peers.forget(id);
    this.mux.disconnect(id, judgeSuperseded(id));
  }

  /** Closes groups, connections and the data directory, in that order. */
  async stop(): Promise<void> {
    this.host.stop();
    this.storeTimer?.cancel();
    await this.mux.close(STOP_GRACE_MS);
    this.peers.close();
    this.caller.close();
    this.directory.close();
  }

  /** Ends a process that never listened, at once: its directory may be opened again. */
  abandon(): void {
    this.host.stop();
    this.storeTimer?.cancel();
    this.peers.close();
    this.caller.close();
    this.directory.close();
  }

  private policy(nonce: number): HandshakePolicy {
    const { directory, options } = this;
    const startCounter = directory.startCounter * START_NONCES + nonce;
    return {
      token: options.token,
      local: () => ({
        clusterId: directory.cluster,
        replicaId: directory.replicaId,
        name: directory.name,
        startCounter,
      }),
      admitPeer: (peer) => this.judge(peer),
    };
  }

  /** A superseded or rolled-back identity is refused by name (decision 2). */
  private judge(peer: RemoteIdentity): TrilogError | null {
    const id = peer.replicaId;
    if (id === null || id === this.directory.replicaId) return null;
    const record = this.directory.peerRecord(id);
    const { highestStartCounter } = record;
    const refusal = judgeByRecord(peer, record, this.options.whyFormer?.(peer.name));
    if (refusal !== null) return refusal;
    const sameStart = Math.floor(peer.startCounter / START_NONCES) ===
      Math.floor(highestStartCounter / START_NONCES);
    if (sameStart && peer.startCounter !== highestStartCounter) {
      const message = `Cannot admit ${peer.name} (${id}): its data directory was rolled back, ` +
        "another start with the same number was seen";
      return new TrilogError("rolled_back", message);
    }
    this.directory.rememberPeerStart(id, peer.startCounter);
    this.storeLater();
    return null;
  }

  /** What a full disk has not taken is offered to it again until it does. */
  private storeLater(): void {
    if (!this.directory.hasUnstored || this.storeTimer !== null) return;
    this.storeTimer = this.options.clock.after(STORE_AGAIN_MS, () => {
      this.storeTimer = null;
      try {
        this.directory.storeWaiting();
      } catch (error) {
        return this.options.onFatal(error);
      }
      this.storeLater();
    });
  }

  private refusedByPeer(error: TrilogError): void {
    if (error.code === "superseded" || error.code === "rolled_back") {
      this.options.onFatal(this.withAdvice(error));
    }
  }

  /** An identity that has lost its place: the error says what its operator can do. */
  private withAdvice(error: unknown): unknown {
    const lost = error instanceof TrilogError &&
      (error.code === "superseded" || error.code === "rolled_back");
    if (!lost) return error;
    const { name } = this.options;
    const message = `Cannot take part as ${name}: ${error.code}: ${error.message}. ` +
      "Move its data directory away; it then comes back with a new identity";
    return new TrilogError(error.code, message, { cause: error });
  }
}

const STOP_GRACE_MS = 500;
const STORE_AGAIN_MS = 1_000;

function judgeSuperseded(id: ReplicaId): TrilogError {
  return new TrilogError("superseded", `Cannot admit ${id}: it is no longer a member`);
}
