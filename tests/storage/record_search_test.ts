/** Searching for records behind damage: right, and linear whatever the bytes are. */

import { assert, assertEquals } from "@std/assert";
import { crc32 } from "node:zlib";
import { Prng } from "../../lib/base/prng.ts";
import { RECORD_HEADER_BYTES, RecordKind, RecordReader } from "../../lib/storage/record.ts";
import { RecordSearch } from "../../lib/storage/record_search.ts";
import { command, directory, openLog } from "./fixtures.ts";
import { JournalDisk } from "./journal_disk.ts";

Deno.test("the checksum of any stretch is that of CRC-32, from any seed", () => {
  const random = new Prng(7);
  const bytes = Uint8Array.from({ length: 20_000 }, () => random.below(256));
  const search = new RecordSearch(bytes);
  for (let round = 0; round < 2_000; round += 1) {
    const from = random.below(bytes.length + 1);
    const to = random.between(from, bytes.length);
    const seed = random.below(2 ** 32);
    const expected = crc32(bytes.subarray(from, to), seed);
    assertEquals(search.checksum(from, to, seed), expected, `${from} to ${to} from ${seed}`);
  }
});

/** A payload every 4 bytes of which may begin a record that claims most of the rest. */
function deceptive(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at + 4 <= length; at += 4) {
    bytes[at] = RecordKind.entry;
    bytes[at + 1] = at % 3;
  }
  // Read as a length, each word is 2 to 514: short claims at one phase, long ones at the others.
  for (let at = 0; at + 44 <= length; at += 44) {
    new DataView(bytes.buffer).setUint32(at + 4, length - at - 44, true);
  }
  return bytes;
}

Deno.test("payloads shaped like records do not make the search read the file again", () => {
  const disk = new JournalDisk();
  const log = openLog(disk, { segmentBytes: 2 ** 30 });
  for (let index = 1; index <= 8; index += 1) {
    log.append(null, [{ ...command(index, 1), data: deceptive(128 * 1024) }]);
  }
  log.syncNow();
  const [path, bytes] = [...disk.image()].find(([name]) => name.endsWith(".segment"))!;
  const file = disk.open(path, "read");
  const first = bytes.length - 8 * (128 * 1024 + RECORD_HEADER_BYTES);
  disk.bytesRead = 0;
  const seed = crc32(new TextEncoder().encode("c0ffee00c0ffee00\0p/1/0\u00001"));
  const reader = new RecordReader(file, path, seed, bytes.length, 64 * 1024);
  let found = 0;
  for (let record = reader.find(first + 1); record !== null; record = reader.find(record.end)) {
    found += 1;
  }
  assertEquals(found, 7, "every record behind the first position is found, and no payload");
  assert(disk.bytesRead <= bytes.length, `${disk.bytesRead} of ${bytes.length} bytes were read`);
});

Deno.test("a log with one bad byte before deceptive payloads opens as rot", () => {
  const disk = new JournalDisk();
  const log = openLog(disk, { segmentBytes: 2 ** 30 });
  log.append({ term: 1, vote: "r1", commit: 0 }, [command(1, 1)]);
  log.syncNow();
  log.append(null, [{ ...command(2, 1), data: deceptive(1024 * 1024) }]);
  log.syncNow();
  log.append(null, [command(3, 1)]);
  const file = disk.open(`${directory}/00000001-0000000000000001.segment`, "write");
  const size = file.size();
  file.writeAt(size - 700_000, new Uint8Array([0xff]));
  const damaged = new JournalDisk(disk.image());
  let message = "";
  try {
    openLog(damaged);
  } catch (thrown) {
    message = String(thrown);
  }
  assert(message.includes("it was synced up to"), message);
  assert(damaged.bytesRead < 5 * size, `${damaged.bytesRead} of ${size} bytes were read`);
});
