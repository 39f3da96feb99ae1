/** All scenarios, in the order in which the table lists them. */

import { kvScenarios } from "./kv/kv_scenarios.ts";
import { raftAgreement } from "./raft_agreement.ts";
import { raftCrashes } from "./raft_crashes.ts";
import { raftElections } from "./raft_elections.ts";
import { raftSnapshots } from "./raft_snapshots.ts";
import type { Scenario } from "./world.ts";

export const raftScenarios: readonly Scenario[] = [
  ...raftElections,
  ...raftAgreement,
  ...raftCrashes,
  ...raftSnapshots,
];

export const scenarios: readonly Scenario[] = [...raftScenarios, ...kvScenarios];
