/**
 * The queue as a simulated system: partitions as brokers serve them, with their retention. Who
 * gives brokers their partitions is left out: every group is there on every node.
 */

import { silentLogger } from "../base/logger.ts";
import { TrilogError } from "../base/errors.ts";
import type { Packable } from "../base/msgpack.ts";
import type { Prng } from "../base/prng.ts";
import { Fetching, Gathering } from "../broker/fetching.ts";
import { claim, commit } from "../broker/offsets.ts";
import { PartitionMachine } from "../broker/partition.ts";
import { produce } from "../broker/producing.ts";
import { dropTrimmed, Retention } from "../broker/retention.ts";
import { ServedPartition } from "../broker/served_partition.ts";
import { claimMethod, commitMethod, fetchMethod, produceMethod } from "../client/protocol.ts";
import type { Method } from "../client/protocol_method.ts";
import type { StateMachine } from "../replica/state_machine.ts";
import { CommandWatch } from "./command_watch.ts";
import type { SimOptions } from "./options.ts";
import type { SimProcess } from "./process.ts";
import { auditStory, newStory, type PartitionStory } from "./queue_audit.ts";
import { decodeQueueCommand, nameOfCommand, QueueBooks, type QueueCommand } from "./queue_books.ts";
import { QueueClient, TOPIC } from "./queue_client.ts";
import type { Operations, Reach, Seat, Serve, SimClient, System, SystemReplica } from "./system.ts";

/** How often a leader looks for what may go. */
const RETENTION_EVERY_MS = 300;
/** Segments that are kept of each partition, and how old their messages may be. */
const RETAINED_SEGMENTS = 2;
const RETENTION_MS = 4_000;

/** One partition on the one side of the wire and the other. */
interface Partition {
  readonly name: string;
  readonly watch: CommandWatch<QueueCommand>;
  readonly story: PartitionStory;
  /** As of so many commands. */
  books: { readonly commands: number; readonly books: QueueBooks } | null;
}

export class QueueSystem implements System {
  readonly compaction = "manual";
  private readonly partitions: Partition[];

  constructor(private readonly options: SimOptions) {
    this.partitions = [...Array(options.groups).keys()].map((at) => ({
      name: `g${at + 1}`,
      watch: new CommandWatch(decodeQueueCommand, nameOfCommand),
      story: newStory(),
      books: null,
    }));
  }

  open(group: number): SystemReplica {
    const machine = new PartitionMachine();
    let served: ServedPartition | null = null;
    return {
      machine: this.partitions[group].watch.watch(machine),
      serve: (seat) => {
        served = this.newPartition(group, machine, seat);
        this.retain(
          new Retention({ clock: seat.clock, logger: silentLogger }),
          group,
          served,
          seat,
        );
        return fencing(serve(served, new Fetching(seat.clock)), seat);
      },
      audit: () => {
        if (served !== null) this.auditRetained(group, served);
      },
    };
  }

  blank(): StateMachine {
    return new PartitionMachine();
  }

  newClient(process: SimProcess, random: Prng, reach: Reach): SimClient {
    return new QueueClient(process, this.partitions.map(({ story }) => story), reach, random);
  }

  audit(group: number): void {
    auditStory(this.booksOf(group), this.partitions[group].story);
  }

  get operations(): Operations {
    const stories = this.partitions.map(({ story }) => story);
    const sum = (count: (story: PartitionStory) => number) =>
      stories.reduce((total, story) => total + count(story), 0);
    const noted = this.partitions.flatMap(({ watch }) => watch.inOrder());
    return {
      acknowledged: sum(({ sent }) => sent.filter(({ offset }) => offset !== null).length),
      reads: sum(({ fetches }) => fetches.length),
      positions: sum(({ positions }) => positions.length),
      trims: noted.filter(({ command }) => command.kind === "trim").length,
      duplicates: sum(({ answers }) => answers.filter(({ answer }) => answer.duplicate).length),
    };
  }

  private newPartition(group: number, machine: PartitionMachine, seat: Seat): ServedPartition {
    const { name } = this.partitions[group];
    const identity = { groupId: name, epoch: 0, topic: TOPIC, partition: group };
    const partition = new ServedPartition(identity, machine, seat.replica, seat.clock);
    seat.replica.onApplied(() => dropTrimmed(partition));
    return partition;
  }

  private retain(
    retention: Retention,
    group: number,
    partition: ServedPartition,
    seat: Seat,
  ): void {
    const retentionBytes = RETAINED_SEGMENTS * this.options.segmentBytes;
    const { story } = this.partitions[group];
    const noteDropped = () => {
      story.diskWasFull ||= partition.replica.diskFull;
      if (!story.diskWasFull) return;
      story.droppedTo = Math.max(story.droppedTo, partition.startOffset);
    };
    seat.clock.after(RETENTION_EVERY_MS, () => {
      // A drop is carried out in steps: what the last look began may have ended since.
      noteDropped();
      retention.lookAfter(partition, { retentionBytes, retentionMs: RETENTION_MS });
      noteDropped();
      this.retain(retention, group, partition, seat);
    });
  }

  /** Every retained message can be read from this replica, however it came to its log. */
  private auditRetained(group: number, partition: ServedPartition): void {
    const books = this.booksOf(group);
    const { machine, replica } = partition;
    const { startOffset, endOffset } = machine;
    // One that still catches up may not have come to the trim after which its snapshot was sent,
    // and one whose disk was full may have dropped what the group has not let go yet.
    const dropped = Math.min(partition.startOffset, this.partitions[group].story.droppedTo);
    const from = Math.max(startOffset, dropped, books.startAfter(Infinity));
    const gathering = new Gathering(partition, from, Infinity);
    gathering.readOn();
    books.demand(
      startOffset === books.startAfter(replica.appliedIndex),
      `a replica begins at offset ${startOffset}`,
    );
    books.demand(
      books.checkBatches(from, gathering.batches) === Math.max(from, endOffset),
      `a replica that goes from ${from} to ${endOffset} lacks ${gathering.nextOffset}`,
    );
  }

  private booksOf(group: number): QueueBooks {
    const partition = this.partitions[group];
    const { name, watch, books: kept } = partition;
    if (kept?.commands === watch.size) return kept.books;
    const books = new QueueBooks(name);
    for (const noted of watch.inOrder()) books.enter(noted);
    partition.books = { commands: watch.size, books };
    return books;
  }
}

/** A broker that finds rot while it serves ends that replica's part in its group. */
function fencing(serve: Serve, seat: Seat): Serve {
  return async (method, params) => {
    try {
      return await serve(method, params);
    } catch (thrown) {
      if (!(thrown instanceof TrilogError) || thrown.code !== "corrupt") throw thrown;
      seat.fail(thrown);
      throw new TrilogError("unknown_group", `Cannot answer ${method}: the replica has rotted`);
    }
  };
}

/** What a broker does with requests to one of its partitions. */
function serve(partition: ServedPartition, fetching: Fetching): Serve {
  const never = new AbortController().signal;
  const on = <Request, Answer>(
    method: Method<Request, Answer>,
    run: (request: Request) => Promise<Answer>,
  ): [string, (params: Packable) => Promise<Packable>] => [
    method.name,
    async (params) => method.answer.encode(await run(method.request.decode(params, method.name))),
  ];
  const methods = new Map([
    on(produceMethod, (request) => produce(partition, request)),
    on(fetchMethod, (request) => fetching.fetch(partition, request, () => never)),
    on(claimMethod, (request) => claim(partition, request)),
    on(commitMethod, (request) => commit(partition, request)),
  ]);
  return async (method, params) => {
    const run = methods.get(method);
    if (run === undefined) {
      throw new TrilogError("unknown_method", `Cannot answer ${method}: no such method`);
    }
    return await run(params);
  };
}
