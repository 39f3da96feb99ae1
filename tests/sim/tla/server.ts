/** One server of the specification, and the actions by which its variables may change. */

import { SpecDisk } from "./disk.ts";
import type {
  ReadyEvent,
  Restart,
  SpecEntry,
  SpecMessage,
  SpecState,
  Step,
  Variables,
} from "./trace.ts";
import { NotAllowed, type World } from "./world.ts";

/** What a server was at some moment since its last messages were collected. */
interface Moment {
  readonly term: number;
  readonly state: SpecState;
  readonly commit: number;
  readonly last: string;
}

export class SpecServer {
  private term = 0;
  private vote: string | null = null;
  private state: SpecState = "Follower";
  private commit = 0;
  private log: SpecEntry[] = [];
  private readonly votesGranted = new Set<string>();
  private readonly matchIndex = new Map<string, number>();
  private readonly disk = new SpecDisk();
  private moments: Moment[] = [];

  constructor(private readonly world: World, private readonly id: string) {}

  /** Restart: term, vote and log are as the disk has them; all else begins anew. */
  restart(found: Restart): void {
    const { committed } = this.world;
    const log = this.disk.recover(found, committed);
    if (log === null) {
      throw new NotAllowed(`Restart: the disk of ${this.id} holds another term, vote or log`);
    }
    this.log = log;
    this.term = found.currentTerm;
    this.vote = found.votedFor;
    this.state = "Follower";
    this.commit = found.commitIndex;
    this.votesGranted.clear();
    this.matchIndex.clear();
    this.checkCommitted();
    this.demandEqual(found);
    this.moments = [this.moment()];
  }

  /** What a step did to the variables must be a sequence of actions. */
  step(event: Step): void {
    const { input } = event;
    if ("sequence" in input) this.disk.synced(input.sequence, this.world.committed);
    if ("message" in input) this.receive(input.message, event);
    if (event.currentTerm === this.term + 1 && event.state === "Candidate") this.timeout();
    if (this.state === "Candidate" && event.state === "Leader") this.becomeLeader();
    if ("value" in input && event.last[0] === this.log.length + 1) this.clientRequest(input.value);
    if (this.state === "Leader" && event.commitIndex > this.commit) {
      this.advanceCommitIndex(event.commitIndex);
    }
    if (
      this.state !== "Follower" && event.state === "Follower" && event.currentTerm === this.term
    ) {
      this.state = "Follower";
      this.world.took("StepDown");
    }
    this.demandEqual(event);
    this.checkCommitted();
    this.moments.push(this.moment());
  }

  /** What a server writes and sends. */
  ready(event: ReadyEvent): void {
    for (const [index, term, value] of event.entries) {
      const entry = this.log[index - 1];
      if (entry?.[0] === term && entry[1] === value) continue;
      throw new NotAllowed(`${this.id} writes entry ${index} that is not in its log`);
    }
    for (const message of event.sent) {
      const fault = this.faultOf(message);
      if (fault !== null) {
        throw new NotAllowed(`${this.id} may not send ${message.mtype}: ${fault}`);
      }
    }
    if (event.mustSync) this.disk.write(event);
    this.moments = [this.moment()];
  }

  // Actions.

  private timeout(): void {
    if (this.state === "Leader") throw new NotAllowed("Timeout: a leader does not campaign");
    this.term += 1;
    this.state = "Candidate";
    this.votesGranted.clear();
    // RequestVote(i, i) and its answer.
    this.voteFor(this.id);
    this.votesGranted.add(this.id);
    this.world.took("Timeout");
  }

  private voteFor(candidate: string): void {
    const key = `${this.id}/${this.term}`;
    const before = this.world.votes.get(key);
    if (before !== undefined && before !== candidate) {
      throw new NotAllowed(`${this.id} voted for ${before} and ${candidate} in term ${this.term}`);
    }
    this.world.votes.set(key, candidate);
    this.vote = candidate;
  }

  private becomeLeader(): void {
    const { leaders } = this.world;
    if (!this.world.isQuorum(this.votesGranted)) {
      throw new NotAllowed(`BecomeLeader: only ${[...this.votesGranted]} voted for ${this.id}`);
    }
    const known = leaders.get(this.term) ?? this.id;
    if (known !== this.id) throw new NotAllowed(`${known} leads term ${this.term} already`);
    leaders.set(this.term, this.id);
    this.state = "Leader";
    this.matchIndex.clear();
    this.world.took("BecomeLeader");
    this.clientRequest("noop");
  }

  private clientRequest(value: string): void {
    if (this.state !== "Leader") throw new NotAllowed("ClientRequest: only a leader appends");
    this.log.push([this.term, value]);
    this.world.took("ClientRequest");
  }

  /** Only an entry of the leader's own term is committed by counting (paper 5.4.2). */
  private advanceCommitIndex(to: number): void {
    if (this.log[to - 1]?.[0] !== this.term) {
      throw new NotAllowed(`AdvanceCommitIndex: entry ${to} is not of term ${this.term}`);
    }
    const holders = [...this.matchIndex].filter(([, match]) => match >= to).map(([id]) => id);
    if (this.disk.durableIndex(this.log) >= to) holders.push(this.id);
    if (!this.world.isQuorum(holders)) {
      throw new NotAllowed(`AdvanceCommitIndex: only ${holders} hold entry ${to}`);
    }
    this.commit = to;
    if (to > this.world.committed.length) {
      this.world.committed = [
        ...this.world.committed,
        ...this.log.slice(this.world.committed.length, to),
      ];
    }
    this.world.took("AdvanceCommitIndex");
  }

  private receive(message: SpecMessage, after: Variables): void {
    const { mtype, mterm } = message;
    // A message may be dropped; a vote request is where another leader is heard, or nothing changes.
    const mayUpdate = mtype !== "PreVoteRequest" && mterm > this.term;
    if (mayUpdate && after.currentTerm >= mterm) {
      this.term = mterm;
      this.vote = null;
      this.state = "Follower";
      this.world.took("UpdateTerm");
    }
    if (mtype === "RequestVoteRequest") this.handleRequestVote(message, after);
    else if (mtype === "RequestVoteResponse") this.handleVote(message);
    else if (mtype === "AppendEntriesRequest") this.handleAppendEntries(message);
    else if (mtype === "AppendEntriesResponse") this.handleMatch(message);
    else if (mtype === "Heartbeat") this.handleHeartbeat(message);
    else if (mtype === "InstallSnapshot") this.installSnapshot(message);
  }

  private handleRequestVote(message: SpecMessage, after: Variables): void {
    const { msource, mterm, mlastLogIndex, mlastLogTerm } = message;
    const granted = mterm === this.term && after.votedFor === msource && this.vote === null;
    if (!granted) return;
    const [, lastTerm] = this.lastOf(this.log.length);
    const logOk = mlastLogTerm! > lastTerm ||
      (mlastLogTerm === lastTerm && mlastLogIndex! >= this.log.length);
    if (!logOk) throw new NotAllowed(`a vote for ${msource}, whose log is behind ${this.id}'s`);
    this.voteFor(msource);
    this.world.took("HandleRequestVoteRequest");
  }

  private handleVote({ msource, mterm, mvoteGranted }: SpecMessage): void {
    if (this.state !== "Candidate" || mterm !== this.term || !mvoteGranted) return;
    this.votesGranted.add(msource);
    this.world.took("HandleRequestVoteResponse");
  }

  private handleMatch({ msource, mterm, msuccess, mmatchIndex }: SpecMessage): void {
    if (this.state !== "Leader" || mterm !== this.term || !msuccess) return;
    this.matchIndex.set(msource, Math.max(this.matchIndex.get(msource) ?? 0, mmatchIndex!));
    this.world.took("HandleAppendEntriesResponse");
  }

  /** A leader of this term is there: a candidate returns to be a follower. */
  private follow(mterm: number): boolean {
    if (mterm !== this.term) return false;
    if (this.state === "Leader") throw new NotAllowed(`two leaders in term ${mterm}`);
    this.state = "Follower";
    return true;
  }

  private handleAppendEntries(message: SpecMessage): void {
    const { mterm, mprevLogIndex: prev, mprevLogTerm, mentries, mcommitIndex } = message;
    if (!this.follow(mterm)) return;
    const logOk = prev! <= this.commit || this.log[prev! - 1]?.[0] === mprevLogTerm;
    this.world.took(`HandleAppendEntriesRequest, ${logOk ? "accepted" : "rejected"}`);
    if (!logOk) return;
    for (const [at, entry] of mentries!.entries()) this.takeEntry(prev! + at + 1, entry);
    const matched = Math.max(prev! + mentries!.length, this.commit);
    this.commit = Math.max(this.commit, Math.min(mcommitIndex!, matched));
  }

  private takeEntry(index: number, entry: SpecEntry): void {
    const own = this.log[index - 1];
    if (own !== undefined && own[0] === entry[0]) return;
    if (index <= this.commit) {
      throw new NotAllowed(`${this.id} would truncate its log below its commit index`);
    }
    this.log.length = index - 1;
    this.log.push(entry);
  }

  /** AppendEntries without entries, behind what the leader knows to match. */
  private handleHeartbeat({ mterm, mcommitIndex }: SpecMessage): void {
    if (!this.follow(mterm)) return;
    this.commit = Math.max(this.commit, mcommitIndex!);
    this.world.took("Heartbeat");
  }

  /** Stands for the AppendEntries that would bring the committed log up to the snapshot's end. */
  private installSnapshot({ mlastIndex, mlastTerm }: SpecMessage): void {
    if (this.state === "Leader" || mlastIndex! <= this.commit) return;
    const { committed } = this.world;
    if (committed[mlastIndex! - 1]?.[0] !== mlastTerm) {
      throw new NotAllowed(`the snapshot at ${mlastIndex} is not of the committed log`);
    }
    this.state = "Follower";
    const kept = this.log[mlastIndex! - 1]?.[0] === mlastTerm;
    this.log = [...committed.slice(0, mlastIndex), ...(kept ? this.log.slice(mlastIndex) : [])];
    this.commit = mlastIndex!;
    this.world.took("InstallSnapshot");
  }

  // What must hold.

  private demandEqual({ currentTerm, votedFor, state, commitIndex, last }: Variables): void {
    const allowed = [
      this.term,
      this.vote,
      this.state,
      this.commit,
      ...this.lastOf(this.log.length),
    ];
    const seen = [currentTerm, votedFor, state, commitIndex, ...last];
    const names = ["currentTerm", "votedFor", "state", "commitIndex", "Len(log)", "LastTerm(log)"];
    for (const [at, name] of names.entries()) {
      if (allowed[at] === seen[at]) continue;
      throw new NotAllowed(`${name} of ${this.id} is ${seen[at]}; allowed is ${allowed[at]}`);
    }
  }

  /** What a server calls committed is what a leader has committed, entry by entry. */
  private checkCommitted(): void {
    const { committed } = this.world;
    if (this.commit > Math.min(committed.length, this.log.length)) {
      throw new NotAllowed(`commitIndex ${this.commit} of ${this.id} is beyond what is committed`);
    }
    const own = this.log[this.commit - 1];
    const other = committed[this.commit - 1];
    if (own !== undefined && (own[0] !== other[0] || own[1] !== other[1])) {
      throw new NotAllowed(`entry ${this.commit} of ${this.id} is committed and differs`);
    }
  }

  private faultOf(message: SpecMessage): string | null {
    const { mtype, mterm, mdest } = message;
    const was = (state: SpecState) =>
      this.moments.filter((moment) => moment.state === state && moment.term === mterm);
    switch (mtype) {
      case "RequestVoteRequest": {
        const last = `${message.mlastLogIndex}@${message.mlastLogTerm}`;
        return was("Candidate").some((moment) => moment.last === last) ? null : "no such candidate";
      }
      case "RequestVoteResponse":
        if (!message.mvoteGranted) return null;
        return this.world.votes.get(`${this.id}/${mterm}`) === mdest ? null : "no such vote";
      case "AppendEntriesRequest":
        if (was("Leader").length === 0) return "it does not lead that term";
        return this.state === "Leader" && this.term === mterm ? this.entriesFault(message) : null;
      case "AppendEntriesResponse":
        return message.mmatchIndex! <= this.log.length ? null : "its log is shorter";
      case "Heartbeat":
        return was("Leader").some(({ commit }) => commit >= message.mcommitIndex!)
          ? null
          : "no leader with that commit index";
      default:
        return null;
    }
  }

  private entriesFault({ mprevLogIndex: prev, mprevLogTerm, mentries, mcommitIndex }: SpecMessage) {
    if (this.lastOf(prev!)[1] !== mprevLogTerm) return "the entry before is another";
    const others = mentries!.some(([term, value], at) => {
      const own = this.log[prev! + at];
      return own?.[0] !== term || own[1] !== value;
    });
    if (others) return "its log has other entries";
    return mcommitIndex! <= this.commit ? null : "its commit index is lower";
  }

  private lastOf(length: number): [index: number, term: number] {
    return [length, length === 0 ? 0 : this.log[length - 1][0]];
  }

  private moment(): Moment {
    const { term, state, commit } = this;
    return { term, state, commit, last: this.lastOf(this.log.length).join("@") };
  }
}
