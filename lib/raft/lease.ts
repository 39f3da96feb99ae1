/**
 * Leader leases (thesis 6.4.1), if `leaseMs` asks for them. The leader counts its lease from the
 * sending of the round that a quorum answered, by its own monotonic clock, shortened by the
 * assumed error between clocks. Whoever answered does not stop another election, but says in its
 * vote how long the old lease may still last, and the new leader commits nothing before that.
 */

import type { Core } from "./core.ts";
import { quorumValue } from "./quorum.ts";

/** How long a leader may rely on a round, by its own clock. */
function leaseSpanMs(core: Core): number {
  return core.options.leaseMs * (1 - core.options.clockErrorRatio);
}

/** Whether this leader holds leases at all in this term by now. */
function takesLease(core: Core): boolean {
  const leadership = core.leadership;
  return core.options.leaseMs > 0 && leadership !== null && !leadership.leaseGivenUp &&
    core.log.commit >= leadership.noop;
}

/** Time until which the leader may answer reads alone; null: it has no lease. */
export function leaseUntilMs(core: Core): number | null {
  if (!takesLease(core)) return null;
  // The membership of this moment decides: one that an older quorum granted would not be seen
  // by voters of the new one.
  const until = quorumValue(core.membership, core.contactOf) + leaseSpanMs(core);
  return Number.isFinite(until) ? until : null;
}

export function leaseValid(core: Core, nowMs: number): boolean {
  const until = leaseUntilMs(core);
  return until !== null && nowMs < until;
}

/** A leader in whose term a lease ran out without being renewed must step down by this time. */
export function renewDeadlineMs(core: Core): number {
  if (!takesLease(core)) return Infinity;
  const leadership = core.leadership!;
  const contact = quorumValue(core.membership, core.graceContactOf);
  return Math.max(contact, leadership.watchedFromMs, leadership.leaseWaitUntilMs) +
    leaseSpanMs(core);
}

/** This node answers a leader that asked for a lease. */
export function oweLease(core: Core, leaseMs: number): void {
  if (leaseMs > 0) core.owedLeaseUntilMs = Math.max(core.owedLeaseUntilMs, core.nowMs + leaseMs);
}

/**
 * How long a lease that this node helped to grant may still last. In a transfer none does: the
 * leader that asks for it gave its lease up, and waited for all older ones before its first
 * commit.
 */
export function owedLeaseMs(core: Core, transfer: boolean): number {
  return transfer ? 0 : Math.max(0, core.owedLeaseUntilMs - core.nowMs);
}

/** Until when a lease may last by this node's clock, that a voter said it owes for `owedMs`. */
export function owedUntilMs(core: Core, owedMs: number): number {
  return core.nowMs + owedMs * (1 + core.options.clockErrorRatio);
}

/** The lease that this leader asks others to honour. */
export function askedLeaseMs(core: Core): number {
  return core.leadership!.leaseGivenUp ? 0 : core.options.leaseMs;
}
