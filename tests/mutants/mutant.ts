/** What a mutant is: a small change of the code that the tests must notice. */

/** Seeds of one system of the simulator, counting up. */
export interface Seeds {
  readonly system: "atm" | "kv" | "queue" | "cluster";
  readonly first: number;
  readonly count: number;
}

export interface Mutant {
  /** Unique; words joined by hyphens. */
  readonly name: string;
  /** From the root of the repository. */
  readonly file: string;
  /** Text that the file contains exactly once. */
  readonly find: string;
  /** What stands in its place. Mutants are not type checked. */
  readonly put: string;
  /** What is wrong then, in a sentence. */
  readonly breaks: string;
  /** Test files that kill it, asked first; then the other fast tests of its area are. */
  readonly killers: readonly string[];
  /** Of the tests in these files only those whose names contain this text, where others take long. */
  readonly filter?: string;
  /** Asked where no named test kills it; without them, at last, some seeds of every system. */
  readonly seeds?: readonly Seeds[];
}
