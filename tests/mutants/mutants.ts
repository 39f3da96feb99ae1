/** All mutants. */

import { joinMutants } from "./joins.ts";
import type { Mutant } from "./mutant.ts";
import { queueMutants } from "./queue.ts";
import { raftMutants } from "./raft.ts";
import { replicaMutants } from "./replica.ts";
import { storageMutants } from "./storage.ts";

export const MUTANTS: readonly Mutant[] = [
  ...raftMutants,
  ...storageMutants,
  ...replicaMutants,
  ...joinMutants,
  ...queueMutants,
];
