/**
 * `deno task crashpoints`: a crash after every disk operation of both scripts, in every way, and a
 * flipped bit in every byte of a small directory. Takes some minutes. Writes the tables of
 * tests/README.md, or ends with 1 where something was lost. `deno task crashpoints "crash points"`
 * or `"flipped bytes"` makes one of the two tables.
 */

import { markdownTable, writeReadmeTable } from "../readme_table.ts";
import { brokerScript } from "./broker_script.ts";
import { nodeScript } from "./node_script.ts";
import { positionsOf, prepare, type Prepared, ROT_OUTCOMES, rotOne } from "./rot.ts";
import { CRASH_KINDS, type Operation, type Script, sweepOne, WAYS } from "./sweep.ts";

type Row = readonly (string | number)[];

let failures = 0;

/** Counts and shows what an attempt throws. */
async function attempt<T>(run: () => Promise<T>): Promise<T | null> {
  try {
    return await run();
  } catch (thrown) {
    failures += 1;
    console.error(thrown);
    return null;
  }
}

const KINDS: readonly { readonly title: string; readonly of: readonly Operation["operation"][] }[] =
  [
    { title: "writes", of: ["write"] },
    { title: "syncs", of: ["sync", "sync_directory"] },
    { title: "names made, changed", of: ["create", "make_directory", "rename"] },
    { title: "removals", of: ["remove"] },
    { title: "truncations", of: ["truncate"] },
  ];

async function sweep(script: Script): Promise<Row[]> {
  const operations = await script.record();
  const rows: Row[] = [];
  for (const stage of script.stages) {
    const points = operations.flatMap((made, at) => made.stage === stage ? [at + 1] : []);
    const failed = failures;
    for (const count of points) {
      for (const how of CRASH_KINDS) {
        await attempt(() => sweepOne(script, operations, count, how));
      }
    }
    const kinds = KINDS.map(({ of }) =>
      points.filter((count) => of.includes(operations[count - 1].operation)).length
    );
    const row = [stage, ...kinds, points.length * CRASH_KINDS.length, failures - failed];
    console.log(row.join(", "));
    rows.push(row);
  }
  return rows;
}

async function rot(prepared: Prepared): Promise<Row[]> {
  const rows: Row[] = [];
  for (const file of prepared.files) {
    const positions = positionsOf(file);
    const outcomes = new Map<string, number>();
    for (const position of positions) {
      const outcome = await attempt(() => rotOne(prepared, file.path, position)) ?? "failed";
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    const found = [...ROT_OUTCOMES, "failed"].filter((outcome) => outcomes.has(outcome));
    const texts = found.map((outcome) => `${outcome}: ${outcomes.get(outcome)}`);
    const row = [`\`${file.path}\``, file.sizeBytes, positions.length, texts.join("; ")];
    console.log(row.join(", "));
    rows.push(row);
  }
  return rows;
}

async function crashTable(): Promise<string> {
  const rows = [...await sweep(nodeScript), ...await sweep(brokerScript)];
  const ways = `crashes (${Object.values(WAYS).join(", ")})`;
  const titles = ["operations of", ...KINDS.map(({ title }) => title), ways, "failed"];
  return markdownTable(titles, rows);
}

async function flipTable(): Promise<string> {
  const titles = ["file", "bytes", "flipped", "what followed"];
  return markdownTable(titles, await rot(await prepare()));
}

const TABLES: Readonly<Record<string, () => Promise<string>>> = {
  "crash points": crashTable,
  "flipped bytes": flipTable,
};

const wanted = Deno.args.length > 0 ? Deno.args : Object.keys(TABLES);
for (const name of wanted) {
  if (Object.hasOwn(TABLES, name)) continue;
  console.error(`Cannot sweep ${name}: there are ${Object.keys(TABLES).join(", ")}`);
  Deno.exit(2);
}
for (const name of wanted) {
  const table = await TABLES[name]();
  if (failures > 0) {
    console.error(`${failures} failed`);
    Deno.exit(1);
  }
  await writeReadmeTable(name, table);
}
