/** A node's directory that becomes that of a cluster of one, interrupted anywhere. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { utf8 } from "../../lib/base/bytes.ts";
import { TrilogError } from "../../lib/base/errors.ts";
import { EntryKind, type Membership } from "../../lib/raft/types.ts";
import { lookAtLone, recoverLone } from "../../lib/replica/lone_recovery.ts";
import { DenoDisk } from "../../lib/storage/deno_disk.ts";
import { openDataDirectory, readIdentity } from "../../lib/storage/identity.ts";
import { verifyDirectory } from "../../lib/storage/inspect.ts";
import { groupDirectory, groupNumbers } from "../../lib/storage/layout.ts";
import { openSegmentLog } from "../../lib/storage/segment_log.ts";

const CLUSTER = "00000000000000c1";
const SEGMENT_BYTES = 1_000;
const members: Membership = {
  voters: ["r1", "r2", "r3"],
  outgoing: [],
  learners: [],
  learnersNext: [],
  nodes: Object.fromEntries(
    [1, 2, 3].map((at) => [`r${at}`, { name: `a${at}`, address: `127.0.0.1:700${at}` }]),
  ),
};

/** A disk that dies at its n-th rename. */
class DyingDisk extends DenoDisk {
  constructor(root: string, private left: number) {
    super(root);
  }

  override rename(from: string, to: string): void {
    if (this.left === 0) throw new Error("the process died");
    this.left -= 1;
    super.rename(from, to);
  }
}

/** The directory of `a1` with 50 entries in its log. */
function makeNode(root: string, group = "atm"): void {
  const disk = new DenoDisk(root);
  const directory = openDataDirectory(disk, { name: "a1", newReplicaId: () => "r1" });
  directory.prepare({ cluster: CLUSTER, membership: members });
  directory.becomeMember(CLUSTER);
  const log = openSegmentLog(disk, {
    identity: { cluster: CLUSTER, group },
    directory: groupDirectory(1),
    bootstrap: members,
    segmentBytes: SEGMENT_BYTES,
  });
  const entries = Array.from({ length: 50 }, (_, at) => {
    return { index: at + 1, term: 2, kind: EntryKind.command, timeMs: 9, data: utf8(`e${at}`) };
  });
  log.append({ term: 2, vote: "r1", commit: 40 }, entries);
  log.close();
  directory.close();
}

const options = {
  newIdentity: () => "00000000000000ff",
  segmentBytes: SEGMENT_BYTES,
  keepsCluster: (group: string) => group === "metadata",
  commands: () => [utf8("last")],
};

async function inDirectory(test: (root: string) => Promise<void>): Promise<void> {
  const root = Deno.makeTempDirSync({ prefix: "trilog-lone-" });
  try {
    await test(root);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

function assertRecovered(root: string, cluster: string, group: string): void {
  const disk = new DenoDisk(root);
  assertEquals(verifyDirectory(disk), []);
  const { replicaId, superseded, founding, cluster: own } = readIdentity(disk)!;
  assertEquals([replicaId, own], ["00000000000000ff", cluster]);
  assertEquals(superseded.toSorted(), ["r1", "r2", "r3"], "no old member is ever heard again");
  assertEquals(founding!.membership.voters, [replicaId]);
  const numbers = groupNumbers(disk);
  assertEquals(numbers.length, 1);
  const log = openSegmentLog(disk, {
    identity: { cluster, group },
    directory: groupDirectory(numbers[0]),
    bootstrap: null,
    segmentBytes: SEGMENT_BYTES,
  });
  assertEquals(log.lastIndex(), 51);
  assertEquals(log.recovered.baseMembership.voters, [replicaId]);
  log.close();
}

Deno.test("the node is alone under a new identity in a new cluster, and the old files are kept", async () => {
  await inDirectory(async (root) => {
    makeNode(root);
    const { log: { last, hardState } } = lookAtLone(new DenoDisk(root));
    assertEquals([last.index, hardState.commit], [50, 40]);
    const { setAside } = await recoverLone(new DenoDisk(root), options);
    assertRecovered(root, "00000000000000ff", "atm");
    const kept = new DenoDisk(`${root}/${setAside}`);
    assertEquals([readIdentity(kept)!.replicaId, groupNumbers(kept)], ["r1", [1]]);
  });
});

Deno.test("a group whose cluster's id others hold on to keeps it", async () => {
  await inDirectory(async (root) => {
    makeNode(root, "metadata");
    await recoverLone(new DenoDisk(root), options);
    assertRecovered(root, CLUSTER, "metadata");
  });
});

Deno.test("interrupted anywhere, no node starts on half of it, and the same again finishes it", async () => {
  let interrupted = 0;
  for (let renames = 0;; renames += 1) {
    let done = false;
    await inDirectory(async (root) => {
      makeNode(root);
      try {
        await recoverLone(new DyingDisk(root, renames), options);
        done = true;
      } catch (thrown) {
        assert(
          thrown instanceof Error && thrown.message.includes("the process died"),
          String(thrown),
        );
        interrupted += 1;
        assertWholeOrRefused(root);
        await recoverLone(new DenoDisk(root), options);
      }
      assertRecovered(root, "00000000000000ff", "atm");
    });
    if (done) break;
  }
  assert(interrupted >= 5, `${interrupted} places to die`);
});

/** The old node as it was, or a directory that no node starts on. */
function assertWholeOrRefused(root: string): void {
  try {
    assertEquals(readIdentity(new DenoDisk(root))!.replicaId, "r1");
  } catch (thrown) {
    assert(thrown instanceof TrilogError && thrown.code === "corrupt");
    return;
  }
  assertEquals(lookAtLone(new DenoDisk(root)).log.last.index, 50);
}

Deno.test("a blank directory, a broker's and a damaged one are refused", async () => {
  await inDirectory(async (root) => {
    assertEquals(
      assertThrows(() => lookAtLone(new DenoDisk(root)), TrilogError).code,
      "invalid_argument",
    );
    makeNode(root, "p/1/0@1");
    const refusal = await assertRejects(
      () => recoverLone(new DenoDisk(root), options),
      TrilogError,
    );
    assertEquals(refusal.code, "invalid_argument");
  });
});
