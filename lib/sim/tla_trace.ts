/**
 * A run of one group as a trace in the words of the published Raft specification (Ongaro's
 * raft.tla): what each server's variables are after each step, what it receives, and what it sends.
 * One JSON object a line; DESIGN.md has the fields and what they stand for.
 */

import { crc32c } from "../batch/crc32c.ts";
import {
  type Entry,
  EntryKind,
  type Input,
  type Message,
  type RaftStatus,
  type Ready,
  type ReplicaId,
} from "../raft/types.ts";
import type { Replica } from "../replica/replica.ts";
import type { LogStore } from "../storage/store.ts";

/** Takes one line without its end. */
export type TlaWriter = (line: string) => void;

type Fields = Readonly<Record<string, unknown>>;

export class TlaTrace {
  /** `servers`: the specification's constant `Server`; memberships do not change. */
  constructor(
    private readonly write: TlaWriter,
    private readonly nowMs: () => number,
    servers: readonly ReplicaId[],
  ) {
    this.line({ event: "Init", servers });
  }

  /** A replica was opened: from now on every step of it is written. */
  follow(replica: Replica): void {
    const { raft, store } = replica;
    const server = raft.status().id;
    this.line({ event: "Restart", server, ...variables(raft.status()), ...logOf(store) });
    let written = textOfState(raft.status());
    const step = raft.step.bind(raft);
    raft.step = (input, nowMs) => {
      step(input, nowMs);
      const status = raft.status();
      const state = textOfState(status);
      const received = input.kind === "message" ? messageFields(input.message) : null;
      if (state === written && !matters(input, received)) return;
      written = state;
      this.line({
        event: "Step",
        server,
        input: inputFields(input, received),
        ...variables(status),
      });
    };
    const takeReady = raft.takeReady.bind(raft);
    raft.takeReady = () => {
      const ready = takeReady();
      if (ready !== null) this.ready(server, ready);
      return ready;
    };
  }

  private ready(server: ReplicaId, ready: Ready): void {
    const { sequence, mustSync, hardState, snapshot } = ready;
    const entries = ready.entries.map((entry) => [entry.index, ...entryFields(entry)]);
    const sent = [...ready.messages, ...ready.messagesAfterSync].map(messageFields)
      .filter(({ mtype }) => mtype !== "Other");
    if (!mustSync && sent.length === 0) return;
    const voted = hardState === null ? {} : { stored: [hardState.term, hardState.vote] };
    const adopted = snapshot === null
      ? {}
      : { snapshot: [snapshot.last.index, snapshot.last.term] };
    this.line({ event: "Ready", server, sequence, mustSync, ...voted, ...adopted, entries, sent });
  }

  private line(fields: Fields): void {
    const { event, ...rest } = fields;
    this.write(JSON.stringify({ event, atMs: this.nowMs(), ...rest }));
  }
}

/** The specification's variables of one server, its log as the position of the last entry. */
function variables(status: RaftStatus): Fields {
  const { term, vote, role, commit, last } = status;
  const state = role === "leader" ? "Leader" : role === "candidate" ? "Candidate" : "Follower";
  return {
    currentTerm: term,
    votedFor: vote,
    state,
    commitIndex: commit,
    last: [last.index, last.term],
  };
}

function textOfState(status: RaftStatus): string {
  return JSON.stringify(variables(status));
}

/**
 * The log that a start found: its entries, and the position before them (term null where the log
 * does not say it).
 */
function logOf(store: LogStore): Fields {
  const first = store.firstIndex();
  const log: unknown[] = [];
  for (let from = first; from <= store.lastIndex(); from = first + log.length) {
    for (const entry of store.read(from, Infinity)) log.push(entryFields(entry));
  }
  return { base: [first - 1, store.termAt(first - 1)], log };
}

/** Term and value; a value is a checksum of the command. */
function entryFields({ term, kind, data }: Entry): [term: number, value: string] {
  if (kind === EntryKind.noop) return [term, "noop"];
  if (kind === EntryKind.membership) return [term, "membership"];
  return [term, crc32c(data).toString(16)];
}

/** Whether an input without an effect on the variables is still a step: it may count later. */
function matters(input: Input, received: Fields | null): boolean {
  return input.kind === "synced" ||
    (received !== null && received.mtype !== "Other" && received.mtype !== "PreVoteRequest");
}

function inputFields(input: Input, message: Fields | null): Fields {
  if (message !== null) return { kind: "Receive", message };
  if (input.kind === "propose") {
    const entry = { ...input, index: 0, term: 0, kind: EntryKind.command } as Entry;
    return { kind: "ClientRequest", value: entryFields(entry)[1] };
  }
  if (input.kind === "synced") return { kind: "Synced", sequence: input.sequence };
  return { kind: input.kind };
}

/** A message in the specification's words. What it has no words for is `Other`, with its term. */
function messageFields(message: Message): Fields {
  const envelope = { msource: message.from, mdest: message.to, mterm: message.term };
  switch (message.kind) {
    case "vote_request": {
      const { index, term } = message.last;
      if (message.preVote) return { mtype: "PreVoteRequest", ...envelope };
      const mlast = { mlastLogIndex: index, mlastLogTerm: term };
      return { mtype: "RequestVoteRequest", ...envelope, ...mlast };
    }
    case "vote_response":
      if (message.preVote) return { mtype: "PreVoteResponse", ...envelope };
      return { mtype: "RequestVoteResponse", ...envelope, mvoteGranted: message.granted };
    case "append_request":
      return {
        mtype: "AppendEntriesRequest",
        ...envelope,
        mprevLogIndex: message.prev.index,
        mprevLogTerm: message.prev.term,
        mentries: message.entries.map(entryFields),
        mcommitIndex: message.commit,
      };
    case "append_response":
      return {
        mtype: "AppendEntriesResponse",
        ...envelope,
        msuccess: message.match !== null,
        mmatchIndex: message.match ?? 0,
      };
    case "heartbeat_request":
      return { mtype: "Heartbeat", ...envelope, mcommitIndex: message.commit };
    case "snapshot_installed": {
      const { index, term } = message.meta.last;
      return { mtype: "InstallSnapshot", ...envelope, mlastIndex: index, mlastTerm: term };
    }
    default:
      return { mtype: "Other", ...envelope };
  }
}
