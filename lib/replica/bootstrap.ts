/**
 * How a blank node gets into a cluster (decision 2).
 *
 * *Founding*: only when every node of `--peers` is reachable and none belongs to a cluster. The
 * one with the lowest name fixes the cluster id and the first membership and has everybody store
 * them (`prepare`); when all have, it becomes a member, and so does everybody who learns that
 * somebody did: a member exists only if all are prepared, so there can be no second founding.
 *
 * *Joining*: a blank node that meets a member never founds. It asks until the cluster's leader
 * has taken it in (`join_driver.ts`), as a learner first, with an empty membership of its own,
 * so that it cannot campaign before it has received the cluster's log.
 */

import { binary, type Decoded, list, nullable, record, token, word } from "../base/codec.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Packable } from "../base/msgpack.ts";
import { decodeMembership, encodeMembership } from "../raft/membership.ts";
import type { Membership, NodeInfo, ReplicaId } from "../raft/types.ts";
import type { RemoteIdentity } from "../net/handshake.ts";
import type { Caller } from "../net/rpc_client.ts";
import { JOIN_METHOD, joinAnswerCodec, joinCodec } from "./join_driver.ts";

export const HELLO_METHOD = "node.hello";
export const PREPARE_METHOD = "node.prepare";

/**
 * `blank`: belongs to nothing; `prepared`: has stored a founding and waits; `member`: takes part.
 */
export type NodeState = "blank" | "prepared" | "member";

const helloCodec = record({
  state: word("blank", "prepared", "member"),
  name: token,
  replicaId: token,
  address: token,
  cluster: nullable(token),
  /** Names in the node's `--peers`, sorted: founders must agree on them. */
  peers: list(token),
});
export type NodeHello = Decoded<typeof helloCodec>;

/** A peer's answer, and the address of `--peers` at which it was reached from here. */
type Reached = NodeHello & { readonly reachedAt: string };

/** A peer that gave no answer, and why. */
interface Unreached {
  readonly missing: string;
}

/** The first membership of a cluster and its name for ever. */
export interface Founding {
  readonly cluster: string;
  readonly membership: Membership;
}

const foundingCodec = record({ cluster: token, membership: binary });

/** What a node keeps durably of its way into a cluster. */
export interface BootstrapStore {
  readonly replicaId: ReplicaId;
  /** Cluster that this node is a member of, by founding or by joining; null: blank. */
  readonly cluster: string | null;
  /** The founding stored by `prepare`, or null. */
  founding(): Founding | null;
  /** Stores a founding durably; replaces an older one that never became effective. */
  prepare(founding: Founding): void;
  /** The prepared founding, or membership by joining `cluster`, becomes effective, durably. */
  becomeMember(cluster: string): void;
  isMember(): boolean;
}

export interface BootstrapOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly caller: Caller;
  readonly store: BootstrapStore;
  readonly self: () => NodeInfo;
  /** All nodes of `--peers`, this node included; addresses as seen from here. */
  readonly peers: readonly NodeInfo[];
  /** The members that this node has learnt of; none while it is blank. */
  readonly members: () => readonly NodeInfo[];
  readonly newClusterId: () => string;
  /** The node stops: give up. */
  readonly stopped: () => boolean;
  /** The leader took a request and named the members. */
  readonly onMembers: (nodes: Membership["nodes"]) => void;
  /** A peer sent its identity and was reached at `address`. */
  readonly onPeer: (replicaId: ReplicaId, address: string) => void;
  /** The node is not in a cluster, and why; each reason at most once a minute. */
  readonly onWaiting?: ((reason: string) => void) | undefined;
}

const RETRY_MS = 100;
const CALL_MS = 1_000;
/** What keeps a node from its cluster is repeated in the log after this long. */
const REPEAT_MS = 60_000;
const MOST_STATES = 64;

export class Bootstrap {
  /** When each state was written to the log last. */
  private readonly loggedMs = new Map<string, number>();
  private reason = "it asks its peers";

  constructor(private readonly options: BootstrapOptions) {}

  /** Why the node is not in a cluster, as far as it was seen last. */
  get waitingFor(): string {
    return this.reason;
  }

  /** Serves {@link HELLO_METHOD}. */
  hello(caller?: Pick<RemoteIdentity, "name" | "role">): Packable {
    const { store } = this.options;
    const self = this.options.self();
    if (caller?.role === "peer" && this.state() !== "member") this.noticeStranger(caller.name);
    return helloCodec.encode({
      state: this.state(),
      name: self.name,
      replicaId: store.replicaId,
      address: self.address,
      cluster: store.cluster ?? store.founding()?.cluster ?? null,
      peers: this.peerNames(),
    });
  }

  private peerNames(): readonly string[] {
    return this.options.peers.map(({ name }) => name).sort();
  }

  private noticeStranger(name: string): void {
    if (this.peerNames().includes(name)) return;
    this.tell(`${name} names this node in its --peers, and --peers here does not name ${name}`);
  }

  /** Serves {@link PREPARE_METHOD}: refuses unless this node is still free. */
  prepare(params: Packable): Packable {
    const { cluster, membership } = foundingCodec.decode(params, "founding");
    const { store } = this.options;
    if (store.isMember()) {
      throw new TrilogError("wrong_cluster", "Cannot prepare node: it belongs to a cluster");
    }
    const decoded = decodeMembership(membership);
    if (!decoded.voters.includes(store.replicaId)) {
      throw new TrilogError("invalid_membership", "Cannot prepare node: it is not in the founding");
    }
    store.prepare({ cluster, membership: decoded });
    return null;
  }

  /** Ends when this node is a member, by founding or by joining. */
  async run(): Promise<void> {
    const { clock, store, stopped } = this.options;
    while (!store.isMember() && !stopped()) {
      try {
        await this.attempt();
      } catch (thrown) {
        this.tell(toTrilogError(thrown).message);
      }
      if (!store.isMember()) await sleep(clock, RETRY_MS);
    }
  }

  private state(): NodeState {
    if (this.options.store.isMember()) return "member";
    return this.options.store.founding() === null ? "blank" : "prepared";
  }

  /** Asks the cluster's leader to take this node in, or to note its address. */
  async announce(): Promise<void> {
    const { name } = this.options.self();
    const members = this.options.members().filter((member) => member.name !== name);
    const answers = await Promise.all([...this.others(), ...members].map((peer) => this.ask(peer)));
    await this.askToJoin(answers.filter(isReached));
  }

  /** Logs why a node that belongs to the cluster is not among its members. */
  logMissing(error: TrilogError): void {
    this.tell(error.message);
  }

  /** What this node asks of the leader. */
  joinRequest(): Packable {
    const { name, address } = this.options.self();
    return joinCodec.encode({ name, replicaId: this.options.store.replicaId, address });
  }

  private others(): readonly NodeInfo[] {
    const { peers } = this.options;
    const self = this.options.self();
    return peers.filter(({ name }) => name !== self.name);
  }

  private async attempt(): Promise<void> {
    const { store } = this.options;
    const self = this.options.self();
    const others = this.others();
    const answers = await Promise.all(others.map((peer) => this.ask(peer)));
    const hellos = answers.filter(isReached);
    const member = hellos.find(({ state }) => state === "member");
    if (member !== undefined) return await this.follow(member, hellos);
    const missing = answers.flatMap((answer) => isReached(answer) ? [] : [answer.missing]);
    if (missing.length > 0) return this.tell(`waiting for ${missing.join(", ")}`);
    const names = this.peerNames().join(",");
    const dissenter = hellos.find((hello) => hello.peers.join() !== names);
    if (dissenter !== undefined) {
      const { name, peers } = dissenter;
      return this.tell(
        `--peers must name the same nodes everywhere: ${names} here, ${peers.join()} at ${name}`,
      );
    }
    const [lowest] = this.peerNames();
    if (lowest !== self.name) return this.tell(`waiting for ${lowest} to found the cluster`);
    const own = helloCodec.decode(this.hello(), "own hello");
    await this.found(this.plan([own, ...hellos]));
    store.becomeMember(store.founding()!.cluster);
  }

  /** A founding stored before a crash is taken up again if it still names exactly these nodes. */
  private plan(nodes: readonly NodeHello[]): Founding {
    const ids = nodes.map(({ replicaId }) => replicaId).sort();
    const earlier = this.options.store.founding();
    if (earlier !== null && ids.join() === earlier.membership.voters.join()) return earlier;
    const infos = nodes.map(({ replicaId, name, address }) => [replicaId, { name, address }]);
    return {
      cluster: this.options.newClusterId(),
      membership: {
        voters: ids,
        outgoing: [],
        learners: [],
        learnersNext: [],
        nodes: Object.fromEntries(infos),
      },
    };
  }

  private async found(founding: Founding): Promise<void> {
    const { store, peers, caller, logger } = this.options;
    store.prepare(founding);
    const params = foundingCodec.encode({
      cluster: founding.cluster,
      membership: encodeMembership(founding.membership),
    });
    await Promise.all(
      this.others().map(({ address }) =>
        caller.call(address, PREPARE_METHOD, params, { deadlineMs: CALL_MS })
      ),
    );
    logger.info("founded the cluster", {
      cluster: founding.cluster,
      members: peers.map(({ name }) => name).sort().join(","),
    });
  }

  /** Somebody is a member: the prepared founding is in force, or this node has to be taken in. */
  private async follow(
    member: Reached,
    answers: readonly Reached[],
  ): Promise<void> {
    const { store, logger } = this.options;
    const cluster = member.cluster;
    if (cluster === null) return;
    const founding = store.founding();
    if (founding?.cluster === cluster && founding.membership.voters.includes(store.replicaId)) {
      logger.info("the founding is in force", { cluster });
      store.becomeMember(cluster);
      return;
    }
    try {
      await this.askToJoin(answers);
    } catch (thrown) {
      const { message } = toTrilogError(thrown);
      return this.tell(`asking to be taken into cluster ${cluster}: ${message}`);
    }
    store.becomeMember(cluster);
    logger.info("joined the cluster", { cluster });
  }

  /**
   * The leader takes the request. The others refuse it and name the leader, which is asked next,
   * whether `--peers` names it or not.
   */
  private async askToJoin(answers: readonly Reached[]): Promise<void> {
    const params = this.joinRequest();
    const asked = new Set<string>();
    const errors: TrilogError[] = [];
    let next = answers.flatMap(({ state, reachedAt }) => state === "member" ? [reachedAt] : []);
    while (next.length > 0) {
      for (const address of next) asked.add(address);
      const refusals = await Promise.all(next.map((address) => this.askLeader(address, params)));
      if (refusals.includes(null)) return;
      errors.push(...refusals.filter((refusal) => refusal !== null));
      const named = refusals.flatMap((refusal) => refusal?.leader ?? []);
      next = [...new Set(named)].filter((address) => !asked.has(address));
    }
    // What the leader says is more than that the others are not it.
    const refusal = errors.find(({ code }) => code !== "not_leader") ?? errors[0];
    if (refusal !== undefined) throw refusal;
    throw new TrilogError("unavailable", "Cannot join the cluster: no member answers");
  }

  /** Null where the request was taken. */
  private async askLeader(address: string, params: Packable): Promise<TrilogError | null> {
    try {
      const { caller, onMembers } = this.options;
      const answer = await caller.call(address, JOIN_METHOD, params, { deadlineMs: CALL_MS });
      const { membership } = joinAnswerCodec.decode(answer, "join answer");
      onMembers(decodeMembership(membership).nodes);
      return null;
    } catch (thrown) {
      return toTrilogError(thrown);
    }
  }

  private async ask(peer: NodeInfo): Promise<Reached | Unreached> {
    const { caller, onPeer } = this.options;
    try {
      const answer = await caller.call(peer.address, HELLO_METHOD, null, { deadlineMs: CALL_MS });
      const hello = helloCodec.decode(answer, "hello");
      if (hello.name !== peer.name) {
        return { missing: `${peer.name}: ${hello.name} is at ${peer.address}` };
      }
      onPeer(hello.replicaId, peer.address);
      return { ...hello, reachedAt: peer.address };
    } catch (thrown) {
      const { message } = toTrilogError(thrown);
      const reason = message.slice(message.indexOf(": ") + 2);
      return { missing: `${peer.name} at ${peer.address} (${reason})` };
    }
  }

  /** Logs what the node waits for, each state at most once a minute. */
  private tell(state: string): void {
    this.reason = state;
    const nowMs = this.options.clock.monotonicMs();
    const loggedMs = this.loggedMs.get(state);
    if (loggedMs !== undefined && nowMs - loggedMs < REPEAT_MS) return;
    if (this.loggedMs.size >= MOST_STATES) this.loggedMs.clear();
    this.loggedMs.set(state, nowMs);
    this.options.logger.info(`not in a cluster yet: ${state}`);
    this.options.onWaiting?.(state);
  }
}

function isReached(answer: Reached | Unreached): answer is Reached {
  return !("missing" in answer);
}
