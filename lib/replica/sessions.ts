/**
 * Exactly once for commands (paper 8, thesis 6.3): a client opens a session by a replicated
 * command and numbers its requests in it; a repeated number gets the first answer instead of a
 * second effect. {@link SessionMachine} wraps a state machine with that memory, which is part of
 * the replicated state and of its snapshots.
 */

import { concatBytes } from "../base/bytes.ts";
import { binary, type Decoded, list, record, whole } from "../base/codec.ts";
import { TrilogError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { pack, type Packable, unpack } from "../base/msgpack.ts";
import { Invitations } from "./invitations.ts";
import type { ApplyContext, StateMachine } from "./state_machine.ts";
import { frozenState, restoreState, StateReader, streamOf } from "./state_stream.ts";

/** First element of a command in the log. Never reuse a number. */
const CommandKind = { open: 0, run: 1, close: 2, invitation: 3 } as const;
/** First element of an answer. */
const AnswerKind = { done: 0, refused: 1 } as const;

/** Number of a session: the index of the entry that opened it, so it is never reused. */
export type SessionId = number;

export interface SessionRequest {
  readonly session: SessionId;
  /** From 1, rising by one with each new command of the session. */
  readonly sequence: number;
  /** All answers below this sequence have arrived: they need not be remembered. */
  readonly lowestUnacknowledged: number;
  readonly command: Uint8Array;
}

const requestCodec = record<SessionRequest>({
  session: whole,
  sequence: whole,
  lowestUnacknowledged: whole,
  command: binary,
});

export function openSessionCommand(): Uint8Array {
  return pack([CommandKind.open, null]);
}

export function closeSessionCommand(session: SessionId): Uint8Array {
  return pack([CommandKind.close, session]);
}

/** Makes or ends an invitation; `content` is made by `invitations.ts`. */
export function invitationCommand(content: Uint8Array): Uint8Array {
  return pack([CommandKind.invitation, content]);
}

export function sessionCommand(request: SessionRequest): Uint8Array {
  return pack([CommandKind.run, requestCodec.encode(request)]);
}

/** The machine's command inside a session command, for people to read; null where there is none. */
export function commandOf(sessionCommand: Uint8Array): Uint8Array | null {
  try {
    const [kind, content] = unpack(sessionCommand) as [number, Packable];
    return kind === CommandKind.run
      ? requestCodec.decode(content, "session request").command
      : null;
  } catch {
    return null;
  }
}

/** A stored session command for people to read; `describe` has the words of the machine's own. */
export function describeSessionCommand(
  bytes: Uint8Array,
  describe: (command: Uint8Array) => string,
): string {
  const [kind, content] = unpack(bytes) as [number, Packable];
  switch (kind) {
    case CommandKind.open:
      return "open a session";
    case CommandKind.close:
      return `close session ${content}`;
    case CommandKind.invitation:
      return "change an invitation";
    default: {
      const { session, sequence, command } = requestCodec.decode(content, "session request");
      return `${describe(command)} (session ${session}, request ${sequence})`;
    }
  }
}

/**
 * The machine's answer inside a session answer. Throws `session_expired`, `stale_sequence`,
 * `overloaded` or `malformed` when the command was refused before it reached the machine.
 */
export function sessionAnswer(answer: Uint8Array): Uint8Array {
  const [kind, content] = unpack(answer) as [number, Packable];
  if (kind === AnswerKind.done) return content as Uint8Array;
  switch (content) {
    case "session_expired":
      throw new TrilogError("session_expired", "Cannot run command: its session is forgotten");
    case "stale_sequence":
      throw new TrilogError("stale_sequence", "Cannot run command: its answer is forgotten");
    case "overloaded":
      throw new TrilogError("overloaded", "Cannot run command: too many answers are not fetched");
    default:
      throw new TrilogError("malformed", "Cannot run command: not a session command");
  }
}

/** The session that an open command made; `answer` as {@link sessionAnswer} gives it. */
export function openedSession(answer: Uint8Array): SessionId {
  return whole.decode(unpack(answer), "session");
}

interface Session {
  /** Answers below this sequence are forgotten; a request below it is `stale_sequence`. */
  lowest: number;
  readonly answers: Map<number, Uint8Array>;
}

const sessionCodec = record({
  id: whole,
  lowest: whole,
  answers: list(record({ sequence: whole, answer: binary })),
});
/** Snapshots of version 1 were one value, without invitations. */
const firstSnapshotCodec = record({ sessions: list(sessionCodec), machine: binary });
const FIRST_VERSION = 1;
const SNAPSHOT_VERSION = 2;

export class SessionMachine implements StateMachine {
  /** Least recently used first: the order is that of the log, the same everywhere. */
  private sessions = new Map<SessionId, Session>();
  /** Part of the replicated state, like the sessions. */
  readonly invitations = new Invitations();

  constructor(
    private readonly machine: StateMachine,
    private readonly maxSessions: number = limits.sessions,
  ) {}

  apply(command: Uint8Array, context: ApplyContext): Uint8Array {
    let decoded: Packable;
    try {
      decoded = unpack(command);
    } catch {
      return refused("malformed");
    }
    if (!Array.isArray(decoded) || decoded.length !== 2) return refused("malformed");
    const [kind, content] = decoded;
    if (kind === CommandKind.open) return this.open(context);
    if (kind === CommandKind.close) return this.close(content);
    if (kind !== CommandKind.run && kind !== CommandKind.invitation) return refused("malformed");
    try {
      if (kind === CommandKind.invitation) return this.invite(content, context);
      return this.run(requestCodec.decode(content, "session request"), context);
    } catch (error) {
      if (error instanceof TrilogError && error.code === "malformed") return refused("malformed");
      throw error;
    }
  }

  query(question: Uint8Array): Uint8Array {
    return this.machine.query(question);
  }

  snapshot(): Uint8Array {
    return concatBytes([...this.freeze()]);
  }

  restore(snapshot: Uint8Array): void {
    this.restoreParts([snapshot]);
  }

  freeze(): Iterable<Uint8Array> {
    // Answers never change once they are given.
    const sessions = [...this.sessions].map(([id, { lowest, answers }]) =>
      sessionCodec.encode({
        id,
        lowest,
        answers: [...answers].map(([sequence, answer]) => ({ sequence, answer })),
      })
    );
    const own = streamOf(SNAPSHOT_VERSION, [...sessions, null, this.invitations.snapshot()]);
    return chained(own, frozenState(this.machine));
  }

  restoreParts(parts: Iterable<Uint8Array>): void {
    const reader = new StateReader(parts);
    if (reader.version === null) return this.restoreFirstVersion(concatBytes([...reader.rest()]));
    if (reader.version !== SNAPSHOT_VERSION) throw unknownVersion(reader.version);
    const sessions = [...reader.list()].map((item) => sessionCodec.decode(item, "session"));
    const invitations = binary.decode(reader.next(), "invitations");
    restoreState(this.machine, reader.rest());
    this.takeSessions(sessions);
    this.invitations.restore(invitations);
  }

  private restoreFirstVersion(snapshot: Uint8Array): void {
    const [version, content] = unpack(snapshot) as [number, Packable];
    if (version !== FIRST_VERSION) throw unknownVersion(version);
    const { sessions, machine } = firstSnapshotCodec.decode(content, "sessions");
    restoreState(this.machine, [machine]);
    this.takeSessions(sessions);
    this.invitations.clear();
  }

  private takeSessions(sessions: readonly Decoded<typeof sessionCodec>[]): void {
    this.sessions = new Map(sessions.map(({ id, lowest, answers }) => [id, {
      lowest,
      answers: new Map(answers.map(({ sequence, answer }) => [sequence, answer.slice()])),
    }]));
  }

  private open(context: ApplyContext): Uint8Array {
    this.sessions.set(context.index, { lowest: 1, answers: new Map() });
    if (this.sessions.size > this.maxSessions) {
      const [oldest] = this.sessions.keys();
      this.sessions.delete(oldest);
    }
    return done(pack(context.index));
  }

  private invite(content: Packable, context: ApplyContext): Uint8Array {
    this.invitations.apply(binary.decode(content, "invitation"), context.timeMs);
    return done(new Uint8Array(0));
  }

  private close(session: Packable): Uint8Array {
    if (typeof session !== "number") return refused("malformed");
    this.sessions.delete(session);
    return done(new Uint8Array(0));
  }

  private run(request: SessionRequest, context: ApplyContext): Uint8Array {
    const session = this.sessions.get(request.session);
    if (session === undefined) return refused("session_expired");
    this.sessions.delete(request.session);
    this.sessions.set(request.session, session);
    const remembered = session.answers.get(request.sequence);
    if (remembered !== undefined) return done(remembered);
    if (request.sequence < session.lowest) return refused("stale_sequence");
    forget(session, request.lowestUnacknowledged);
    if (session.answers.size >= limits.sessionAnswers) return refused("overloaded");
    const answer = this.machine.apply(request.command, context);
    session.answers.set(request.sequence, answer);
    return done(answer);
  }
}

function* chained(
  first: Iterable<Uint8Array>,
  second: Iterable<Uint8Array>,
): Generator<Uint8Array, void, void> {
  yield* first;
  yield* second;
}

function unknownVersion(version: number): TrilogError {
  return new TrilogError(
    "unsupported_version",
    `Cannot restore sessions: snapshot version ${version} is not known here`,
  );
}

/** Drops the answers below `lowest`, which their client has. */
function forget(session: Session, lowest: number): void {
  if (lowest <= session.lowest) return;
  session.lowest = lowest;
  for (const sequence of session.answers.keys()) {
    if (sequence < lowest) session.answers.delete(sequence);
  }
}

function done(answer: Uint8Array): Uint8Array {
  return pack([AnswerKind.done, answer]);
}

function refused(code: string): Uint8Array {
  return pack([AnswerKind.refused, code]);
}
