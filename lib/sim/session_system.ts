/** A system under sessions: clients ask any node, and a service there answers (`Trade`). */

import type { Prng } from "../base/prng.ts";
import { GroupService, PROPOSE_METHOD } from "../replica/group_service.ts";
import { SessionMachine } from "../replica/sessions.ts";
import type { StateMachine } from "../replica/state_machine.ts";
import { CommandWatch } from "./command_watch.ts";
import type { SimOptions } from "./options.ts";
import type { SimProcess } from "./process.ts";
import { auditLedger } from "./session_audit.ts";
import type { Operations, Reach, Seat, Serve, SimClient, System, SystemReplica } from "./system.ts";
import type { Trade } from "./trade.ts";
import { Customer, type Ledger } from "./workload.ts";

/** Election timeouts that a node tries to serve one customer. */
const SERVICE_TIMEOUTS = 8;

export class SessionSystem<Command, Question, Answer, Machine extends StateMachine>
  implements System {
  readonly compaction = "previous";
  private readonly ledgers: Ledger<Command, Question, Answer>[];

  constructor(
    private readonly options: SimOptions,
    private readonly trade: Trade<Command, Question, Answer, Machine>,
  ) {
    this.ledgers = [...Array(options.groups).keys()].map(() => ({
      watch: new CommandWatch(trade.decodeCommand, trade.requestIdOf),
      known: 0,
      mutations: [],
      looks: [],
    }));
  }

  open(group: number): SystemReplica {
    const machine = this.trade.newMachine();
    return {
      machine: new SessionMachine(this.ledgers[group].watch.watch(machine)),
      serve: (seat) => this.serve(machine, seat),
      audit: () => {},
    };
  }

  blank(): StateMachine {
    return new SessionMachine(this.trade.newMachine());
  }

  newClient(process: SimProcess, random: Prng, reach: Reach): SimClient {
    return new Customer(process, this.trade, this.ledgers, reach, random);
  }

  audit(group: number): void {
    auditLedger(`g${group + 1}`, this.trade, this.ledgers[group]);
  }

  get operations(): Operations {
    const mutations = this.ledgers.flatMap(({ mutations }) => mutations);
    return {
      acknowledged: mutations.filter(({ outcome }) => outcome === "acknowledged").length,
      reads: this.ledgers.reduce((sum, { looks }) => sum + looks.length, 0),
    };
  }

  private serve(machine: Machine, seat: Seat): Serve {
    const { clock, random, caller, replica } = seat;
    const service = new GroupService({
      clock,
      random,
      caller,
      replica: () => replica,
      addressOf: (id) => replica.raft.membership.nodes[id]?.address,
      reads: seat.leases ? "lease" : "index",
    });
    this.trade.background(machine, seat, service);
    const deadlineMs = SERVICE_TIMEOUTS * this.options.electionTimeoutMs;
    return async (method, params) => {
      if (method === PROPOSE_METHOD) return await service.servePropose(params);
      if (method === "command") return await service.command(params as Uint8Array, deadlineMs);
      return await service.query(params as Uint8Array, false, deadlineMs);
    };
  }
}
