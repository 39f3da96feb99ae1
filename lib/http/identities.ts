/** PURE. What is derived from the ids of requests: the same id gives the same, on any manager. */

import { createHash } from "node:crypto";
import { hexOf, viewOf } from "../base/bytes.ts";

/** A hash of some words; different lists of words give different hashes. */
export class RequestHash {
  private readonly bytes: Uint8Array;

  constructor(...words: readonly (string | number | null)[]) {
    this.bytes = createHash("sha256").update(JSON.stringify(words)).digest();
  }

  /** 32 hexadecimal digits. */
  get id(): string {
    return hexOf(this.bytes.subarray(0, 16));
  }

  /** A whole number below 2^52. */
  get number52(): number {
    const view = viewOf(this.bytes);
    return (view.getUint32(16) % 2 ** 20) * 2 ** 32 + view.getUint32(20);
  }

  /** A whole number below `bound`, which is at most 2^32. */
  below(bound: number): number {
    return viewOf(this.bytes).getUint32(24) % bound;
  }
}
