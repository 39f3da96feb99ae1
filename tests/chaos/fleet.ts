/**
 * The servers of one run: real processes behind links that can be cut, each on a disk and under a
 * clock that can be made bad. Who ends without having been told to fails the run.
 */

import { join } from "@std/path";
import { eventually, freePort, type Harness, type Running } from "../e2e/harness.ts";
import { Links } from "../e2e/links.ts";
import type { FaultName } from "./settings.ts";
import { compileShim, ShimControl } from "./shim.ts";
import { SmallDisk } from "./small_disk.ts";

/** Where a server is to be found, before it runs. */
export interface Place {
  readonly name: string;
  /** Its own address: clients come here, past the links. */
  readonly address: string;
  /** The address that other servers dial: the links. */
  readonly advertised: string;
  readonly data: string;
}

export interface Server extends Place {
  readonly words: readonly string[];
  readonly shim: ShimControl | null;
  readonly disk: SmallDisk | null;
  process: Running;
  /** Whether it should be running. */
  wanted: boolean;
  /** Whether a fault has it in hand. */
  busy: boolean;
}

const SHIM_FAULTS: readonly FaultName[] = ["slow-disk", "io-error", "clock", "power"];

export class Fleet {
  readonly links = new Links();
  readonly servers: Server[] = [];
  /** Faults that cannot be had on this machine, and why. */
  readonly skipped = new Map<FaultName, string>();
  /** Times that each fault was felt, not only attempted. */
  readonly fired = new Map<FaultName, number>();
  /** All that servers wrote to stderr before their last start, by name. */
  readonly said = new Map<string, string>();
  private library: string | null = null;
  private readonly root: string;

  private constructor(
    private readonly harness: Harness,
    private readonly faults: readonly FaultName[],
  ) {
    this.root = harness.temporaryDirectory();
    harness.defer(() => this.links.close());
  }

  static async prepare(harness: Harness, faults: readonly FaultName[]): Promise<Fleet> {
    const fleet = new Fleet(harness, faults);
    const needing = SHIM_FAULTS.filter((fault) => faults.includes(fault));
    if (needing.length + Number(faults.includes("disk-full")) === 0) return fleet;
    const shim = await compileShim(fleet.root);
    if ("path" in shim) fleet.library = shim.path;
    else for (const fault of needing) fleet.skipped.set(fault, shim.missing);
    return fleet;
  }

  /** The faults of this run that can be had here. */
  get available(): readonly FaultName[] {
    return this.faults.filter((fault) => !this.skipped.has(fault));
  }

  get names(): string[] {
    return this.servers.map(({ name }) => name);
  }

  server(name: string): Server {
    return this.servers.find((server) => server.name === name)!;
  }

  place(name: string): Place {
    const port = freePort();
    const advertised = this.links.add(name, port);
    return { name, address: `127.0.0.1:${port}`, advertised, data: join(this.root, name, "data") };
  }

  /** Starts a server at its place without waiting for it. */
  async launch(place: Place, words: readonly string[]): Promise<Server> {
    const directory = join(this.root, place.name);
    Deno.mkdirSync(directory);
    const disk = await this.smallDisk(directory);
    Deno.mkdirSync(place.data);
    const shim = this.control(place);
    const process = this.start(words, shim);
    const server = { ...place, words, shim, disk, process, wanted: true, busy: false };
    this.servers.push(server);
    return server;
  }

  async listening(server: Server): Promise<void> {
    await server.process.line("stderr", /^listening on /);
  }

  async kill(server: Server): Promise<void> {
    server.wanted = false;
    await server.process.kill();
  }

  /** Starts a server that ended, on what its disk kept. */
  restart(server: Server): void {
    const before = this.said.get(server.name) ?? "";
    this.said.set(server.name, `${before}${server.process.text("stderr")}--- started again\n`);
    server.process = this.start(server.words, server.shim);
    server.wanted = true;
  }

  /** Throws where a server has ended that should run. */
  checkRunning(): void {
    const lost = this.servers.find(({ wanted, process }) => wanted && process.exited);
    if (lost === undefined) return;
    const { name, process } = lost;
    throw new Error(`${name} ended by itself:\n${process.text("stderr").slice(-4_000)}`);
  }

  /** Waits for `attempt` as `eventually` does, but not after a server has ended by itself. */
  async eventually(what: string, attempt: () => Promise<true>, patienceMs: number): Promise<void> {
    await eventually(what, async () => {
      const running = this.servers.every(({ wanted, process }) => !wanted || !process.exited);
      return running ? await attempt() : true;
    }, patienceMs);
    this.checkRunning();
  }

  felt(fault: FaultName): void {
    this.fired.set(fault, (this.fired.get(fault) ?? 0) + 1);
  }

  /** Stops every server in an orderly way and has its files verified. */
  async closeAndVerify(): Promise<void> {
    const statuses = await Promise.all(this.servers.map((server) => {
      server.wanted = false;
      return server.process.terminate();
    }));
    for (const [at, status] of statuses.entries()) {
      const { name, process, data } = this.servers[at];
      if (status !== 0) throw new Error(`${name} ended with ${status}: ${process.text("stderr")}`);
      const verified = await this.harness.run(["verify", data]);
      if (verified.code !== 0) {
        throw new Error(
          `trilog verify of ${name} ended with ${verified.code}:\n` +
            `${verified.stdout}${verified.stderr}`,
        );
      }
    }
  }

  /** Keeps what every server said, for whoever looks into a failure. */
  keepLogs(directory: string): void {
    for (const { name, process } of this.servers) {
      const text = (this.said.get(name) ?? "") + process.text("stderr");
      Deno.writeTextFileSync(join(directory, `${name}.log`), text);
    }
  }

  private start(words: readonly string[], shim: ShimControl | null): Running {
    if (shim === null) return this.harness.start(...words);
    const [command, ...prefix] = shim.prefix;
    return this.harness.startCommand(command, ...prefix, this.harness.binary, ...words);
  }

  private control({ name, data }: Place): ShimControl | null {
    if (this.library === null) return null;
    const shadow = this.faults.includes("power") ? join(this.root, `${name}.synced`) : null;
    const control = join(this.root, `${name}.control`);
    const shim = new ShimControl(this.library, control, data, shadow);
    this.harness.defer(() => shim.close());
    return shim;
  }

  private async smallDisk(directory: string): Promise<SmallDisk | null> {
    if (!this.available.includes("disk-full")) return null;
    const disk = await SmallDisk.mount(directory);
    if (typeof disk === "string") {
      this.skipped.set("disk-full", disk);
      return null;
    }
    this.harness.defer(() => disk.unmount());
    return disk;
  }
}

/** Waits until a process that a fault should end has ended. */
export async function ended(server: Server, why: string, patienceMs: number): Promise<void> {
  await eventually(`the end of ${server.name} after ${why}`, () => {
    return server.process.exited || null;
  }, patienceMs);
}
