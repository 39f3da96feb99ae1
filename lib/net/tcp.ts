/** TCP itself: the only file of `lib/net` that touches the operating system. */

import { TrilogError } from "../base/errors.ts";
import { formatAddress, parseAddress } from "./address.ts";

/** One established stream of bytes, as `Deno.TcpConn` is. */
export interface Socket {
  /** Bytes read into `into`, or null at the end of the stream. */
  read(into: Uint8Array): Promise<number | null>;
  /** Bytes written, possibly fewer than given. `bytes` must not change until it resolves. */
  write(bytes: Uint8Array): Promise<number>;
  /** Tells the other side that nothing more will be written. */
  closeWrite(): Promise<void>;
  close(): void;
  /** The open socket alone no longer keeps the process running. */
  unref(): void;
}

export interface Listener {
  /** The address really bound: with the port that was picked for `:0`. */
  readonly address: string;
  accept(): Promise<Socket>;
  close(): void;
}

/** Where connections come from: {@link tcpSockets}, or the simulator's. */
export interface Sockets {
  /** Connects to `host:port`. Rejects with what the system says; see {@link isRefusal}. */
  connect(address: string): Promise<Socket>;
  /** Binds `host:port`; throws `address_in_use` or `invalid_argument` where that cannot be had. */
  listen(address: string): Listener;
}

/** The machine's own network. */
export const tcpSockets: Sockets = { connect: connectTcp, listen: listenTcp };

/** Connects to `host:port`. Rejects with what the system says; see {@link isRefusal}. */
export async function connectTcp(address: string): Promise<Socket> {
  const where = parseAddress(address);
  if (typeof Deno === "undefined") return await (await import("./tcp_node.ts")).connectNode(where);
  const socket = await Deno.connect(where);
  socket.setNoDelay(true);
  return socket;
}

/** Binds `host:port`; throws `address_in_use` or `invalid_argument` where that cannot be had. */
export function listenTcp(address: string): Listener {
  const wanted = parseAddress(address);
  const listener = bind(wanted, address);
  const port = (listener.addr as Deno.NetAddr).port;
  return {
    address: formatAddress({ hostname: wanted.hostname, port }),
    accept: async () => {
      const socket = await listener.accept();
      socket.setNoDelay(true);
      return socket;
    },
    close: () => listener.close(),
  };
}

function bind(wanted: { hostname: string; port: number }, address: string): Deno.TcpListener {
  try {
    return Deno.listen(wanted);
  } catch (thrown) {
    const taken = thrown instanceof Deno.errors.AddrInUse;
    const state = taken ? "the address is in use" : String(thrown);
    throw new TrilogError(
      taken ? "address_in_use" : "invalid_argument",
      `Cannot listen on ${address}: ${state}`,
      {
        cause: thrown,
      },
    );
  }
}

/**
 * Names (Deno) and codes (Node.js) of the runtime's errors for an address or connection without a
 * process behind it.
 */
const REFUSALS: readonly unknown[] = [
  "ConnectionRefused",
  "ConnectionReset",
  "BrokenPipe",
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
];

/** Whether a connect, read or write failed because no process is there (any more). */
export function isRefusal(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  return REFUSALS.includes(thrown.name) || REFUSALS.includes((thrown as { code?: unknown }).code);
}
