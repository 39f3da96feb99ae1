/** PURE. Flags that several commands share, so that they read and behave alike. */

/** Managers that a client turns to. */
export const bootstrapFlags = {
  bootstrap: {
    type: "addresses",
    default: "127.0.0.1:9001,127.0.0.1:9002,127.0.0.1:9003",
    env: "TRILOG_BOOTSTRAP",
    help: "managers to ask; others are learnt from them",
  },
} as const;

/** Flags of everybody who connects or listens. */
export const securityFlags = {
  tokenFile: {
    type: "path",
    env: "TRILOG_TOKEN_FILE",
    help: "file with the token that both sides of a connection know",
  },
} as const;

/** Flags of `manager`, `atm` and `kv`: nodes that replicate one group. */
export const memberFlags = {
  takeoverAfter: {
    type: "duration",
    default: "60s",
    help: "silence after which an empty server at another address takes the name of one",
  },
} as const;

/** Flags of `manager`, `broker`, `atm` and `kv` alike. */
export const nodeFlags = {
  advertise: { type: "address", help: "address that others dial (default: where it listens)" },
  raftHeartbeat: { type: "duration", default: "50ms", help: "beat of a leader to its followers" },
  electionTimeout: {
    type: "duration",
    default: "300ms",
    help: "silence after which a follower campaigns",
  },
  logLevel: {
    type: "choice",
    choices: ["debug", "info", "warn", "error"],
    default: "info",
    help: "least level that is logged",
  },
  logFormat: {
    type: "choice",
    choices: ["text", "json"],
    default: "text",
    help: "form of a log line on stderr",
  },
  ...securityFlags,
  insecure: { type: "boolean", help: "allow listening outside loopback without a token" },
} as const;
