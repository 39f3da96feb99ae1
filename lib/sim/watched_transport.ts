/** Shows what leaves a process that it cannot take back. */

import type { Packable } from "../base/msgpack.ts";
import type { PeerHandler, PeerTransport } from "../net/transport.ts";
import { messageFromWire } from "../raft/message.ts";
import type { ReplicaId } from "../raft/types.ts";
import { FrameKind } from "../replica/frames.ts";
import { promiseIn } from "../replica/acknowledged.ts";
import type { GroupOracle } from "./oracle.ts";

/** A transport that shows the promises which leave: votes and acknowledgements. */
export class WatchedTransport implements PeerTransport {
  readonly self: ReplicaId;

  constructor(
    private readonly inner: PeerTransport,
    private readonly promised: (group: string) => GroupOracle,
    /** Gets every frame that leaves. */
    private readonly sending: (to: ReplicaId, group: string, body: Packable) => void = () => {},
  ) {
    this.self = inner.self;
  }

  setHandler(handler: PeerHandler): void {
    this.inner.setHandler(handler);
  }

  setAddress(peer: ReplicaId, address: string, others?: readonly string[]): void {
    this.inner.setAddress(peer, address, others);
  }

  forget(peer: ReplicaId): void {
    this.inner.forget(peer);
  }

  send(to: ReplicaId, group: string, body: Packable): void {
    const [kind, content] = body as [number, Packable];
    if (kind === FrameKind.raft) this.watch(to, group, content);
    this.sending(to, group, body);
    this.inner.send(to, group, body);
  }

  queuedBytes(to: ReplicaId): number {
    return this.inner.queuedBytes(to);
  }

  private watch(to: ReplicaId, group: string, wire: Packable): void {
    const message = messageFromWire(this.self, to, wire);
    const answers = message.kind === "append_response" || message.kind === "vote_response";
    if (answers && promiseIn(message) !== null) this.promised(group).promised(message);
  }
}
