/** All scenarios, in the order in which the table lists them. */

import { kvScenarios } from "./kv/kv_scenarios.ts";
import { raftAgreement } from "./raft_agreement.ts";
import { raftCrashes } from "./raft_crashes.ts";
import { manyElections, raftElections } from "./raft_elections.ts";
import { raftSnapshots } from "./raft_snapshots.ts";
import type { Scenario } from "./world.ts";

export const raftScenarios: readonly Scenario[] = [
  ...raftElections,
  ...raftAgreement,
  ...raftCrashes,
  ...raftSnapshots,
];

/** What is a test of its own; "many elections" would answer to the filter of the two basic ones. */
export const raftTests: readonly Scenario[] = raftScenarios.filter((one) => one !== manyElections);

export const scenarios: readonly Scenario[] = [...raftScenarios, ...kvScenarios];
