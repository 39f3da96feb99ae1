/** A node's status as it might be, for tests. */

import type { NodeStatus } from "../../lib/replica/node_protocol.ts";

export const STATUS: NodeStatus = {
  name: "a1",
  replicaId: "00112233aabbccdd",
  address: "127.0.0.1:7001",
  cluster: "feedfeedfeedfeed",
  role: "leader",
  term: 2,
  leader: "a1",
  leaderAddress: "127.0.0.1:7001",
  commit: 9,
  applied: 9,
  lastIndex: 9,
  caughtUp: null,
  members: [
    {
      name: "a1",
      replicaId: "00112233aabbccdd",
      address: "127.0.0.1:7001",
      role: "voter",
      lag: null,
      heardMs: null,
    },
    {
      name: "a2",
      replicaId: "0123012301230123",
      address: "127.0.0.1:7002",
      role: "learner",
      lag: 4,
      heardMs: 12,
    },
  ],
};
