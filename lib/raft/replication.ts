/**
 * What a leader sends to each follower, and what the answers tell (paper 5.3; pipelining and the
 * three states of a follower: thesis 10.2.1 and progress.ts).
 */

import type { Core, Leadership } from "./core.ts";
import { advanceCommit, tellTransfer } from "./leader.ts";
import { askedLeaseMs } from "./lease.ts";
import { entryBytes } from "./log.ts";
import type { Progress } from "./progress.ts";
import { confirmReads } from "./reads.ts";
import type { AppendResponse, Entry, HeartbeatResponse, Index, LogId, ReplicaId } from "./types.ts";

/** Opens a round and sends it to everybody. */
export function broadcastHeartbeat(core: Core): void {
  const leadership = core.leadership!;
  const { rounds, progress } = leadership;
  const { options, log, durability } = core;
  const synced = durability.term === core.term ? durability.index : 0;
  const round = rounds.open(core.nowMs);
  rounds.forget(core.nowMs - 2 * Math.max(options.electionTimeoutMs, options.leaseMs));
  leadership.roundWanted = false;
  leadership.heartbeatDueMs = core.nowMs + options.heartbeatMs;
  const leaseMs = askedLeaseMs(core);
  for (const follower of progress.values()) {
    const commit = Math.min(log.commit, follower.match);
    follower.tell(commit, round);
    core.send({
      kind: "heartbeat_request",
      from: core.id,
      to: follower.id,
      term: core.term,
      commit,
      round,
      leaseMs,
      synced,
    });
  }
  confirmReads(core);
}

/** Sends what followers lack, as far as their limits allow. */
export function replicate(core: Core): void {
  const leadership = core.leadership;
  if (leadership === null || !leadership.sendPending) return;
  leadership.sendPending = false;
  for (const progress of leadership.progress.values()) sendTo(core, progress);
}

function sendTo(core: Core, progress: Progress): void {
  const { log, options } = core;
  while (progress.state !== "snapshot" && !progress.paused) {
    if (progress.next < log.firstIndex) return startSnapshot(core, progress);
    const cached = progress.next <= log.last.index && log.isCached(progress.next);
    if (progress.state === "probe") {
      // A question about the position alone is enough where the entries are not at hand.
      const entries = cached
        ? log.slice(progress.next, log.last.index, options.maxAppendBytes)
        : [];
      sendEntries(core, progress, entries);
      progress.probed(core.leadership!.rounds.latest, core.nowMs);
      return;
    }
    if (progress.next > log.last.index) return;
    if (progress.inflightMessages >= options.maxInflightMessages) return;
    if (progress.inflightBytes >= options.maxInflightBytes) return;
    if (!cached) return fetchFor(core, progress);
    const entries = log.slice(progress.next, log.last.index, options.maxAppendBytes);
    sendPipelined(core, progress, entries);
  }
}

function sendPipelined(core: Core, progress: Progress, entries: readonly Entry[]): void {
  sendEntries(core, progress, entries);
  let bytes = 0;
  for (const entry of entries) bytes += entryBytes(entry);
  const last = entries[entries.length - 1].index;
  progress.sent(last, bytes, core.leadership!.rounds.latest, core.nowMs);
}

/** AppendEntries from `progress.next` on. */
function sendEntries(core: Core, progress: Progress, entries: readonly Entry[]): void {
  const index = progress.next - 1;
  core.send({
    kind: "append_request",
    from: core.id,
    to: progress.id,
    term: core.term,
    prev: { index, term: core.log.termAt(index)! },
    entries,
    commit: core.log.commit,
    round: core.leadership!.rounds.latest,
    leaseMs: askedLeaseMs(core),
  });
}

function fetchFor(core: Core, progress: Progress): void {
  if (core.fetching.has(progress.id)) return;
  core.fetching.add(progress.id);
  core.out.fetches.push({
    to: progress.id,
    from: progress.next,
    maxBytes: core.options.maxAppendBytes,
  });
}

/** Old entries for a follower have been read. They may be late: it may be elsewhere by now. */
export function onFetchedFor(core: Core, to: ReplicaId, entries: readonly Entry[]): void {
  const leadership = core.leadership;
  const progress = leadership?.progress.get(to);
  if (leadership === null || progress === undefined) return;
  leadership.sendPending = true;
  if (progress.state !== "replicate") return;
  if (entries.length === 0) return startSnapshot(core, progress);
  if (entries[0].index !== progress.next || progress.next < core.log.firstIndex) return;
  // The store may still hold a tail that was replaced in the log.
  let count = entries.length;
  while (count > 0 && !core.log.matches(entries[count - 1])) count -= 1;
  if (count > 0) sendPipelined(core, progress, entries.slice(0, count));
}

/** What the follower needs is compacted: it gets the group's snapshot (paper 7). */
function startSnapshot(core: Core, progress: Progress): void {
  progress.toSnapshot(core.log.base.index);
  core.out.snapshotsToSend.push(progress.id);
}

/** A snapshot transfer ended; a failed one is repeated when the follower is heard again. */
export function onSnapshotSent(core: Core, to: ReplicaId, ok: boolean): void {
  const leadership = core.leadership;
  const progress = leadership?.progress.get(to);
  if (leadership === null || progress?.state !== "snapshot") return;
  progress.toProbe(ok ? progress.snapshotIndex + 1 : progress.match + 1);
  if (!ok) progress.probed(leadership.rounds.latest, core.nowMs);
  leadership.sendPending = true;
}

/** A follower's process is gone: what was under way to it is lost. */
export function followerUnreachable(core: Core, id: ReplicaId): void {
  const progress = core.leadership!.progress.get(id);
  if (progress?.state !== "replicate") return;
  progress.toProbe(progress.match + 1);
  progress.probed(core.leadership!.rounds.latest, core.nowMs);
}

/** The sender followed this leader when `round` was sent. */
function heard(core: Core, leadership: Leadership, progress: Progress, round: number): void {
  progress.lastHeardMs = core.nowMs;
  if (round <= progress.round || round > leadership.rounds.latest) return;
  progress.answered(round, leadership.rounds.sentMs(round));
  confirmReads(core);
}

export function onAppendResponse(core: Core, response: AppendResponse): void {
  const leadership = core.leadership;
  const progress = leadership?.progress.get(response.from);
  if (leadership === null || progress === undefined) return;
  if (response.round === 0) return onSnapshotTaken(core, leadership, progress, response);
  if (response.round < progress.sinceRound) return;
  heard(core, leadership, progress, response.round);
  if (response.match === null) onRejected(core, leadership, progress, response);
  else onAccepted(core, leadership, progress, response.match);
}

/**
 * A follower has installed a snapshot. The answer belongs to no round, so it may come from an
 * earlier life of that replica: it is no acknowledgement, only the place for the next probe.
 */
function onSnapshotTaken(
  core: Core,
  leadership: Leadership,
  progress: Progress,
  { match }: AppendResponse,
): void {
  if (progress.state !== "snapshot" || match === null) return;
  const held = Math.max(Math.min(match, core.log.last.index), progress.snapshotIndex);
  progress.toProbe(held + 1);
  leadership.sendPending = true;
}

function onAccepted(core: Core, leadership: Leadership, progress: Progress, match: Index): void {
  // Late answers tell less than is known; nobody can match what this leader does not have.
  if (match < progress.match || match > core.log.last.index) return;
  const news = progress.acknowledged(match);
  if (progress.state !== "replicate" && match >= core.log.base.index) progress.toReplicate();
  leadership.sendPending = true;
  if (!news) return;
  advanceCommit(core);
  if (core.leadership !== null) tellTransfer(core);
}

function onRejected(
  core: Core,
  leadership: Leadership,
  progress: Progress,
  { prevIndex, hint }: AppendResponse,
): void {
  // What is known to match cannot be rejected: the answer is late.
  if (prevIndex <= progress.match || progress.state === "snapshot") return;
  leadership.sendPending = true;
  if (progress.state === "replicate") return progress.toProbe(progress.match + 1);
  if (prevIndex !== progress.next - 1) return;
  const at = possibleMatch(core, hint);
  progress.toProbe(Math.min(at.index + 1, prevIndex));
}

/** Where the logs may match, a whole conflicting term of either side further down (paper 5.3). */
function possibleMatch(core: Core, hint: LogId | null): LogId {
  return hint === null ? { index: 0, term: 0 } : core.log.lastAtMost(hint.index, hint.term);
}

export function onHeartbeatResponse(core: Core, response: HeartbeatResponse): void {
  const leadership = core.leadership;
  const progress = leadership?.progress.get(response.from);
  if (leadership === null || progress === undefined) return;
  if (response.round < progress.sinceRound) return;
  heard(core, leadership, progress, response.round);
  const { oldest, paused, probeRound, probeSentMs } = progress;
  const { heartbeatMs } = core.options;
  if (paused && response.round > probeRound && core.nowMs - probeSentMs >= heartbeatMs) {
    progress.paused = false;
    leadership.sendPending = true;
  } else if (
    oldest !== undefined && response.round > oldest.round &&
    core.nowMs - oldest.sentMs >= 2 * heartbeatMs
  ) {
    // It is long in answering: either the message was lost, or the answer was. Its log's durable
    // end is the likeliest place to go on from.
    progress.toProbe(Math.min(response.lastSynced, core.log.last.index) + 1);
    leadership.sendPending = true;
  }
}
