/** Where the HTTP API of any manager registers its producers and consumers, and looks them up. */

import {
  forgetMethod,
  type Method,
  registerMethod,
  registrationMethod,
  retireConsumerMethod,
} from "../client/protocol.ts";
import type { Call } from "../net/rpc.ts";
import type { Command } from "./command.ts";
import type { MetadataMachine } from "./metadata.ts";
import { forget, register, registrationView, retireConsumer } from "./registrations.ts";

export interface RegistrationDeskOptions {
  readonly machine: MetadataMachine;
  readonly serve: <Request, Answer>(
    method: Method<Request, Answer>,
    run: (request: Request, call: Call) => Promise<Answer>,
  ) => void;
  /** Replicates a command. */
  readonly run: <Fields, Answer>(
    command: Command<Fields, Answer>,
    fields: Fields,
    requestId: string,
    call: Call,
  ) => Promise<Answer>;
  /** Resolves when the state here is as new as any that was acknowledged before. */
  readonly barrier: (call: Call) => Promise<void>;
}

export function serveRegistrations(options: RegistrationDeskOptions): void {
  const { machine, serve, run, barrier } = options;
  serve(
    registerMethod,
    ({ requestId, ...fields }, call) => run(register, fields, requestId, call),
  );
  serve(registrationMethod, async ({ kind, id, topic }, call) => {
    await barrier(call);
    return registrationView(machine.state, kind, id, topic);
  });
  serve(retireConsumerMethod, (request, call) => run(retireConsumer, request, "", call));
  serve(forgetMethod, ({ requestId, ...fields }, call) => run(forget, fields, requestId, call));
}
