/** Makes the system that a simulation is of. */

import { bankTrade } from "./bank.ts";
import { kvTrade } from "./kv.ts";
import type { SimOptions } from "./options.ts";
import { QueueSystem } from "./queue_system.ts";
import { SessionSystem } from "./session_system.ts";
import type { System } from "./system.ts";

export function newSystem(options: SimOptions): System {
  switch (options.system) {
    case "atm":
      return new SessionSystem(options, bankTrade);
    case "kv":
      return new SessionSystem(options, kvTrade);
    case "queue":
      return new QueueSystem(options);
  }
}
