/** The conformance suite on every `LogStore` there is. */

import { Prng } from "../../lib/base/prng.ts";
import { SimDisk } from "../../lib/sim/disk.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";
import { DenoDisk } from "../../lib/storage/deno_disk.ts";
import { MemoryLog } from "../../lib/storage/memory_log.ts";
import { conformanceCases, type Home } from "./conformance.ts";
import { founders, identity, openLog } from "./fixtures.ts";
import { JournalDisk } from "./journal_disk.ts";

function inMemory(): Home {
  let log: MemoryLog | undefined;
  return {
    open: () => log = new MemoryLog({ identity, bootstrap: founders }, log),
    settle: (promise) => promise,
    dispose: () => {},
  };
}

function onJournalDisk(segmentBytes: number): Home {
  const disk = new JournalDisk();
  return {
    open: () => openLog(disk, { segmentBytes }),
    settle: (promise) => promise,
    dispose: () => {},
  };
}

function onSimulatedDisk(): Home {
  const scheduler = new Scheduler();
  const disk = new SimDisk(new SimProcess(scheduler, "a1"), new Prng(1));
  return {
    open: () => openLog(disk, { segmentBytes: 700 }),
    // Its syncs take virtual time, which passes only when somebody lets it.
    async settle(promise) {
      let settled = false;
      const watched = promise.finally(() => settled = true);
      watched.catch(() => {});
      await scheduler.runUntil(scheduler.nowMs + 1_000, () => settled);
      await watched;
    },
    dispose: () => {},
  };
}

function onDenoDisk(): Home {
  const root = Deno.makeTempDirSync({ prefix: "trilog-storage-" });
  return {
    open: () => openLog(new DenoDisk(root), { segmentBytes: 700 }),
    settle: (promise) => promise,
    dispose: () => Deno.removeSync(root, { recursive: true }),
  };
}

const homes: Readonly<Record<string, () => Home>> = {
  "in memory": inMemory,
  "in one segment": () => onJournalDisk(1e9),
  "in many segments": () => onJournalDisk(700),
  "on the simulated disk": onSimulatedDisk,
  "in many segments of a real disk": onDenoDisk,
};

for (const [place, make] of Object.entries(homes)) {
  for (const { name, run } of conformanceCases) {
    Deno.test(`a log ${place}: ${name}`, async () => {
      const home = make();
      try {
        await run(home);
      } finally {
        home.dispose();
      }
    });
  }
}
