/**
 * Random runs over the simulated disk, over several lives: power losses, kills, full disks and
 * trims at random moments. After each, what was acknowledged is there and nothing is invented.
 */

import { assert } from "@std/assert";
import { TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import { quickDisk, SimDisk } from "../../lib/sim/disk.ts";
import { SimProcess } from "../../lib/sim/process.ts";
import { Scheduler } from "../../lib/sim/scheduler.ts";
import { verifyDirectory } from "../../lib/storage/inspect.ts";
import { change, commands, membershipOf, openLog } from "./fixtures.ts";
import { comparable, mayBe, Recorder, stateOf } from "./recorder.ts";

const SEEDS = 40;
const LIVES = 5;

function randomAppend(run: Recorder, random: Prng): void {
  const { log, state } = run;
  const { hardState, base } = state;
  const lowest = Math.max((base?.last.index ?? 0) + 1, log.lastIndex() - 3);
  const from = random.chance(0.2)
    ? random.between(lowest, log.lastIndex() + 1)
    : log.lastIndex() + 1;
  const term = hardState.term + (random.chance(0.3) ? 1 : 0);
  const next = random.chance(0.5)
    ? { term, vote: random.pick(["r1", "r2", null]), commit: Math.max(0, lowest - 1) }
    : null;
  const bytes = random.pick([0, 10, 200, 1_500]);
  const entries = random.chance(0.1)
    ? [change(from, term, membershipOf("r1", "r2"))]
    : commands(from, from + random.below(4), term, bytes);
  run.append(next, random.chance(0.1) ? [] : entries);
}

function randomSnapshot(run: Recorder, random: Prng): void {
  const { log, state } = run;
  const base = state.base?.last.index ?? 0;
  const kind = random.below(3);
  if (kind === 0) {
    const beyond = run.snapshot(log.lastIndex() + random.between(1, 20), state.hardState.term + 1);
    run.adopt(beyond, { ...state.hardState, term: state.hardState.term + 2 });
    return;
  }
  const index = random.between(base, log.lastIndex());
  const term = log.termAt(index);
  if (index <= base || term === null) return;
  const meta = run.snapshot(index, term);
  if (kind === 1) run.trim(meta);
  else run.adopt(meta, { ...state.hardState, term: state.hardState.term + 1 });
}

/** One life of a process: some steps, and a crash in which unsynced writes fare as they do. */
function live(run: Recorder, disk: SimDisk, random: Prng): void {
  for (let step = random.below(40); step >= 0; step -= 1) {
    const dice = random.below(20);
    if (dice < 12) randomAppend(run, random);
    else if (dice < 16) run.sync();
    else if (dice < 18) run.log.mark();
    else if (dice < 19) randomSnapshot(run, random);
    else disk.fill(random.pick([0, 5_000, 1e6]));
  }
}

for (let group = 0; group < 4; group += 1) {
  Deno.test(`random lives on the simulated disk, part ${group + 1} of 4`, () => {
    for (let seed = group; seed < SEEDS; seed += 4) {
      const random = new Prng(seed);
      const scheduler = new Scheduler();
      const disk = new SimDisk(new SimProcess(scheduler, "a1"), random.fork(), quickDisk);
      const segmentBytes = random.pick([1_000, 4_000, 100_000]);
      let run = new Recorder(openLog(disk, { segmentBytes }), () => 0);
      for (let life = 0; life < LIVES; life += 1) {
        try {
          live(run, disk, random);
        } catch (thrown) {
          // A full disk ends a life early; the model has passed what may have been written.
          if (!(thrown instanceof TrilogError) || thrown.code !== "disk_full") throw thrown;
        }
        disk.crash(random.pick(["kill", "power", "power"]));
        disk.setCapacity(null);
        disk.attach(new SimProcess(scheduler, "a1"));
        const faults = verifyDirectory(disk)
          .filter(({ file, harmless }) => file !== "identity" && !harmless);
        const where = `seed ${seed}, life ${life}`;
        assert(faults.length === 0, `${where}: ${JSON.stringify(faults)}`);
        const log = openLog(disk, { segmentBytes });
        const found = stateOf(log);
        assert(mayBe(run, 0, found), `${where}: found ${comparable(found)}`);
        run = new Recorder(log, () => 0, found);
      }
    }
  });
}
