/** A disk that counts how long its syncs take, for metrics; everything else passes through. */

import type { Clock } from "../base/clock.ts";
import type { Histogram } from "../base/metrics.ts";
import type { Disk, DiskFile, DiskLock } from "./disk.ts";

export class TimedDisk implements Disk {
  constructor(
    private readonly disk: Disk,
    private readonly clock: Pick<Clock, "monotonicMs">,
    private readonly syncTimes: Histogram,
  ) {}

  makeDirectory(path: string): void {
    this.disk.makeDirectory(path);
  }

  list(path: string): string[] {
    return this.disk.list(path);
  }

  exists(path: string): boolean {
    return this.disk.exists(path);
  }

  remove(path: string): void {
    this.disk.remove(path);
  }

  rename(from: string, to: string): void {
    this.disk.rename(from, to);
  }

  syncDirectory(path: string): void {
    this.disk.syncDirectory(path);
  }

  open(path: string, mode: "read" | "write" | "create"): DiskFile {
    return new TimedFile(this.disk.open(path, mode), this.clock, this.syncTimes);
  }

  lock(path: string): DiskLock {
    return this.disk.lock(path);
  }

  freeBytes(): number | null {
    return this.disk.freeBytes();
  }
}

class TimedFile implements DiskFile {
  constructor(
    private readonly file: DiskFile,
    private readonly clock: Pick<Clock, "monotonicMs">,
    private readonly syncTimes: Histogram,
  ) {}

  size(): number {
    return this.file.size();
  }

  readAt(position: number, into: Uint8Array): number {
    return this.file.readAt(position, into);
  }

  writeAt(position: number, bytes: Uint8Array): void {
    this.file.writeAt(position, bytes);
  }

  truncate(size: number): void {
    this.file.truncate(size);
  }

  async sync(): Promise<void> {
    const startMs = this.clock.monotonicMs();
    await this.file.sync();
    this.syncTimes.observeMs(this.clock.monotonicMs() - startMs);
  }

  syncNow(): void {
    const startMs = this.clock.monotonicMs();
    this.file.syncNow();
    this.syncTimes.observeMs(this.clock.monotonicMs() - startMs);
  }

  close(): void {
    this.file.close();
  }
}
