import { assertEquals, assertThrows } from "@std/assert";
import { equalBytes, textOf, utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { limits } from "../../lib/base/limits.ts";
import { pack } from "../../lib/base/msgpack.ts";
import { Prng } from "../../lib/base/prng.ts";
import {
  closeSessionCommand,
  openedSession,
  openSessionCommand,
  sessionAnswer,
  sessionCommand,
  SessionMachine,
} from "../../lib/replica/sessions.ts";
import type { StateMachine } from "../../lib/replica/state_machine.ts";

/** Appends every command to a text and answers with all of it. */
class Journal implements StateMachine {
  text = "";
  apply(command: Uint8Array): Uint8Array {
    this.text += textOf(command);
    return utf8(this.text);
  }
  query(): Uint8Array {
    return utf8(this.text);
  }
  snapshot(): Uint8Array {
    return utf8(this.text);
  }
  restore(snapshot: Uint8Array): void {
    this.text = textOf(snapshot);
  }
}

/** A session machine with a log index of its own. */
class Log {
  index = 0;
  readonly journal = new Journal();
  readonly machine: SessionMachine;

  constructor(maxSessions?: number) {
    this.machine = new SessionMachine(this.journal, maxSessions);
  }

  apply(command: Uint8Array): Uint8Array {
    this.index += 1;
    return this.machine.apply(command, { index: this.index, term: 1, timeMs: this.index });
  }

  open(): number {
    return openedSession(sessionAnswer(this.apply(openSessionCommand())));
  }

  run(session: number, sequence: number, text: string, lowestUnacknowledged = 1): string {
    const command = utf8(text);
    const request = { session, sequence, lowestUnacknowledged, command };
    return textOf(sessionAnswer(this.apply(sessionCommand(request))));
  }
}

function codeOf(run: () => unknown): string {
  return assertThrows(run, TrilogError).code;
}

Deno.test("a repeated request gets the first answer and has no second effect", () => {
  const log = new Log();
  const session = log.open();
  assertEquals(log.run(session, 1, "a"), "a");
  assertEquals(log.run(session, 2, "b"), "ab");
  assertEquals(log.run(session, 1, "a"), "a");
  assertEquals(log.journal.text, "ab");
});

Deno.test("requests of one session may arrive out of order", () => {
  const log = new Log();
  const session = log.open();
  log.run(session, 3, "c");
  log.run(session, 1, "a");
  assertEquals(log.journal.text, "ca");
});

Deno.test("two sessions do not share sequences", () => {
  const log = new Log();
  const [first, second] = [log.open(), log.open()];
  log.run(first, 1, "a");
  log.run(second, 1, "b");
  assertEquals(log.journal.text, "ab");
});

Deno.test("an answer that was acknowledged is forgotten and never computed again", () => {
  const log = new Log();
  const session = log.open();
  log.run(session, 1, "a");
  log.run(session, 2, "b", 2);
  assertEquals(codeOf(() => log.run(session, 1, "a")), "stale_sequence");
  assertEquals(log.journal.text, "ab");
});

Deno.test("an unknown, closed or evicted session is refused and nothing is executed", () => {
  const log = new Log(2);
  assertEquals(codeOf(() => log.run(77, 1, "x")), "session_expired");
  const first = log.open();
  const second = log.open();
  log.run(first, 1, "a");
  log.open();
  assertEquals(codeOf(() => log.run(second, 1, "x")), "session_expired");
  assertEquals(log.run(first, 2, "b"), "ab", "the least recently used one was evicted");
  log.apply(closeSessionCommand(first));
  assertEquals(codeOf(() => log.run(first, 3, "x")), "session_expired");
});

Deno.test("a session with too many unfetched answers is refused until it acknowledges", () => {
  const log = new Log();
  const session = log.open();
  for (let sequence = 1; sequence <= limits.sessionAnswers; sequence += 1) {
    log.run(session, sequence, ".");
  }
  const next = limits.sessionAnswers + 1;
  assertEquals(codeOf(() => log.run(session, next, "x")), "overloaded");
  log.run(session, next, "x", 2);
  assertEquals(log.journal.text.length, next);
});

Deno.test("malformed commands are refused, never thrown", () => {
  const log = new Log();
  const random = new Prng(1);
  const session = log.open();
  const right = sessionCommand({
    session,
    sequence: 1,
    lowestUnacknowledged: 1,
    command: utf8("a"),
  });
  for (let round = 0; round < 500; round += 1) {
    const broken = right.slice(0, random.below(right.length + 1));
    if (broken.length > 0) broken[random.below(broken.length)] ^= 1 << random.below(8);
    log.apply(broken);
  }
  assertEquals(codeOf(() => sessionAnswer(log.apply(new Uint8Array([1])))), "malformed");
});

Deno.test("sessions survive a snapshot: a retry after it is still a retry", () => {
  const log = new Log();
  const session = log.open();
  log.run(session, 1, "a");
  const copy = new Log();
  copy.index = log.index;
  copy.machine.restore(log.machine.snapshot());
  assertEquals(copy.run(session, 1, "a"), "a");
  assertEquals(copy.journal.text, "a");
});

Deno.test("a snapshot of version 1, which was one value, is still restored", () => {
  const log = new Log();
  log.machine.restore(pack([1, [[[7, 2, [[3, utf8("a")]]]], utf8("abc")]]));
  assertEquals(log.run(7, 3, "never applied"), "a");
  assertEquals(log.run(7, 4, "d"), "abcd");
  assertEquals(codeOf(() => log.run(7, 1, "late")), "stale_sequence");
});

Deno.test("equal histories give equal snapshots, also across a restore", () => {
  const random = new Prng(7);
  const [one, other] = [new Log(3), new Log(3)];
  for (let round = 0; round < 300; round += 1) {
    const command = random.chance(0.2) ? openSessionCommand() : sessionCommand({
      session: 1 + random.below(round + 1),
      sequence: 1 + random.below(20),
      lowestUnacknowledged: 1 + random.below(5),
      command: utf8("x"),
    });
    assertEquals(one.apply(command), other.apply(command));
    if (random.chance(0.1)) other.machine.restore(other.machine.snapshot());
    assertEquals(equalBytes(one.machine.snapshot(), other.machine.snapshot()), true);
  }
});
