/** The ATM at a real terminal: prompt, completion, history, Ctrl-C and Ctrl-D. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { AtmCluster, type AtmNode } from "./atm_cluster.ts";
import { eventually, freePort, type Harness, type Running, withHarness } from "./harness.ts";

const SCRIPT = "/usr/bin/script";

/** util-linux's script(1) lends a terminal to a process; without it these tests are skipped. */
function hasScript(): boolean {
  try {
    return Deno.statSync(SCRIPT).isFile;
  } catch {
    return false;
  }
}

/** Somebody at a terminal of their own. */
class Person {
  private constructor(private readonly process: Running) {}

  static sitDown(harness: Harness, words: readonly string[], history = ""): Person {
    const line = `TRILOG_HISTORY=${history} exec ` +
      [harness.binary, ...words].map((word) => `'${word}'`).join(" ");
    return new Person(harness.startCommand(SCRIPT, "-qec", line, "/dev/null"));
  }

  async press(keys: string): Promise<void> {
    await this.process.write(keys);
  }

  /** Everything on the screen so far, without what moves the cursor. */
  get screen(): string {
    // deno-lint-ignore no-control-regex
    return this.process.text("stdout").replace(/\x1b\[[0-?]*[@-~]/g, "");
  }

  async sees(text: string): Promise<void> {
    await eventually(`"${text}" on the screen`, () => {
      if (this.screen.includes(text)) return true;
      throw new Error(this.screen);
    });
  }

  async leaves(): Promise<number> {
    return await this.process.status();
  }
}

function address({ port }: AtmNode): string {
  return `127.0.0.1:${port}`;
}

Deno.test({
  name: "a terminal has a prompt, completes commands, recalls lines, and ends with Ctrl-D",
  ignore: !hasScript(),
  fn: () =>
    withHarness(async (harness) => {
      const cluster = await AtmCluster.start(harness, 1);
      const words = ["atm", "--connect", address(cluster.nodes[0])];
      const history = `${harness.temporaryDirectory()}/history`;
      const person = Person.sitDown(harness, words, history);
      await person.sees("atm> ");
      await person.press("dep\talice 5\r");
      await person.sees("alice 5.00\r\n");
      await person.press("\x1b[A\r");
      await person.sees("alice 10.00\r\n");
      await person.press("withdraw alice 11\r");
      await person.sees("error insufficient_funds: ");
      await person.press("withdraw alice 1\x15deposit alice 0.25\r");
      await person.sees("alice 10.25\r\n");
      await person.press("help\r");
      await person.sees("move money between two accounts");
      await person.press("\x04");
      // A failed command is no failure of somebody who saw it and went on.
      assertEquals(await person.leaves(), 0);
      const later = Person.sitDown(harness, words, history);
      await later.sees("atm> ");
      await later.press("\x1b[A\x1b[A\r");
      await later.sees("alice 10.50\r\n");
      await later.press("exit\r");
      assertEquals(await later.leaves(), 0);
    }),
});

Deno.test({
  name: "Ctrl-C gives up a line, and on an empty one ends a terminal with 130",
  ignore: !hasScript(),
  fn: () =>
    withHarness(async (harness) => {
      const cluster = await AtmCluster.start(harness, 1);
      const person = Person.sitDown(harness, ["atm", "--connect", address(cluster.nodes[0])]);
      await person.sees("atm> ");
      await person.press("deposit alice 5\x03");
      await person.sees("^C");
      await person.press("accounts\r");
      await person.sees("no accounts");
      await person.press("\x03");
      assertEquals(await person.leaves(), 130);
    }),
});

Deno.test({
  name: "three people at ATMs of their own share a bank, and go on when one's is killed",
  ignore: !hasScript(),
  fn: () =>
    withHarness(async (harness) => {
      const cluster = await AtmCluster.start(harness, 3);
      const victim = cluster.names[2];
      await Promise.all(cluster.names.map((name) => cluster.process(name).terminate()));
      const people = cluster.names.map((name) => Person.sitDown(harness, cluster.words(name)));
      for (const [at, person] of people.entries()) await person.sees(`a${at + 1}> `);
      await people[0].press("deposit alice 5\r");
      await people[0].sees("alice 5.00");
      await people[2].press("withdraw alice 1.50\r");
      await people[2].sees("alice 3.50");
      await people[1].press("balance alice\r");
      await people[1].sees("alice 3.50");
      await people[2].press("\x03");
      assertEquals(await people[2].leaves(), 0, `${victim} is a server: it stopped cleanly`);
      await people[0].press("deposit alice 1\r");
      await people[0].sees("alice 4.50");
      await people[1].press("quit\r");
      await people[1].sees("bye");
      assertEquals(await people[1].leaves(), 0);
      assertStringIncludes(people[0].screen, "listening on ");
    }),
});

Deno.test({
  name: "a terminal of a lone ATM says which ATM it waits for, and so does a refused command",
  ignore: !hasScript(),
  fn: () =>
    withHarness(async (harness) => {
      const [own, other] = [`127.0.0.1:${freePort()}`, `127.0.0.1:${freePort()}`];
      const data = harness.temporaryDirectory();
      const person = Person.sitDown(
        harness,
        ["atm", "--id", "a1", "--listen", own, "--peers", `a1=${own},a2=${other}`, "--data", data],
      );
      const reason = `waiting for a2 at ${other} (`;
      await person.sees(`not in a cluster yet: ${reason}`);
      await person.press("deposit alice 5\r");
      await person.sees(`this node has not joined a cluster yet, ${reason}`);
      await person.press("\x04");
      await person.leaves();
    }),
});
