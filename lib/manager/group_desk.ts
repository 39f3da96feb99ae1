/**
 * Where members of consumer groups turn to. The leading manager hears them and expels who falls
 * silent; every manager tells what groups there are.
 */

import type { Clock, Timer } from "../base/clock.ts";
import { isErrorCode, toTrilogError, TrilogError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import {
  deletedGroupsMethod,
  deleteGroupMethod,
  describeGroupMethod,
  type GroupAssignment,
  type GroupDescription,
  type GroupGeneration,
  groupHeartbeatMethod,
  type GroupHeartbeatRequest,
  joinGroupMethod,
  type JoinGroupRequest,
  leaveGroupMethod,
  type LeaveGroupRequest,
  listGroupsMethod,
  type Method,
  reserveGenerationMethod,
} from "../client/protocol.ts";
import type { Call } from "../net/rpc.ts";
import type { Command } from "./command.ts";
import { Gatherer } from "./gatherer.ts";
import {
  type Joining,
  joinMembers,
  leaveMembers,
  type Refusal,
  releaseMany,
} from "./group_batches.ts";
import { GroupLiveness } from "./group_liveness.ts";
import { GroupNews } from "./group_news.ts";
import { deletedOffsets, deleteGroup, expireGroups, isExpired } from "./group_removal.ts";
import { assignmentView, descriptionView, groupSummaries } from "./group_views.ts";
import {
  expelMembers,
  isSettled,
  joinGroup,
  leaveGroup,
  type MemberFields,
  type ReleaseFields,
  releasePartitions,
  reserveGeneration,
  settleGroups,
} from "./groups.ts";
import type { MetadataMachine } from "./metadata.ts";

export interface GroupDeskOptions {
  readonly machine: MetadataMachine;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly serve: <Request, Answer>(
    method: Method<Request, Answer>,
    run: (request: Request, call: Call) => Promise<Answer>,
  ) => void;
  /** Replicates a command. */
  readonly run: <Fields, Answer>(
    command: Command<Fields, Answer>,
    fields: Fields,
    requestId: string,
    call?: Call,
  ) => Promise<Answer>;
  /** Resolves when the state here is as new as any that was acknowledged before. */
  readonly barrier: (call: Call, stale: boolean) => Promise<void>;
  /** Throws unless this manager leads. */
  readonly requireLeadership: (act: string) => void;
  /** Term in which this manager leads, or null. */
  readonly leadingTerm: () => number | null;
  /** Time after a group's last member left when the group is deleted; 0: never. */
  readonly groupRetentionMs: number;
  /** The stamp that an entry would get now. */
  readonly stampMs: () => number;
}

/** How often the leader looks for members that are silent and for topics that have changed. */
const LOOK_EVERY_MS = 250;
/** How often it looks for groups that have been without members for too long. */
const EXPIRE_EVERY_MS = 10_000;
/** Joins of a group with so many members, or more, are gathered for so many milliseconds. */
const LONGEST_GATHER_MS = 250;
const RELEASES_GATHER_MS = 20;

export class GroupDesk {
  private readonly liveness = new GroupLiveness(LOOK_EVERY_MS);
  /** Heartbeats that wait for a new assignment. */
  private readonly waiting = new Set<() => void>();
  private readonly news = new GroupNews();
  private readonly joins: Gatherer<Joining, Refusal | null>;
  private readonly leaves: Gatherer<MemberFields, null>;
  private readonly releases: Gatherer<ReleaseFields, null>;
  private timer: Timer | null = null;
  private stopped = false;
  /** A command about silent members or changed topics is under way. */
  private acting = false;
  private lookedForExpiredMs = -Infinity;

  constructor(private readonly options: GroupDeskOptions) {
    this.joins = this.newJoins();
    this.leaves = this.newLeaves();
    this.releases = this.newReleases();
    options.machine.onGroups(() => {
      this.news.observe(options.machine.state.groups);
      this.releaseWaiting();
    });
    this.serveAll();
    this.lookLater();
  }

  stop(): void {
    this.stopped = true;
    this.timer?.cancel();
    this.releaseWaiting();
  }

  /** A leadership begins or ends. */
  startAfresh(): void {
    this.liveness.startAfresh();
    this.news.startAfresh();
    this.releaseWaiting();
  }

  private serveAll(): void {
    const { machine, serve, run, barrier } = this.options;
    serve(joinGroupMethod, (request) => this.join(request));
    serve(groupHeartbeatMethod, (request, call) => this.heartbeat(request, call));
    serve(leaveGroupMethod, (request) => this.leave(request));
    serve(listGroupsMethod, async ({ consistency }, call) => {
      await barrier(call, consistency === "stale");
      return { groups: groupSummaries(machine.state) };
    });
    serve(describeGroupMethod, ({ group }, call) => this.describe(group, call));
    serve(
      reserveGenerationMethod,
      ({ requestId, ...fields }, call) => run(reserveGeneration, fields, requestId, call),
    );
    serve(
      deleteGroupMethod,
      ({ requestId, ...fields }, call) => run(deleteGroup, fields, requestId, call),
    );
    serve(deletedGroupsMethod, async ({ groups }, call) => {
      await barrier(call, false);
      return { groups: deletedOffsets(machine.state, groups) };
    });
  }

  private async join(request: JoinGroupRequest): Promise<GroupGeneration> {
    const { group, member } = request;
    this.options.requireLeadership(`join group ${group}`);
    const { returning, ...fields } = request;
    const refusal = await this.joins.add({ fields, returning });
    if (refusal !== null) {
      const { code, message, retryable } = refusal;
      throw new TrilogError(isErrorCode(code) ? code : "internal", message, { retryable });
    }
    this.liveness.heard(group, member, this.options.clock.monotonicMs());
    return { generation: this.options.machine.state.groups.get(group)?.generation ?? 0 };
  }

  /** Members of a large group come in batches: each division of its partitions has its price. */
  private newJoins(): Gatherer<Joining, Refusal | null> {
    const { clock, run } = this.options;
    return new Gatherer({
      clock,
      pauseMs: (joins) => this.pauseFor(joins.map(({ fields }) => fields.group)),
      run: async (joins) => {
        const [{ fields, returning }] = joins;
        if (joins.length > 1 || returning) return (await run(joinMembers, { joins }, "")).refusals;
        await run(joinGroup, fields, "");
        return [null];
      },
    });
  }

  private async leave({ group, member }: LeaveGroupRequest): Promise<GroupGeneration> {
    await this.leaves.add({ group, member });
    return { generation: this.options.machine.state.groups.get(group)?.generation ?? 0 };
  }

  private newLeaves(): Gatherer<MemberFields, null> {
    const { clock, run } = this.options;
    return new Gatherer({
      clock,
      pauseMs: (leaves) => this.pauseFor(leaves.map(({ group }) => group)),
      run: async (members) => {
        if (members.length > 1) await run(leaveMembers, { members }, "");
        else await run(leaveGroup, members[0], "");
        return members.map(() => null);
      },
    });
  }

  /** The larger a group, the longer its changes are gathered. */
  private pauseFor(groups: readonly string[]): number {
    const { state } = this.options.machine;
    const sizes = groups.map((group) => state.groups.get(group)?.members.length ?? 0);
    return Math.min(LONGEST_GATHER_MS, Math.max(...sizes));
  }

  private newReleases(): Gatherer<ReleaseFields, null> {
    const { clock, run } = this.options;
    return new Gatherer({
      clock,
      pauseMs: () => RELEASES_GATHER_MS,
      run: async (releases) => {
        if (releases.length > 1) await run(releaseMany, { releases }, "");
        else await run(releasePartitions, releases[0], "");
        return releases.map(() => null);
      },
    });
  }

  private async heartbeat(request: GroupHeartbeatRequest, call: Call): Promise<GroupAssignment> {
    const { machine, clock, barrier, requireLeadership } = this.options;
    const { group, member, generation } = request;
    requireLeadership("take heartbeat");
    if (!this.isMember(group, member)) await barrier(call, false);
    this.requireMember(request);
    this.liveness.heard(group, member, clock.monotonicMs());
    await this.release(request);
    const nothingNew = () => {
      const present = machine.state.groups.get(group);
      return present !== undefined && this.news.isKnown(present, member, generation);
    };
    const waitMs = Math.min(request.maxWaitMs, call.deadlineMs / 2);
    if (nothingNew() && waitMs > 0) await this.waitForChange(nothingNew, waitMs);
    // A deposed leader must not say who is a member, or who has what.
    await barrier(call, false);
    requireLeadership("answer heartbeat");
    return assignmentView(machine.state, this.requireMember(request), member);
  }

  private async release(request: GroupHeartbeatRequest): Promise<void> {
    const { group, member, released } = request;
    const has = (groupId: string, generation: number) =>
      this.options.machine.state.groups.get(group)?.partitions.some((partition) =>
        partition.groupId === groupId && partition.owner === member &&
        partition.generation === generation
      );
    const partitions = released.filter(({ groupId, generation }) => has(groupId, generation));
    if (partitions.length === 0) return;
    await this.releases.add({ group, member, partitions });
  }

  private async describe(groupName: string, call: Call): Promise<GroupDescription> {
    const { machine, clock, barrier, requireLeadership } = this.options;
    requireLeadership("describe group");
    await barrier(call, false);
    const group = machine.state.groups.get(groupName);
    if (group === undefined) {
      const message = `Cannot describe group ${groupName}: there is no such group`;
      throw new TrilogError("no_such_group", message);
    }
    return descriptionView(machine.state, group, (member) => {
      const heardMs = this.liveness.lastHeardMs(groupName, member);
      return heardMs === null ? null : Math.max(0, Math.round(clock.monotonicMs() - heardMs));
    });
  }

  private isMember(group: string, member: string): boolean {
    const { members } = this.options.machine.state.groups.get(group) ?? { members: [] };
    return members.some(({ id }) => id === member);
  }

  private requireMember({ group: groupName, member, instance }: GroupHeartbeatRequest) {
    const group = this.options.machine.state.groups.get(groupName);
    if (group !== undefined && this.isMember(groupName, member)) return group;
    if (instance !== null && group?.members.some((other) => other.instance === instance)) {
      const state = `another process is instance ${instance} of group ${groupName} now`;
      throw new TrilogError("fenced", `Cannot take heartbeat: ${state}`);
    }
    const message = `Cannot take heartbeat: ${member} is no member of group ${groupName}`;
    throw new TrilogError("no_such_member", message);
  }

  private waitForChange(nothingNew: () => boolean, longestMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel();
        this.waiting.delete(release);
        resolve();
      };
      // Each change wakes everybody; only those it concerns go on.
      const release = () => {
        if (this.stopped || this.options.leadingTerm() === null || !nothingNew()) end();
      };
      const timer = this.options.clock.after(longestMs, end);
      this.waiting.add(release);
    });
  }

  private releaseWaiting(): void {
    for (const release of [...this.waiting]) release();
  }

  private lookLater(): void {
    this.timer = this.options.clock.after(LOOK_EVERY_MS, () => {
      if (this.stopped) return;
      const term = this.options.leadingTerm();
      if (term !== null) this.look(term);
      this.lookLater();
    });
  }

  /** The leader's duties. */
  private look(term: number): void {
    const { machine: { state }, clock, logger, run } = this.options;
    const members = this.liveness.judge(state.groups, clock.monotonicMs());
    if (this.acting) return;
    if (members.length > 0) {
      const names = members.map(({ group, member }) => `${group}/${member}`).join(",");
      logger.info("expelling members of consumer groups", { members: names });
      this.act(run(expelMembers, { term, members }, ""));
      return;
    }
    const unsettled = [...state.groups.values()].filter((group) => !isSettled(state, group));
    if (unsettled.length === 0) this.expire();
    else this.act(run(settleGroups, { groups: unsettled.map(({ name }) => name) }, ""));
  }

  private expire(): void {
    const { machine: { state }, clock, logger, run, groupRetentionMs: retentionMs } = this.options;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.lookedForExpiredMs < EXPIRE_EVERY_MS) return;
    this.lookedForExpiredMs = nowMs;
    const stampMs = this.options.stampMs();
    const expired = [...state.groups.values()]
      .filter((group) => isExpired(group, retentionMs, stampMs))
      .map(({ name: group, generation }) => ({ group, generation }));
    if (expired.length === 0) return;
    logger.info("deleting consumer groups that have had no members for too long", {
      groups: expired.map(({ group }) => group).join(","),
    });
    this.act(run(expireGroups, { groups: expired, retentionMs }, ""));
  }

  /** What fails is due again at the next look. */
  private act(work: Promise<unknown>): void {
    this.acting = true;
    work.catch((thrown) => {
      const reason = toTrilogError(thrown).message;
      this.options.logger.debug("could not look after consumer groups", { reason });
    }).finally(() => {
      this.acting = false;
    });
  }
}
