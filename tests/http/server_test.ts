/** The server at real sockets, with an API of its own behind it. */

import { assert, assertEquals } from "@std/assert";
import { displayText, utf8 } from "../../lib/base/bytes.ts";
import { limits } from "../../lib/base/limits.ts";
import { type HttpRequest, success } from "../../lib/http/message.ts";
import { systemClock } from "../../lib/base/system_clock.ts";
import { HttpServer } from "../../lib/http/system_server.ts";

type Handle = (request: HttpRequest) => ReturnType<typeof success>;

/** Echoes what arrived. */
const echo: Handle = ({ method, path, query, authorization, body }) =>
  success({ method, path, query, authorization, body: displayText(body) });

async function withServer(
  test: (server: HttpServer, port: number) => Promise<void>,
  options: { handle?: (request: HttpRequest) => Promise<ReturnType<Handle>>; arrivalMs?: number } =
    {},
): Promise<void> {
  const { handle = (request: HttpRequest) => Promise.resolve(echo(request)), arrivalMs } = options;
  const server = await HttpServer.listen({
    clock: systemClock,
    host: "127.0.0.1",
    port: 0,
    handle,
    ...(arrivalMs === undefined ? {} : { arrivalMs }),
  });
  try {
    await test(server, Number(server.address.split(":").at(-1)));
  } finally {
    server.closeNow();
    await server.close();
  }
}

/** Sends bytes and gives all that comes back until the other side closes. */
async function exchange(port: number, ...parts: (string | Uint8Array)[]): Promise<string> {
  const connection = await Deno.connect({ port });
  try {
    const sending = (async () => {
      for (const part of parts) {
        const bytes = typeof part === "string" ? utf8(part) : part;
        for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
      }
    })().catch(() => {});
    let text = "";
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      const count = await connection.read(buffer).catch(() => null);
      if (count === null) break;
      text += displayText(buffer.subarray(0, count));
    }
    await sending;
    return text;
  } finally {
    connection.close();
  }
}

function head(line: string, ...headers: string[]): string {
  return [line, "Host: x", "Connection: close", ...headers, "", ""].join("\r\n");
}

// deno-lint-ignore no-explicit-any
function bodyOf(answer: string): any {
  return JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4));
}

Deno.test("the body of a GET is read, with a length and in chunks", async () => {
  await withServer(async (_, port) => {
    const expected = {
      status: "success",
      method: "GET",
      path: "/a",
      query: "x=1&y",
      authorization: "Bearer t",
      body: "hello",
    };
    const line = "GET /a?x=1&y HTTP/1.1";
    const authorization = "Authorization: Bearer t";
    const sized = await exchange(port, head(line, authorization, "Content-Length: 5"), "hello");
    assertEquals(bodyOf(sized), expected);
    const chunked = head(line, authorization, "Transfer-Encoding: chunked");
    const parts = ["2\r\nhe\r\n", "3\r\nllo\r\n", "0\r\n\r\n"];
    const answer = await exchange(port, chunked, ...parts);
    assertEquals(answer.includes('"body":"hello"'), true, answer);
    assert(/content-type: application\/json/i.test(answer));
    assert(/cache-control: no-store/i.test(answer));
  });
});

Deno.test("several requests ride one connection, each with its own answer", async () => {
  await withServer(async (_, port) => {
    const request = (path: string, ...more: string[]) =>
      [`GET ${path} HTTP/1.1`, "Host: x", ...more, "", ""].join("\r\n");
    const text = await exchange(
      port,
      request("/1"),
      request("/2"),
      request("/3", "Connection: close"),
    );
    assertEquals([...text.matchAll(/"path":"(\/\d)"/g)].map(([, path]) => path), [
      "/1",
      "/2",
      "/3",
    ]);
  });
});

Deno.test("a body beyond the limit is refused, announced or not, and the server goes on", async () => {
  await withServer(async (_, port) => {
    const size = limits.httpBodyBytes + 1;
    const announced = await exchange(port, head("POST / HTTP/1.1", `Content-Length: ${size}`));
    assert(announced.startsWith("HTTP/1.1 413"), announced);
    assertEquals(bodyOf(announced).code, "message_too_large");
    const chunk = new Uint8Array(256 * 1024).fill(0x61);
    const parts: (string | Uint8Array)[] = [];
    for (let sent = 0; sent <= size; sent += chunk.length) parts.push("40000\r\n", chunk, "\r\n");
    const chunked = head("POST / HTTP/1.1", "Transfer-Encoding: chunked");
    const streamed = await exchange(port, chunked, ...parts, "0\r\n\r\n");
    assert(streamed === "" || streamed.startsWith("HTTP/1.1 413"), streamed.slice(0, 99));
    assertEquals(bodyOf(await exchange(port, head("GET /ok HTTP/1.1"))).path, "/ok");
  });
});

Deno.test("bytes that are no HTTP, and headers without end, are refused", async () => {
  await withServer(async (_, port) => {
    const hostile = [
      "\x00\x01\x02\r\n\r\n",
      "GET\r\n\r\n",
      "GET / HTTP/9.9\r\n\r\n",
      head("GET / HTTP/1.1", "Content-Length: -1"),
      head("GET / HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked"),
      head("GET / HTTP/1.1", `X: ${"x".repeat(4 * limits.httpHeaderBytes)}`),
      head(`GET /${"x".repeat(4 * limits.httpHeaderBytes)} HTTP/1.1`),
    ];
    for (const bytes of hostile) {
      const answer = await exchange(port, bytes);
      assert(/^HTTP\/1\.1 4\d\d/.test(answer), `${bytes.slice(0, 40)}: ${answer}`);
    }
    assertEquals(bodyOf(await exchange(port, head("GET /ok HTTP/1.1"))).path, "/ok");
  });
});

Deno.test("who dribbles, stops in the middle or never speaks is let go", async () => {
  await withServer(async (_, port) => {
    const answers = await Promise.all([
      exchange(port, "GET / HTTP/1.1\r\nHos"),
      exchange(port, head("POST / HTTP/1.1", "Content-Length: 10"), "abc"),
      exchange(port, ""),
    ]);
    for (const answer of answers) {
      assert(answer === "" || answer.startsWith("HTTP/1.1 408"), answer);
    }
    assert(answers[0].includes('"status":"failure"'), answers[0]);
  }, { arrivalMs: 300 });
});

Deno.test("a handler learns that its client has gone", async () => {
  const { promise: seen, resolve } = Promise.withResolvers<AbortSignal>();
  const { promise: aborted, resolve: sawAbort } = Promise.withResolvers<void>();
  const handle = async (request: HttpRequest) => {
    resolve(request.signal);
    await new Promise<void>((done) => request.signal.addEventListener("abort", () => done()));
    sawAbort();
    return echo(request);
  };
  await withServer(async (_, port) => {
    const connection = await Deno.connect({ port });
    await connection.write(utf8(head("GET / HTTP/1.1")));
    assertEquals((await seen).aborted, false);
    connection.close();
    await aborted;
  }, { handle });
});

Deno.test("bodies that are held at the same time are bounded all together", async () => {
  const waiting: (() => void)[] = [];
  const handle = async (request: HttpRequest) => {
    await new Promise<void>((resolve) => waiting.push(resolve));
    return success({ size: request.body.length });
  };
  await withServer(async (_, port) => {
    const size = limits.httpBodyBytes;
    const most = limits.httpBodiesBytes / size;
    const body = new Uint8Array(size).fill(0x20);
    const request = () => exchange(port, head("POST / HTTP/1.1", `Content-Length: ${size}`), body);
    const held = Array.from({ length: most }, request);
    while (waiting.length < most) await new Promise((resolve) => setTimeout(resolve, 5));
    const refused = await request();
    assert(refused === "" || refused.startsWith("HTTP/1.1 503"), refused);
    for (const release of waiting.splice(0)) release();
    for (const answer of await Promise.all(held)) assertEquals(bodyOf(answer).size, size);
    const later = request();
    while (waiting.length < 1) await new Promise((resolve) => setTimeout(resolve, 5));
    waiting[0]();
    assertEquals(bodyOf(await later).size, size);
  }, { handle });
});

Deno.test("closing answers what is under way and takes no more", async () => {
  const { promise: started, resolve: start } = Promise.withResolvers<void>();
  const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
  const handle = async (request: HttpRequest) => {
    start();
    await finished;
    return echo(request);
  };
  await withServer(async (server, port) => {
    const answer = exchange(port, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    await started;
    const closed = server.close();
    finish();
    assertEquals(bodyOf(await answer).path, "/slow");
    await closed;
    const refused = await Deno.connect({ port }).then((connection) => {
      connection.close();
      return false;
    }, () => true);
    assert(refused);
  }, { handle });
});

Deno.test("an address that is taken is a clear error", async () => {
  await withServer(async (_, port) => {
    const handle = (request: HttpRequest) => Promise.resolve(echo(request));
    const error = await HttpServer.listen({ host: "127.0.0.1", port, clock: systemClock, handle })
      .catch((error) => error);
    assertEquals(error.code, "usage");
    assert(error.message.includes(`127.0.0.1:${port}`));
  });
});
