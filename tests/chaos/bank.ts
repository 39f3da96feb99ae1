/**
 * The bank under fire: customers at every ATM move money between five accounts and look at them.
 * Only transfers move money once the accounts are open, so every look at all accounts has to show
 * the same sum.
 */

import { Company, type Request } from "./asking.ts";
import type { Dice } from "./dice.ts";
import { eventually, sleep } from "../e2e/harness.ts";
import { GroupServers } from "./group_servers.ts";
import { checkLinearizable, type Event, History, type Open } from "./history.ts";
import { type Answer, Terminal } from "./terminal.ts";
import { Crew, type Scene, type Workload } from "./workload.ts";

const ACCOUNTS = ["p1", "p2", "p3", "p4", "p5"];
const OPENING_CENTS = 100_000;
export const TOTAL_CENTS = ACCOUNTS.length * OPENING_CENTS;

export async function startBank(scene: Scene): Promise<Workload> {
  const { harness, dice } = scene;
  const servers = await GroupServers.start(scene, "atm");
  const { terminals } = servers;
  const history = new History();
  const company = new Company(history, dice, terminals);
  await eventually("a bank that answers", async () => {
    return (await terminals[0].ask("accounts")).ok || null;
  });
  for (const account of ACCOUNTS) await company.ask("manager", terminals[0], opening(account));
  const crew = new Crew();
  for (const [at, terminal] of terminals.entries()) {
    let process = `customer${at + 1}`;
    crew.employ(async () => {
      process = await company.ask(process, terminal, nextRequest(dice));
      await sleep(dice.between(0, 30));
    });
  }
  return {
    history,
    leader: () => servers.leader(),
    whole: () => servers.whole(),
    check: () => crew.check(),
    async finish() {
      await servers.whole();
      await crew.stop();
      await servers.level();
      for (const [at, terminal] of terminals.entries()) {
        await company.ask(`auditor${at + 1}`, terminal, ALL_ACCOUNTS);
      }
      const looks = auditMoney(history.events, TOTAL_CENTS);
      const verdict = await checkLinearizable(harness, history.events, "bank");
      return [
        verdict,
        `money was conserved and no balance negative in ${looks} looks at all accounts`,
        `the slowest answer took ${Math.round(Terminal.slowestMs)} ms`,
      ];
    },
  };
}

/** Throws where a look at all accounts shows another sum or a debt; gives the number of looks. */
export function auditMoney(events: readonly Event[], totalCents: number): number {
  const looks = events.filter(({ f, type }) => f === "accounts" && type === "ok");
  for (const { value, process, time } of looks) {
    const cents = Object.values(value as Record<string, string>).map(centsOf);
    const sum = cents.reduce((total, one) => total + one, 0);
    if (sum !== totalCents || cents.some((one) => one < 0)) {
      throw new Error(
        `${process} saw ${JSON.stringify(value)} after ${Math.round(time)} ms: ` +
          `${sum} cents in all instead of ${totalCents}, or a debt`,
      );
    }
  }
  if (looks.length === 0) throw new Error("nobody ever saw all accounts");
  return looks.length;
}

function nextRequest(dice: Dice): Request {
  const chosen = dice.fraction();
  if (chosen < 0.1) return ALL_ACCOUNTS;
  const [from, to] = dice.shuffled(ACCOUNTS);
  return chosen < 0.35 ? balance(from) : transfer(from, to, dice.between(1, 30_000));
}

const ALL_ACCOUNTS: Request = {
  line: "accounts",
  f: "accounts",
  key: null,
  value: null,
  answer: ({ accounts }) =>
    Object.fromEntries(
      accounts.map(({ account, balance }: Answer) => [account, balance]),
    ),
  refusals: {},
};

function opening(account: string): Request {
  const amount = textOfCents(OPENING_CENTS);
  return {
    line: `deposit ${account} ${amount}`,
    f: "deposit",
    key: account,
    value: amount,
    answer: ({ balance }) => ({ balance }),
    refusals: {},
  };
}

function balance(account: string): Request {
  return {
    line: `balance ${account}`,
    f: "balance",
    key: account,
    value: null,
    answer: ({ balance }) => balance,
    refusals: {},
  };
}

function transfer(from: string, to: string, cents: number): Request {
  const amount = textOfCents(cents);
  return {
    line: `transfer ${from} ${to} ${amount}`,
    f: "transfer",
    key: null,
    value: { from, to, amount },
    answer: ({ fromBalance, toBalance }) => ({ fromBalance, toBalance }),
    refusals: { insufficient_funds: (open: Open) => open.fail("insufficient_funds") },
  };
}

function textOfCents(cents: number): string {
  return (cents / 100).toFixed(2);
}

function centsOf(text: string): number {
  return Math.round(Number(text) * 100);
}
