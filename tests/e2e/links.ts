/**
 * A network that can be cut: a TCP proxy stands before every node, under the address that the
 * others dial. It reads who dials from the first frame (4 bytes of length, then a MessagePack
 * array whose fifth element is the node's name) and from then on passes each direction only while
 * that directed link is whole. A cut link holds what was sent, like a network that loses packets
 * for a while and a TCP that repeats them later.
 */

import { decode } from "@std/msgpack";

const NAME_FIELD = 4;
/** A first frame longer than this is no hello. */
const LONGEST_HELLO_BYTES = 4 * 1024;

export class Links {
  /** Cut links, as `from>to`. */
  private readonly cuts = new Set<string>();
  private waiting: (() => void)[] = [];
  private readonly proxies: Proxy[] = [];
  /** How often a cut link had something to hold: only then was the cut felt. */
  held = 0;

  /** Puts a proxy before the node `name`, whose own port is `target`; returns its address. */
  add(name: string, target: number): string {
    const proxy = new Proxy(this, name, target);
    this.proxies.push(proxy);
    return proxy.address;
  }

  /** Stops all that `from` sends to `to`. */
  cut(from: string, to: string): void {
    this.cuts.add(`${from}>${to}`);
  }

  /** Cuts both ways between every node of one side and every node of the other. */
  separate(one: readonly string[], other: readonly string[]): void {
    for (const left of one) {
      for (const right of other) {
        this.cut(left, right);
        this.cut(right, left);
      }
    }
  }

  /** Makes every link whole again. */
  heal(): void {
    this.cuts.clear();
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  isWhole(from: string, to: string): boolean {
    return !this.cuts.has(`${from}>${to}`);
  }

  /** Resolves as soon as the link is whole. */
  async whole(from: string, to: string): Promise<void> {
    if (!this.isWhole(from, to)) this.held += 1;
    while (!this.isWhole(from, to)) {
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }

  async close(): Promise<void> {
    this.heal();
    await Promise.all(this.proxies.map((proxy) => proxy.close()));
  }
}

class Proxy {
  private readonly listener: Deno.TcpListener;
  private readonly open = new Set<Deno.Conn>();
  private readonly work = new Set<Promise<void>>();

  constructor(
    private readonly links: Links,
    private readonly name: string,
    private readonly target: number,
  ) {
    this.listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.track(this.accept());
  }

  get address(): string {
    return `127.0.0.1:${this.listener.addr.port}`;
  }

  async close(): Promise<void> {
    this.listener.close();
    for (const connection of [...this.open]) this.end(connection);
    while (this.work.size > 0) await Promise.all(this.work);
  }

  private track(work: Promise<void>): void {
    const quiet = work.catch(() => {});
    this.work.add(quiet);
    void quiet.then(() => this.work.delete(quiet));
  }

  private async accept(): Promise<void> {
    for await (const connection of this.listener) this.track(this.serve(connection));
  }

  private async serve(dialler: Deno.Conn): Promise<void> {
    this.open.add(dialler);
    try {
      const hello = await readHello(dialler);
      await this.links.whole(hello.name, this.name);
      const node = await Deno.connect({ hostname: "127.0.0.1", port: this.target });
      this.open.add(node);
      await writeAll(node, hello.bytes);
      await Promise.all([
        this.pump(dialler, node, hello.name, this.name),
        this.pump(node, dialler, this.name, hello.name),
      ]);
    } catch {
      // Whatever went wrong with a connection: both ends see it closed.
    } finally {
      this.end(dialler);
    }
  }

  /** Passes bytes on while the link is whole; the end of one side becomes the end of the other. */
  private async pump(source: Deno.Conn, target: Deno.Conn, from: string, to: string) {
    const buffer = new Uint8Array(64 * 1024);
    try {
      while (true) {
        const count = await source.read(buffer);
        await this.links.whole(from, to);
        if (count === null) return;
        await writeAll(target, buffer.subarray(0, count));
      }
    } finally {
      this.end(source);
      this.end(target);
    }
  }

  private end(connection: Deno.Conn): void {
    if (!this.open.delete(connection)) return;
    try {
      connection.close();
    } catch {
      // It had ended by itself.
    }
  }
}

/** The bytes up to the end of the first frame, or more, and the name in it. */
async function readHello(connection: Deno.Conn): Promise<{ name: string; bytes: Uint8Array }> {
  const buffer = new Uint8Array(64 * 1024);
  let length = 0;
  while (true) {
    const count = await connection.read(buffer.subarray(length));
    if (count === null) throw new Error("it ended before its first frame");
    length += count;
    if (length < 4) continue;
    const frameBytes = new DataView(buffer.buffer).getUint32(0);
    if (frameBytes > LONGEST_HELLO_BYTES) throw new Error("it does not begin with a hello");
    if (length < 4 + frameBytes) continue;
    const fields = decode(buffer.slice(4, 4 + frameBytes));
    const name = Array.isArray(fields) ? fields[NAME_FIELD] : null;
    if (typeof name !== "string") throw new Error("its hello names nobody");
    return { name, bytes: buffer.subarray(0, length) };
  }
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}
