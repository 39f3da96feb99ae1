/**
 * Directories of a simulated disk: names as the running system sees them and as they lie on the
 * medium. A creation, renaming or removal is durable once its directory was synced; until then the
 * power may take it back, either from some moment on (as a journal does) or one by one.
 */

import type { Prng } from "../base/prng.ts";
import { FileContent } from "./disk_file.ts";

export type Node = Directory | FileContent;

/** One name set to a node, or freed. */
interface Setting {
  readonly directory: Directory;
  readonly name: string;
  readonly node: Node | null;
}

/** Settings that are kept or lost together. */
type Change = Setting[];

export class Directory {
  seen = new Map<string, Node>();
  durable = new Map<string, Node>();
}

/** Names of a path's parts; the root is the empty list. */
export function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

export class Names {
  root = new Directory();
  private waiting: Change[] = [];

  find(path: string): Node | null {
    let node: Node = this.root;
    for (const part of partsOf(path)) {
      const next: Node | undefined = node instanceof Directory ? node.seen.get(part) : undefined;
      if (next === undefined) return null;
      node = next;
    }
    return node;
  }

  /** The directory that holds (or would hold) `path`, and the last part; null: no such place. */
  place(path: string): { directory: Directory; name: string } | null {
    const parts = partsOf(path);
    const name = parts.pop();
    const directory = this.find(parts.join("/"));
    if (name === undefined || !(directory instanceof Directory)) return null;
    return { directory, name };
  }

  /** Changes names, at once for the running system, together or not at all for the medium. */
  change(settings: Change): void {
    for (const { directory, name, node } of settings) {
      if (node === null) directory.seen.delete(name);
      else directory.seen.set(name, node);
    }
    this.waiting.push([...settings]);
  }

  /** What happened to names in `directory` so far reaches the medium. */
  settle(directory: Directory): void {
    for (const change of this.waiting) {
      for (const setting of change.filter((setting) => setting.directory === directory)) {
        reach(setting);
        change.splice(change.indexOf(setting), 1);
      }
    }
    this.waiting = this.waiting.filter((change) => change.length > 0);
  }

  /** Everything reaches the medium: names and contents. */
  settleAll(): void {
    for (const change of this.waiting.splice(0)) change.forEach(reach);
    for (const { file } of this.files()) file.settle(file.mark());
  }

  /**
   * The power goes: waiting changes are kept or lost, then every file decides for itself. Without
   * `random` all of them are lost.
   */
  losePower(random: Prng | null): void {
    const waiting = this.waiting;
    this.waiting = [];
    if (random !== null) keepSome(waiting, random);
    forEachDirectory(this.root, (directory) => {
      directory.seen = new Map(directory.durable);
      for (const node of directory.seen.values()) {
        if (node instanceof FileContent) node.losePower(random);
      }
    });
  }

  /** Every file the running system sees, with its path, in the order of paths. */
  files(): { path: string; file: FileContent }[] {
    const found: { path: string; file: FileContent }[] = [];
    const walk = (directory: Directory, prefix: string) => {
      for (const name of [...directory.seen.keys()].sort()) {
        const node = directory.seen.get(name) as Node;
        if (node instanceof Directory) walk(node, `${prefix}${name}/`);
        else found.push({ path: prefix + name, file: node });
      }
    };
    walk(this.root, "");
    return found;
  }
}

/** Changes of names reach the medium up to some moment, as with a journal, or one by one. */
function keepSome(waiting: readonly Change[], random: Prng): void {
  const asJournal = random.chance(0.5);
  const kept = random.between(0, waiting.length);
  waiting.forEach((change, at) => {
    if (asJournal ? at < kept : random.chance(0.5)) change.forEach(reach);
  });
}

function reach({ directory, name, node }: Setting): void {
  if (node === null) directory.durable.delete(name);
  else directory.durable.set(name, node);
}

function forEachDirectory(directory: Directory, visit: (directory: Directory) => void): void {
  visit(directory);
  for (const node of directory.seen.values()) {
    if (node instanceof Directory) forEachDirectory(node, visit);
  }
}

/** A copy of what the medium holds, for a disk that is rolled back later. */
export function copyDurable(node: Directory): Directory {
  const copy = new Directory();
  for (const [name, child] of node.durable) {
    const twin = child instanceof Directory
      ? copyDurable(child)
      : new FileContent(child.durableBytes());
    copy.durable.set(name, twin);
    copy.seen.set(name, twin);
  }
  return copy;
}
