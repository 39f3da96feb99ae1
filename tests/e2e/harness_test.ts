import { assert, assertEquals, assertRejects } from "@std/assert";
import { encode } from "@std/msgpack";
import { eventually, freePort, Running, sleep } from "./harness.ts";
import { Links } from "./links.ts";

/** The first frame that a node of this name sends. */
function hello(name: string): Uint8Array {
  const payload = encode(["trilog", 1, null, null, name, 0, 0, "", null]);
  const frame = new Uint8Array(4 + payload.length);
  new DataView(frame.buffer).setUint32(0, payload.length);
  frame.set(payload, 4);
  return frame;
}

/** Collects what arrives on a connection. */
class Ear {
  bytes: number[] = [];
  ended = false;

  constructor(readonly connection: Deno.Conn) {
    void this.listen();
  }

  private async listen(): Promise<void> {
    const buffer = new Uint8Array(1024);
    try {
      while (true) {
        const count = await this.connection.read(buffer);
        if (count === null) break;
        this.bytes.push(...buffer.subarray(0, count));
      }
    } catch {
      // A reset is an end, too.
    }
    this.ended = true;
  }

  async heard(byte: number): Promise<void> {
    await eventually(`byte ${byte}`, () => this.bytes.includes(byte) || null, 5_000);
  }
}

Deno.test("a cut link holds what is sent that way, passes the other way, and delivers when healed", async () => {
  const node = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const links = new Links();
  const [hostname, port] = links.add("b", node.addr.port).split(":");
  const dialled = await Deno.connect({ hostname, port: Number(port) });
  await dialled.write(hello("a"));
  const accepted = await node.accept();
  const atNode = new Ear(accepted);
  const atDialler = new Ear(dialled);
  await dialled.write(Uint8Array.of(201));
  await atNode.heard(201);

  links.cut("a", "b");
  await dialled.write(Uint8Array.of(202));
  await accepted.write(Uint8Array.of(203));
  await atDialler.heard(203);
  await sleep(50);
  assert(!atNode.bytes.includes(202), "nothing passes a cut link");

  links.separate(["a"], ["b"]);
  await accepted.write(Uint8Array.of(204));
  await sleep(50);
  assert(!atDialler.bytes.includes(204), "nothing passes the other way either");

  links.heal();
  await atNode.heard(202);
  await atDialler.heard(204);
  accepted.close();
  await eventually("the end of the other side", () => atDialler.ended || null, 5_000);
  dialled.close();
  node.close();
  await links.close();
});

Deno.test("a new connection over a cut link reaches nobody until the link is healed", async () => {
  const node = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const links = new Links();
  const [hostname, port] = links.add("b", node.addr.port).split(":");
  links.cut("a", "b");
  const dialled = await Deno.connect({ hostname, port: Number(port) });
  await dialled.write(hello("a"));
  const accepted = node.accept();
  let reached = false;
  void accepted.then(() => {
    reached = true;
  });
  await sleep(50);
  assertEquals(reached, false);
  links.heal();
  (await accepted).close();
  dialled.close();
  node.close();
  await links.close();
});

Deno.test("a proxy before a dead node closes what dials it", async () => {
  const links = new Links();
  const [hostname, port] = links.add("b", freePort()).split(":");
  const dialled = await Deno.connect({ hostname, port: Number(port) });
  await dialled.write(hello("a"));
  const ear = new Ear(dialled);
  await eventually("the end", () => ear.ended || null, 5_000);
  dialled.close();
  await links.close();
});

Deno.test("a process's lines are waited for, and it can be stopped, killed and asked to end", async () => {
  const script = 'echo one; echo two >&2; read line; echo "got $line"; sleep 100';
  const process = new Running("bash", ["-c", script]);
  await process.line("stdout", /^one$/);
  await process.line("stderr", /^two$/);
  await process.write("three\n");
  assertEquals((await process.line("stdout", /^got/)).text, "got three");
  await assertRejects(() => process.line("stdout", /never/, { patienceMs: 30 }), Error, "never");
  process.signal("SIGSTOP");
  await process.dispose();
  assertEquals(process.exited, true);

  const other = new Running("bash", ["-c", "trap 'exit 7' TERM; echo up; read line"]);
  await other.line("stdout", /up/);
  other.signal("SIGTERM");
  await other.endInput();
  assertEquals(await other.status(), 7);
  await other.dispose();
});
