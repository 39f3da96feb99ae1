/**
 * The HTTP API: from a request to its answer, whatever the request is. The routes are in the files
 * of their subjects; what they have in common is here: the token, parameters, time, errors, counts.
 */

import { createHash } from "node:crypto";
import { assert } from "../base/assert.ts";
import { equalBytes } from "../base/bytes.ts";
import { toTrilogError, TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Logger } from "../base/logger.ts";
import { clusterRoutes } from "./cluster.ts";
import { Consuming } from "./consuming.ts";
import type { Queue, Route } from "./exchange.ts";
import {
  failure,
  type HttpAnswer,
  type HttpRequest,
  noSuchRoute,
  success,
  wrongMethod,
} from "./message.ts";
import { type Observation, observationRoutes } from "./observation.ts";
import { Parameters } from "./parameters.ts";
import { Producing } from "./producing.ts";
import { REFERENCE } from "./reference.ts";
import { RequestCounts } from "./request_counts.ts";
import { topicRoutes } from "./topics.ts";

export interface HttpApiOptions {
  readonly queue: Queue;
  readonly observation: Observation;
  readonly logger: Logger;
  /** Shared secret of the cluster; empty for none. */
  readonly token: string;
}

/** Parts of a request that began in time may last this much longer than they should. */
const GRACE_MS = 1_000;

export class HttpApi {
  readonly counts = new RequestCounts();
  /** By path, then by method. */
  private readonly routes = new Map<string, Map<string, Route>>();

  constructor(private readonly options: HttpApiOptions) {
    const { queue, observation } = options;
    const all = [
      ...topicRoutes(queue),
      ...new Producing(queue).routes(),
      ...new Consuming(queue).routes(),
      ...clusterRoutes(queue),
      ...observationRoutes(queue, observation, () => this.counts.families()),
      { method: "GET", path: "/", run: () => Promise.resolve(success({ routes: REFERENCE })) },
    ];
    for (const route of all) {
      assert(
        Object.hasOwn(REFERENCE, `${route.method} ${route.path}`),
        "every route is in the reference",
      );
      const methods = this.routes.get(route.path) ?? new Map<string, Route>();
      this.routes.set(route.path, methods.set(route.method, route));
    }
  }

  /** Answers a request; never rejects. */
  async handle(request: HttpRequest): Promise<HttpAnswer> {
    const { clock } = this.options.queue;
    const startMs = clock.monotonicMs();
    const methods = this.routes.get(request.path);
    const route = methods?.get(request.method);
    const answer = await this.answer(request, methods, route);
    const name = route === undefined ? "other" : `${route.method} ${route.path}`;
    this.counts.count(name, answer.status, clock.monotonicMs() - startMs);
    return answer;
  }

  private async answer(
    request: HttpRequest,
    methods: ReadonlyMap<string, Route> | undefined,
    route: Route | undefined,
  ): Promise<HttpAnswer> {
    try {
      this.checkToken(request.authorization);
      if (methods === undefined) throw noSuchRoute();
      if (route === undefined) return wrongMethod([...methods.keys()]);
      return await this.run(route, request);
    } catch (thrown) {
      const error = toTrilogError(thrown);
      if (error.code === "internal") {
        this.options.logger.error("an HTTP request failed", {
          path: request.path,
          reason: error.message,
        });
      }
      return failure(error);
    }
  }

  /** What a route makes of a request, or `outcome_unknown` where it takes too long for that. */
  private async run(route: Route, request: HttpRequest): Promise<HttpAnswer> {
    const { clock } = this.options.queue;
    const endMs = clock.monotonicMs() + limits.answerMs;
    const late = new AbortController();
    const { promise: overdue, reject } = Promise.withResolvers<never>();
    const timer = clock.after(limits.answerMs + GRACE_MS, () => {
      late.abort();
      reject(
        new TrilogError(
          "outcome_unknown",
          "Cannot determine the outcome of request: it takes too long",
        ),
      );
    });
    try {
      const answer = route.run({
        parameters: Parameters.of(request),
        signal: AbortSignal.any([request.signal, late.signal]),
        leftMs: () => Math.max(1, Math.floor(endMs - clock.monotonicMs())),
      });
      return await Promise.race([answer, overdue]);
    } finally {
      timer.cancel();
    }
  }

  private checkToken(authorization: string): void {
    const { token } = this.options;
    if (token === "") return;
    const [, given] = /^Bearer +(\S+)$/i.exec(authorization.trim()) ?? [];
    // Hashes are compared, so that the time taken says nothing of the token.
    if (given !== undefined && equalBytes(digest(given), digest(token))) return;
    throw new TrilogError("unauthorized", "Cannot serve request: Authorization: Bearer is needed");
  }
}

function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
