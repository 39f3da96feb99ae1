/**
 * The server of the HTTP API, on `node:http`, which reads the body of a GET (`Deno.serve` drops
 * it). It bounds what a client may send and how long that may take, and knows nothing of routes.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { concatBytes, utf8 } from "../base/bytes.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { failure, type HttpAnswer, type HttpRequest } from "./message.ts";

/** How often connections are checked for requests that take too long to arrive. */
const CHECK_MS = 500;

export interface HttpServerOptions {
  readonly host: string;
  /** 0 picks one. */
  readonly port: number;
  /** Answers a request; must not reject. */
  readonly handle: (request: HttpRequest) => Promise<HttpAnswer>;
  /** Time for a request to arrive whole, in milliseconds; `limits.httpArrivalMs` by default. */
  readonly arrivalMs?: number;
}

export class HttpServer {
  /** Bytes of bodies that are being received or answered. */
  private bodiesBytes = 0;
  private closing = false;

  private constructor(
    private readonly server: Server,
    private readonly options: HttpServerOptions,
  ) {
    server.maxConnections = limits.httpConnections;
    server.on("request", (request, response) => void this.serve(request, response));
    server.on("clientError", refuseBytes);
  }

  /** Binds the port; rejects with `usage` where that cannot be. */
  static listen(options: HttpServerOptions): Promise<HttpServer> {
    const arrivalMs = options.arrivalMs ?? limits.httpArrivalMs;
    const server = createServer({
      headersTimeout: arrivalMs,
      requestTimeout: arrivalMs,
      connectionsCheckingInterval: CHECK_MS,
      keepAliveTimeout: limits.httpIdleMs,
      maxHeaderSize: limits.httpHeaderBytes,
    });
    return new Promise((resolve, reject) => {
      const { host, port } = options;
      server.once("error", (error) => {
        const address = `${host}:${port}`;
        reject(new TrilogError("usage", `Cannot serve HTTP on ${address}: ${error.message}`));
      });
      server.listen(port, host, () => resolve(new HttpServer(server, options)));
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
  const state = slow ? "it did not arrive in time" : "its bytes are not HTTP as spoken here";
  const { body } = failure(new TrilogError("malformed", `Cannot read request: ${state}`));
  const status = slow ? "408 Request Timeout" : "400 Bad Request";
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n` +
      `Connection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}
