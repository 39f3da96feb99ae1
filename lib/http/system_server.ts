/**
 * The server of the HTTP API, on `node:http`, which reads the body of a GET (`Deno.serve` drops
 * it). It bounds what a client may send and how long that may take, and knows nothing of routes.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { concatBytes, utf8 } from "../base/bytes.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { failure, type HttpAnswer, type HttpRequest } from "./message.ts";

/** How often connections are checked for requests that take too long to arrive. */
const CHECK_MS = 500;
/** How often it is made sure that connections are accepted, and how long that may take. */
const WATCH_MS = 2_000;
const PROBE_MS = 1_000;

export interface HttpServerOptions {
  readonly host: string;
  /** 0 picks one. */
  readonly port: number;
  readonly clock: Clock;
  /** Answers a request; must not reject. */
  readonly handle: (request: HttpRequest) => Promise<HttpAnswer>;
  /** Most open connections; `limits.httpConnections` by default. More are closed unanswered. */
  readonly maxConnections?: number;
  /** Time for a request to arrive whole, in milliseconds; `limits.httpArrivalMs` by default. */
  readonly arrivalMs?: number;
}

export class HttpServer {
  /** Bytes of bodies that are being received or answered. */
  private bodiesBytes = 0;
  private closing = false;

  private server: Server;
  private watchTimer: Timer | null = null;
  /** Probes in a row that found nobody at the port. */
  private unanswered = 0;

  private constructor(private readonly options: HttpServerOptions) {
    this.server = this.newServer();
  }

  /** Binds the port; rejects with `usage` where that cannot be. */
  static async listen(options: HttpServerOptions): Promise<HttpServer> {
    const server = new HttpServer(options);
    await server.bind(options.port);
    server.watchLater();
    return server;
  }

  private newServer(): Server {
    const arrivalMs = this.options.arrivalMs ?? limits.httpArrivalMs;
    const server = createServer({
      headersTimeout: arrivalMs,
      requestTimeout: arrivalMs,
      connectionsCheckingInterval: CHECK_MS,
      keepAliveTimeout: limits.httpIdleMs,
      maxHeaderSize: limits.httpHeaderBytes,
    });
    server.maxConnections = this.options.maxConnections ?? limits.httpConnections;
    server.on("request", (request, response) => void this.serve(request, response));
    server.on("clientError", refuseBytes);
    return server;
  }

  private bind(port: number): Promise<void> {
    const { host } = this.options;
    return new Promise((resolve, reject) => {
      this.server.once("error", (error) => {
        const address = `${host}:${port}`;
        reject(new TrilogError("usage", `Cannot serve HTTP on ${address}: ${error.message}`));
      });
      this.server.listen(port, host, () => resolve());
    });
  }

  /**
   * The runtime's listener may stop accepting for good when the process had no file descriptor for
   * a connection. Probes of the own port find that out, and the port is bound anew.
   */
  private watchLater(): void {
    if (this.closing) return;
    this.watchTimer = this.options.clock.after(WATCH_MS, async () => {
      await this.watch();
      this.watchLater();
    });
  }

  private async watch(): Promise<void> {
    this.unanswered = await this.isAccepting() ? 0 : this.unanswered + 1;
    if (this.closing || this.unanswered < 2) return;
    this.unanswered = 0;
    const { port } = this.server.address() as AddressInfo;
    this.server.close();
    this.server = this.newServer();
    // A port that cannot be had at once is tried again by the next probe.
    await this.bind(port).catch(() => {});
  }

  /** Whether a connection to the own port is taken, or closed because there are too many. */
  private isAccepting(): Promise<boolean> {
    const { server } = this;
    const { address, port } = server.address() as AddressInfo;
    return new Promise((resolve) => {
      const probe = connect(port, address);
      const settle = (accepting: boolean) => {
        timer.cancel();
        server.off("connection", taken);
        probe.destroy();
        resolve(accepting);
      };
      const taken = (socket: Socket) => {
        if (socket.remotePort === probe.localPort) settle(true);
      };
      const timer = this.options.clock.after(PROBE_MS, () => settle(false));
      server.on("connection", taken);
      probe.on("end", () => settle(true));
      probe.on("error", () => settle(true));
    });
  }

  /** Address really bound. */
  get address(): string {
    const { address, port, family } = this.server.address() as AddressInfo;
    return family === "IPv6" ? `[${address}]:${port}` : `${address}:${port}`;
  }

  /** Takes no more requests; those under way are answered unless that takes longer than asked. */
  async close(): Promise<void> {
    this.closing = true;
    this.watchTimer?.cancel();
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeIdleConnections();
    await closed;
  }

  /** Ends connections whatever they do. */
  closeNow(): void {
    this.server.closeAllConnections();
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.on("close", () => {
      if (!response.writableFinished) gone.abort();
    });
    let held = 0;
    const hold = (bytes: number) => {
      held += bytes;
      this.bodiesBytes += bytes;
      if (this.bodiesBytes > limits.httpBodiesBytes) throw tooMuchAtOnce();
    };
    try {
      const body = await bodyOf(request, hold);
      this.send(response, await this.options.handle(requestOf(request, body, gone.signal)));
    } catch (thrown) {
      // What is left of the body is not read: the connection cannot be used again.
      response.shouldKeepAlive = false;
      this.send(response, failure(toTrilogError(thrown)));
    } finally {
      this.bodiesBytes -= held;
    }
  }

  private send(response: ServerResponse, { status, headers, body }: HttpAnswer): void {
    if (response.destroyed) return;
    if (this.closing) response.shouldKeepAlive = false;
    const bytes = utf8(body);
    response.writeHead(status, {
      ...headers,
      "content-length": bytes.length,
      "cache-control": "no-store",
    });
    response.end(bytes);
  }
}

function requestOf(
  request: IncomingMessage,
  body: Uint8Array,
  signal: AbortSignal,
): HttpRequest {
  const url = request.url ?? "/";
  const mark = url.indexOf("?");
  return {
    method: request.method ?? "",
    path: mark < 0 ? url : url.slice(0, mark),
    query: mark < 0 ? "" : url.slice(mark + 1),
    authorization: request.headers.authorization ?? "",
    body,
    signal,
  };
}

/**
 * Rejects with what makes the request fail: its body is too large, or did not come whole. The rest
 * stays unread then (an iteration would end the connection before there is an answer).
 */
function bodyOf(request: IncomingMessage, hold: (bytes: number) => void): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  return new Promise((resolve, reject) => {
    const fail = (error: TrilogError) => {
      request.pause();
      reject(error);
    };
    if (Number(request.headers["content-length"] ?? 0) > limits.httpBodyBytes) {
      return fail(tooLarge());
    }
    request.on("data", (chunk: Uint8Array) => {
      size += chunk.length;
      if (size > limits.httpBodyBytes) return fail(tooLarge());
      try {
        hold(chunk.length);
        chunks.push(chunk);
      } catch (thrown) {
        fail(toTrilogError(thrown));
      }
    });
    request.on("end", () => resolve(chunks.length === 1 ? chunks[0] : concatBytes(chunks)));
    const broken = () => reject(new TrilogError("cancelled", "Cannot read request: it broke off"));
    request.on("error", broken);
    request.on("close", broken);
  });
}

function tooLarge(): TrilogError {
  return new TrilogError(
    "message_too_large",
    `Cannot read request: its body exceeds the limit of ${limits.httpBodyBytes} bytes`,
  );
}

function tooMuchAtOnce(): TrilogError {
  return new TrilogError("overloaded", "Cannot read request: too many others are being read");
}

/** Bytes that are no HTTP, headers without end, or a request that dribbles. */
function refuseBytes(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === "ECONNRESET") {
    socket.destroy();
    return;
  }
  const slow = error.code === "ERR_HTTP_REQUEST_TIMEOUT";
  const state = slow ? "it did not arrive in time" : "its bytes are not HTTP/1.1";
  const { body } = failure(new TrilogError("malformed", `Cannot read request: ${state}`));
  const status = slow ? "408 Request Timeout" : "400 Bad Request";
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n` +
      `Connection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}
