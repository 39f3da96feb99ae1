/** Outgoing TCP connections under Node.js, for programs that use the client library there. */

import { connect, type Socket as NodeSocket } from "node:net";
import type { Address } from "./address.ts";
import type { Socket } from "./tcp.ts";

/** Connects; rejects with what the system says. */
export function connectNode({ hostname, port }: Address): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const options = { host: hostname, port, noDelay: true, allowHalfOpen: true };
    const socket = connect(options, () => {
      socket.removeListener("error", reject);
      resolve(new NodeStream(socket));
    });
    socket.once("error", reject);
  });
}

/** A stream that is read when the reader asks: what it does not ask for waits in the system. */
class NodeStream implements Socket {
  private readonly chunks: AsyncIterator<Uint8Array>;
  /** Received and not read yet. */
  private rest: Uint8Array = new Uint8Array(0);

  constructor(private readonly socket: NodeSocket) {
    this.chunks = socket[Symbol.asyncIterator]();
    // A failure shows in the read or write that meets it.
    socket.on("error", () => {});
  }

  async read(into: Uint8Array): Promise<number | null> {
    if (this.rest.length === 0) {
      const { done, value } = await this.chunks.next();
      if (done) return null;
      this.rest = value;
    }
    const part = this.rest.subarray(0, into.length);
    into.set(part);
    this.rest = this.rest.subarray(part.length);
    return part.length;
  }

  write(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      this.socket.write(bytes, (error) => error ? reject(error) : resolve(bytes.length));
    });
  }

  closeWrite(): Promise<void> {
    return new Promise((resolve) => this.socket.end(() => resolve()));
  }

  close(): void {
    this.socket.destroy();
  }

  unref(): void {
    this.socket.unref();
  }
}
