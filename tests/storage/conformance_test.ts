/** The conformance suite on every `LogStore` there is. */

import { DenoDisk } from "../../lib/storage/deno_disk.ts";
import { MemoryLog } from "../../lib/storage/memory_log.ts";
import { conformanceCases, type Home } from "./conformance.ts";
import { founders, identity, openLog } from "./fixtures.ts";
import { JournalDisk } from "./journal_disk.ts";

function inMemory(): Home {
  let log: MemoryLog | undefined;
  return {
    open: () => log = new MemoryLog({ identity, bootstrap: founders }, log),
    dispose: () => {},
  };
}

function onJournalDisk(segmentBytes: number): Home {
  const disk = new JournalDisk();
  return { open: () => openLog(disk, { segmentBytes }), dispose: () => {} };
}

function onDenoDisk(): Home {
  const root = Deno.makeTempDirSync({ prefix: "trilog-storage-" });
  return {
    open: () => openLog(new DenoDisk(root), { segmentBytes: 700 }),
    dispose: () => Deno.removeSync(root, { recursive: true }),
  };
}

const homes: Readonly<Record<string, () => Home>> = {
  "in memory": inMemory,
  "in one segment": () => onJournalDisk(1e9),
  "in many segments": () => onJournalDisk(700),
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
