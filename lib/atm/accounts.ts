/** PURE. The accounts of the bank, and how they are frozen while movements go on. */

import type { HistoryRing } from "./history.ts";

export interface Account {
  readonly name: string;
  /** From 1, in the order of opening. */
  readonly number: number;
  /** From 0 to `limits.balanceCents`. */
  balanceCents: number;
  readonly history: HistoryRing;
}

/** An account in a snapshot. */
export type PackedAccount = readonly [name: string, balanceCents: number, history: Uint8Array];

/** What an account costs in the state beside its name and its history. */
const ACCOUNT_OVERHEAD_BYTES = 64;

export function newAccountBytes(name: string): number {
  return name.length + ACCOUNT_OVERHEAD_BYTES;
}

export function bytesOf({ name, history }: Account): number {
  return newAccountBytes(name) + history.packedBytes;
}

/**
 * All accounts as of a moment, taken one by one. An account that changes before its turn is kept as
 * it was, so the cost is that of the accounts that change meanwhile.
 */
export class FrozenAccounts {
  private readonly count: number;
  private next = 1;
  private readonly kept = new Map<number, PackedAccount>();

  /** `accounts`: account n at n - 1; only new ones may be added to the list. */
  constructor(private readonly accounts: readonly Account[]) {
    this.count = accounts.length;
  }

  /** Call it before an account changes. */
  keep(account: Account): void {
    const { number } = account;
    if (number < this.next || number > this.count || this.kept.has(number)) return;
    this.kept.set(number, packed(account));
  }

  *take(): Generator<PackedAccount, void, void> {
    while (this.next <= this.count) {
      const number = this.next;
      const account = this.kept.get(number) ?? packed(this.accounts[number - 1]);
      this.kept.delete(number);
      this.next += 1;
      yield account;
    }
  }
}

function packed({ name, balanceCents, history }: Account): PackedAccount {
  const bytes = new Uint8Array(history.packedBytes);
  history.copyInto(bytes, 0);
  return [name, balanceCents, bytes];
}
