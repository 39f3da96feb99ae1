/**
 * Replays a trace of `trilog sim --tla` against the actions of the published Raft specification
 * (Ongaro's raft.tla). Each step of a server must be a sequence of these: Restart, Timeout,
 * RequestVote, BecomeLeader, ClientRequest, AppendEntries, AdvanceCommitIndex, UpdateTerm, the
 * handlers of the four messages, and the additions that lib/sim/DESIGN.md lists.
 *
 *     deno run -A tests/sim/tla/check.ts FILE
 */

import { SpecServer } from "./server.ts";
import type { ReadyEvent, Restart, SpecMessage, Step, TraceEvent } from "./trace.ts";
import { NotAllowed, World } from "./world.ts";

const keyOf = (message: SpecMessage) => JSON.stringify(message);
/** Messages that are not in the published specification, or never leave a process. */
const NOT_SENT = ["InstallSnapshot", "PreVoteRequest", "PreVoteResponse", "Other"];

class Checker {
  private world: World | null = null;
  private readonly servers = new Map<string, SpecServer>();

  take(event: TraceEvent): void {
    if (event.event === "Init") {
      this.world = new World(event.servers);
      return;
    }
    const world = this.world;
    if (world === null) throw new NotAllowed("the trace does not begin with Init");
    if (!world.servers.includes(event.server)) {
      throw new NotAllowed(`${event.server} is none of the servers: members do not change here`);
    }
    if (event.event === "Restart") this.restart(world, event);
    else if (event.event === "Step") this.step(world, event);
    else this.ready(world, event);
  }

  get actions(): ReadonlyMap<string, number> {
    return this.world?.actions ?? new Map();
  }

  private restart(world: World, event: Restart): void {
    const known = this.servers.get(event.server);
    const server = known ?? new SpecServer(world, event.server);
    this.servers.set(event.server, server);
    server.restart(event);
    world.took(known === undefined ? "Init" : "Restart");
  }

  private step(world: World, event: Step): void {
    const { input, server } = event;
    if ("message" in input) {
      const { message } = input;
      const { mtype, mdest } = message;
      if (mdest !== server) throw new NotAllowed(`a message to ${mdest} was received by ${server}`);
      if (!NOT_SENT.includes(mtype) && !world.sent.has(keyOf(message))) {
        throw new NotAllowed(`no server has sent ${keyOf(message)}`);
      }
    }
    this.serverOf(event).step(event);
  }

  private ready(world: World, event: ReadyEvent): void {
    this.serverOf(event).ready(event);
    for (const message of event.sent) world.sent.add(keyOf(message));
  }

  private serverOf({ server }: Step | ReadyEvent): SpecServer {
    const found = this.servers.get(server);
    if (found === undefined) throw new NotAllowed(`${server} has not started`);
    return found;
  }
}

/** Checks every line; throws {@link NotAllowed} with the first that is no step. */
export function checkTrace(lines: Iterable<string>): ReadonlyMap<string, number> {
  const checker = new Checker();
  let number = 0;
  for (const line of lines) {
    number += 1;
    try {
      checker.take(JSON.parse(line) as TraceEvent);
    } catch (thrown) {
      if (!(thrown instanceof NotAllowed)) throw thrown;
      throw new NotAllowed(`line ${number}: ${thrown.message}\n${line}`);
    }
  }
  return checker.actions;
}

if (import.meta.main) {
  const [path] = Deno.args;
  const actions = checkTrace(Deno.readTextFileSync(path).trimEnd().split("\n"));
  for (const [action, count] of actions) console.log(`${action}: ${count}`);
}
