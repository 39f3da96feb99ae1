/** PURE. A method of brokers for clients whose request to a leader takes long. */

import { list, record, token, whole } from "../base/codec.ts";
import { method } from "./protocol_method.ts";

export interface LeadersRequest {
  readonly groups: readonly { readonly groupId: string; readonly epoch: number }[];
}

/** The leader of a partition as one of its replicas knows it. */
export interface KnownLeader {
  readonly groupId: string;
  readonly address: string;
  readonly term: number;
}

export interface LeadersAnswer {
  /** Without the groups that the broker does not host in that epoch or knows no leader of. */
  readonly leaders: readonly KnownLeader[];
}

/** Answered at once from what the broker's replicas have heard; a hint, nothing more. */
export const leadersMethod = method<LeadersRequest, LeadersAnswer>(
  "broker.leaders",
  record<LeadersRequest>({
    groups: list(record<LeadersRequest["groups"][number]>({ groupId: token, epoch: whole })),
  }),
  record<LeadersAnswer>({
    leaders: list(record<KnownLeader>({ groupId: token, address: token, term: whole })),
  }),
);
