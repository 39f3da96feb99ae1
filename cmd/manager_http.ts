/** The HTTP API of a manager's process: a client of the whole cluster behind a port of its own. */

import type { Logger } from "../lib/base/logger.ts";
import { toTrilogError } from "../lib/base/errors.ts";
import { pack } from "../lib/base/msgpack.ts";
import { systemClock } from "../lib/base/system_clock.ts";
import { Client } from "../lib/client/client.ts";
import { metricsMethod } from "../lib/client/protocol.ts";
import { HttpApi } from "../lib/http/api.ts";
import { HttpServer } from "../lib/http/system_server.ts";
import type { Node } from "../lib/replica/node.ts";

export interface ManagerHttpOptions {
  readonly name: string;
  /** `host:port`; port 0 picks one. */
  readonly listen: string;
  readonly token: string;
  /** Addresses of all managers, as they are known at the start. */
  readonly managers: readonly string[];
  readonly node: Node;
  /** Most open connections. */
  readonly maxConnections: number;
  readonly logger: Logger;
  /** Told where the port cannot be bound. */
  readonly onFatal: (error: unknown) => void;
}

/** Any question serves as a read barrier; this one has a short answer. */
const BARRIER = pack("cluster");
/** Time for requests under way when the manager stops. */
const STOP_GRACE_MS = 2_000;

export class ManagerHttp {
  private readonly client: Client;
  private readonly listening: Promise<HttpServer | null>;

  constructor(private readonly options: ManagerHttpOptions) {
    const { name, token, node, logger } = options;
    const bootstrap = [node.address, ...options.managers];
    this.client = Client.unconnected({ bootstrap, token, name: "http" });
    const api = new HttpApi({
      queue: this.client,
      logger,
      token,
      observation: {
        name,
        ready: async (deadlineMs) => {
          await node.service.query(BARRIER, false, deadlineMs);
        },
        metrics: async (address, deadlineMs) => {
          const request = { asker: name };
          return (await this.client.askServer(address, metricsMethod, request, deadlineMs))
            .families;
        },
      },
    });
    this.listening = this.listen(api);
  }

  async stop(): Promise<void> {
    const server = await this.listening;
    if (server !== null) {
      const timer = systemClock.after(STOP_GRACE_MS, () => server.closeNow());
      await server.close();
      timer.cancel();
    }
    this.client.close();
  }

  private async listen(api: HttpApi): Promise<HttpServer | null> {
    const { listen, logger, onFatal } = this.options;
    try {
      const colon = listen.lastIndexOf(":");
      const host = listen.slice(0, colon).replace(/^\[(.*)\]$/, "$1");
      const port = Number(listen.slice(colon + 1));
      const handle = api.handle.bind(api);
      const { maxConnections } = this.options;
      const server = await HttpServer.listen({
        host,
        port,
        clock: systemClock,
        handle,
        maxConnections,
      });
      logger.info("serving HTTP", { address: server.address });
      return server;
    } catch (thrown) {
      onFatal(toTrilogError(thrown));
      return null;
    }
  }
}
