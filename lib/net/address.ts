/** Network addresses as people write them: `host:port`, an IPv6 host in brackets. */

import { TrilogError } from "../base/errors.ts";

export interface Address {
  readonly hostname: string;
  /** 0 to 65535; 0 asks the system to pick one when listening. */
  readonly port: number;
}

const FORM = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([a-zA-Z0-9._-]+)):([0-9]{1,5})$/;

/** Reads `host:port`; throws `invalid_argument` on anything else. */
export function parseAddress(text: string): Address {
  const match = FORM.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new TrilogError(
      "invalid_argument",
      `Cannot use address ${JSON.stringify(text)}: it is not HOST:PORT`,
    );
  }
  return { hostname: match[1] ?? match[2], port };
}

export function formatAddress(address: Address): string {
  const host = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
  return `${host}:${address.port}`;
}
