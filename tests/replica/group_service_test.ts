import { assertEquals, assertRejects } from "@std/assert";
import { EMPTY_BYTES, textOf, utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { Prng } from "../../lib/base/prng.ts";
import { GroupService } from "../../lib/replica/group_service.ts";
import type { Replica } from "../../lib/replica/replica.ts";
import { SessionMachine } from "../../lib/replica/sessions.ts";
import type { StateMachine } from "../../lib/replica/state_machine.ts";
import { VirtualClock } from "../atm/virtual_clock.ts";

/** Notes the commands that it executed. */
class Executed implements StateMachine {
  readonly commands: string[] = [];
  apply(command: Uint8Array): Uint8Array {
    this.commands.push(textOf(command));
    return command;
  }
  query(): Uint8Array {
    return EMPTY_BYTES;
  }
  snapshot(): Uint8Array {
    return EMPTY_BYTES;
  }
  restore(): void {}
}

/** A node that leads; `fails` says what becomes of an answer that the machine has given. */
function leadingNode(fails: (index: number) => TrilogError | null) {
  const clock = new VirtualClock();
  const machine = new Executed();
  const sessions = new SessionMachine(machine);
  let index = 0;
  const propose = (command: Uint8Array) => {
    index += 1;
    const answer = sessions.apply(command, { index, term: 1, timeMs: index });
    const failure = fails(index);
    return failure === null ? Promise.resolve({ answer }) : Promise.reject(failure);
  };
  const service = new GroupService({
    clock,
    random: new Prng(3),
    caller: { call: () => Promise.reject(new Error("not used")) },
    replica: () => ({ isLeader: true, propose, missingQuorum: () => null }) as unknown as Replica,
    addressOf: () => undefined,
  });
  return { clock, machine, service };
}

const lost = () => new TrilogError("outcome_unknown", "Cannot answer: lost");

Deno.test("a command whose outcome is unknown at its deadline is not run under another session", async () => {
  let healed = false;
  // Entry 1 opens the session; every answer after it is lost until the deadline.
  const { clock, machine, service } = leadingNode((index) => index === 1 || healed ? null : lost());
  const command = service.command(utf8("pay"), 1_000);
  clock.after(1_000, () => {
    healed = true;
  });
  const { code } = await assertRejects(() => clock.settle(command), TrilogError) as TrilogError;
  healed = true;
  assertEquals([code, machine.commands], ["outcome_unknown", ["pay"]]);
  assertEquals(textOf(await clock.settle(service.command(utf8("next"), 1_000))), "next");
  assertEquals(machine.commands, ["pay", "next"]);
});

Deno.test("a command that may have happened once is never reported as certainly not done", async () => {
  // The first attempt loses its answer, the others find no leader.
  const { clock, machine, service } = leadingNode((index) =>
    index === 1
      ? null
      : index === 2
      ? lost()
      : new TrilogError("unavailable", "Cannot reach the leader: none is known")
  );
  const command = service.command(utf8("pay"), 1_000);
  const { code } = await assertRejects(() => clock.settle(command), TrilogError) as TrilogError;
  assertEquals([code, machine.commands], ["outcome_unknown", ["pay"]]);
});
