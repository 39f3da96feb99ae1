/** The programs of a deployment's machines, put together as `trilog manager` and `broker` do. */

import type { Prng } from "../../base/prng.ts";
import { Broker } from "../../broker/broker.ts";
import { Manager } from "../../manager/manager.ts";
import { MetadataMachine } from "../../manager/metadata.ts";
import type { NodeInfo } from "../../raft/types.ts";
import { Node } from "../../replica/node.ts";
import type { ProcessOptions } from "../../replica/process.ts";
import { Machine, type Program, type Surroundings } from "./machine.ts";

/** Raft group of the managers. */
export const METADATA_GROUP = "metadata";

export class ManagerMachine extends Machine {
  node: Node | null = null;
  metadata = new MetadataMachine();

  constructor(
    name: string,
    address: string,
    world: Surroundings,
    random: Prng,
    private readonly peers: readonly NodeInfo[],
  ) {
    super(name, address, world, random);
  }

  protected override launch(options: ProcessOptions): Program {
    const { liveness, upkeep, managerSegmentBytes } = this.world.options;
    const { clock, logger } = options;
    const node = Node.start({
      ...options,
      group: METADATA_GROUP,
      machine: () => this.metadata = new MetadataMachine(),
      peers: this.peers,
      segmentBytes: managerSegmentBytes,
    });
    this.node = node;
    const machine = this.metadata;
    const { rpc } = node.process;
    const manager = new Manager({ node, machine, rpc, clock, logger, liveness, upkeep });
    const stop = async () => {
      manager.stop();
      await node.stop();
    };
    return { server: node.process, stop };
  }
}

export class BrokerMachine extends Machine {
  broker: Broker | null = null;

  constructor(
    name: string,
    address: string,
    world: Surroundings,
    random: Prng,
    private readonly managers: readonly string[],
    private readonly rack: string,
  ) {
    super(name, address, world, random);
  }

  protected override launch(options: ProcessOptions): Program {
    const { segmentBytes, retentionEveryMs } = this.world.options;
    const { managers, rack } = this;
    const broker = Broker.start({ ...options, managers, rack, segmentBytes, retentionEveryMs });
    this.broker = broker;
    return { server: broker.process, stop: () => broker.stop() };
  }
}
