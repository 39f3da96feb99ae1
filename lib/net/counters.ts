/** What the network part of a process counts, for metrics. All only ever grow, but `connections`. */
export interface NetCounters {
  framesIn: number;
  framesOut: number;
  bytesIn: number;
  bytesOut: number;
  /** Socket writes: `framesOut / writes` says how well frames share them. */
  writes: number;
  /** Accepted connections that are open now. */
  connections: number;
  /** Connections refused in the handshake, or for lack of room. */
  refused: number;
  /** Connections closed because of bytes that make no sense. */
  malformed: number;
  /** Peer frames dropped because they were not from or not to whom they should be. */
  misaddressed: number;
  /** Peer frames dropped for lack of a connection or of room in its queue. */
  dropped: number;
}

export function newCounters(): NetCounters {
  return {
    framesIn: 0,
    framesOut: 0,
    bytesIn: 0,
    bytesOut: 0,
    writes: 0,
    connections: 0,
    refused: 0,
    malformed: 0,
    misaddressed: 0,
    dropped: 0,
  };
}
