/** A plain client of the HTTP API, as course work or a script has one. Imports nothing of lib. */

import { type ClientRequest, request as nodeRequest } from "node:http";
import { eventually } from "./harness.ts";

export interface Answered {
  readonly http: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  // deno-lint-ignore no-explicit-any
  readonly [field: string]: any;
}

/** An answer may take as long as the servers promise for one, and the way. */
const PATIENCE_MS = 10_000;

/**
 * `METHOD PATH` with parameters as a JSON body, for GET too. Rejects when there is no answer at
 * all: the connection is refused or breaks, or `patienceMs` pass.
 */
export function ask(
  address: string,
  line: string,
  parameters?: object,
  headers: Readonly<Record<string, string>> = {},
  patienceMs: number = PATIENCE_MS,
): Promise<Answered> {
  const [method, path] = line.split(" ");
  const body = parameters === undefined ? "" : JSON.stringify(parameters);
  const length = String(new TextEncoder().encode(body).length);
  const all = { ...headers, "content-length": length, connection: "close" };
  return new Promise((resolve, reject) => {
    const outgoing: ClientRequest = nodeRequest(
      `http://${address}${path}`,
      { method, headers: all, timeout: patienceMs },
      (incoming) => {
        let text = "";
        incoming.setEncoding("utf8");
        incoming.on("data", (part: string) => text += part);
        incoming.on("error", reject);
        incoming.on("end", () => {
          const { statusCode = 0, headers } = incoming;
          const isJson = headers["content-type"] === "application/json";
          try {
            resolve({ http: statusCode, headers, text, ...(isJson ? JSON.parse(text) : {}) });
          } catch (error) {
            reject(error);
          }
        });
      },
    );
    outgoing.on("timeout", () => outgoing.destroy(new Error("no answer in time")));
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

/** A client that knows several managers and repeats what failed for want of a server. */
export class PersistentClient {
  private next: number;

  /** `first`: which of the managers it turns to first; `patienceMs`: when it tries the next. */
  constructor(
    private readonly managers: readonly string[],
    first = 0,
    private readonly patienceMs = PATIENCE_MS,
  ) {
    this.next = first;
  }

  /**
   * The answer of whichever manager gives one that is not 503. Whoever repeats a request that takes
   * or makes something names it by a `request_id`.
   */
  async done(line: string, parameters: object = {}): Promise<Answered> {
    const answer = await eventually(`${line} to be answered`, async () => {
      const address = this.managers[this.next % this.managers.length];
      const answer = await ask(address, line, parameters, {}, this.patienceMs)
        .catch(() => null);
      if (answer !== null && answer.http !== 503) return answer;
      this.next += 1;
      return null;
    }, 60_000);
    if (answer.status === "success") return answer;
    throw new Error(`${line} ${JSON.stringify(parameters)} was refused: ${answer.text}`);
  }
}
