// An offline look at a data directory finds each kind of damage, names relation and block, finds
// none where there is none, agrees with what a start makes of the directory, and writes nothing.

import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  Backend,
  SharedMemory,
  StorageError,
  type StorageManager,
  type VerifyProgress,
  type VerifyResult,
  verifyStorage,
} from "../../bindings/index.ts";
import { nodeFiles, openStorage } from "../../bindings/storage/node-fs.ts";
import { changeControl } from "../support/control.ts";
import { openPool, stamp, stamped, stampOf } from "../support/pool.ts";
import { Random } from "../support/random.ts";

const BLOCK = 8192;
const MISMATCH = /^page verification failed, calculated checksum \d+ but expected \d+$/;

let top = "";
let directory = "";
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), "palloc-verify-"));
  directory = join(top, "data");
});
afterEach(() => rmSync(top, { recursive: true, force: true }));

/** Works on a data directory, and leaves it as a process that is killed does: no checkpoint. */
async function use(work: (backend: Backend) => void, where = directory, data_checksums = true) {
  const settings = { shared_buffers: 16, max_connections: 2, data_checksums };
  const shared = await SharedMemory.create({ settings, storage: nodeFiles(where) });
  try {
    const backend = Backend.attachSync(shared.handle, { storage: openStorage });
    work(backend);
    backend.detach();
  } finally {
    await shared.close();
  }
}

async function verify(where = directory): Promise<VerifyResult> {
  const storage = nodeFiles(where, { create: false });
  try {
    return await verifyStorage(storage);
  } finally {
    storage.closeSync();
  }
}

/** The first relation's file. */
function file(number = 16384): string {
  return join(directory, "base", String(number));
}

function change(path: string, work: (bytes: Buffer) => void): void {
  const bytes = readFileSync(path);
  work(bytes);
  writeFileSync(path, bytes);
}

function flip(path: string, at: number): void {
  change(path, (bytes) => bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at));
}

/** Relations "t" of 100 and "u" of 10 blocks, at a checkpoint. */
function fill(backend: Backend): void {
  stamped(backend, "t", 100);
  stamped(backend, "u", 10);
  backend.checkpointSync();
}

describe("a directory in order", () => {
  it("has no problems, and every page of it is judged", async () => {
    await use(fill);
    expect(await verify()).toEqual({
      checkpoint: 2,
      dataChecksums: true,
      relations: 2,
      pages: 110,
      pagesFromJournal: 0,
      recordsPassedOver: 0,
      blocksCutOff: 0,
      relationsRemoved: 0,
      problems: [],
    });
  });

  it("may be new, or in memory", async () => {
    await use(() => {});
    expect(await verify()).toMatchObject({ checkpoint: 1, relations: 0, pages: 0, problems: [] });
    const pool = await openPool({ checked: true, files: false });
    fill(pool.attach());
    expect(await verifyStorage(pool.storage)).toMatchObject({ pages: 110, problems: [] });
    pool.damage(pool.attach().openRelationSync("u"), 3, (page) => page.fill(1, 5000, 5001));
    expect(await verifyStorage(pool.storage)).toMatchObject({
      problems: [{ relation: "u", block: 3, problem: expect.stringMatching(MISMATCH) }],
    });
  });

  it("is left as it was, to the byte and the time", async () => {
    await use(fill);
    flip(file(), 5000);
    const look = (): unknown =>
      readdirSync(directory, { recursive: true, encoding: "utf8" })
        .sort()
        .map((name) => {
          const { mtimeMs, ctimeMs, size } = statSync(join(directory, name));
          return [name, mtimeMs, ctimeMs, size];
        });
    const before = look();
    expect((await verify()).problems).toHaveLength(1);
    expect(look()).toEqual(before);
  });

  it("tells of its progress, to the last page", async () => {
    await use(fill);
    const told: VerifyProgress[] = [];
    const storage = nodeFiles(directory, { create: false });
    await verifyStorage(storage, (progress) => told.push(progress));
    storage.closeSync();
    expect(told).toEqual([
      { relation: "t", pages: 64, pagesTotal: 110 },
      { relation: "t", pages: 100, pagesTotal: 110 },
      { relation: "u", pages: 110, pagesTotal: 110 },
    ]);
  });
});

describe("a directory that was left in the middle", () => {
  it("is judged as recovery will leave it: old images, cut back, unknown relations removed", async () => {
    await use(fill);
    await use((backend) => {
      const relation = backend.openRelationSync("t");
      for (const block of [3, 70]) stamp(backend, relation, block, 200);
      backend.buffers.extendSync(relation, 5);
      stamped(backend, "new", 4);
      backend.buffers.flushSync();
    });
    // A write that was torn: its old image stands in the journal.
    change(file(), (bytes) => bytes.fill(0xee, 3 * BLOCK + 4096, 4 * BLOCK));
    expect(await verify()).toMatchObject({
      pages: 110,
      pagesFromJournal: 2,
      blocksCutOff: 5,
      relationsRemoved: 1,
      problems: [],
    });
    await use((backend) => {
      expect(stampOf(backend, backend.openRelationSync("t"), 3)).toBe(4);
    });
  });

  it("may lack blocks that were cut off: the journal has them", async () => {
    await use(fill);
    await use((backend) => backend.truncateSync(backend.openRelationSync("t"), 10));
    expect(statSync(file()).size).toBe(10 * BLOCK);
    expect(await verify()).toMatchObject({ pages: 110, pagesFromJournal: 90, problems: [] });
  });

  it("with an image that is damaged itself is named", async () => {
    await use(fill);
    await use((backend) => {
      // Spoiled behind the back of the pool, before its first change since the checkpoint.
      const relation = backend.openRelationSync("t");
      stamp(backend, relation, 3, 200);
      flip(file(), 3 * BLOCK + 5000);
      backend.buffers.flushSync();
    });
    expect((await verify()).problems).toEqual([
      { relation: "t", block: 3, problem: expect.stringMatching(/checksum.*image in the journal/) },
    ]);
  });

  it("with a record that matches no more has the page of the file judged", async () => {
    await use(fill);
    await use((backend) => {
      stamp(backend, backend.openRelationSync("t"), 3, 200);
      backend.buffers.flushSync();
    });
    flip(join(directory, "palloc.journal.2"), 4096 + 32 + 5000);
    expect(await verify()).toMatchObject({
      pagesFromJournal: 0,
      recordsPassedOver: 1,
      problems: [],
    });
  });
});

describe("damage", () => {
  it("of a byte is found wherever it is, and of several pages each", async () => {
    await use(fill);
    for (const at of [0, 9, 23, 24, 4000, 8191]) flip(file(), 7 * BLOCK + at);
    flip(file(), 64 * BLOCK);
    change(file(16385), (bytes) => bytes.fill(0xff, 9 * BLOCK, 10 * BLOCK));
    expect((await verify()).problems).toEqual([
      { relation: "t", block: 7, problem: expect.stringMatching(MISMATCH) },
      { relation: "t", block: 64, problem: expect.stringMatching(MISMATCH) },
      { relation: "u", block: 9, problem: expect.stringMatching(MISMATCH) },
    ]);
  });

  it("of a header alone, under a checksum that is none, is found", async () => {
    await use(fill);
    change(file(), (bytes) => bytes.fill(0, 5 * BLOCK, 5 * BLOCK + 24));
    expect((await verify()).problems).toEqual([
      { relation: "t", block: 5, problem: "The page's header is not one." },
    ]);
  });

  it("of a good page in the wrong place is found", async () => {
    await use(fill);
    change(file(), (bytes) => bytes.copyWithin(5 * BLOCK, 6 * BLOCK, 7 * BLOCK));
    expect((await verify()).problems).toMatchObject([{ relation: "t", block: 5 }]);
  });

  it.each([
    ["at a block", 90 * BLOCK, "the file has 90 blocks and had 100", "10 blocks are missing"],
    ["in a block", 99 * BLOCK + 4200, "is truncated: it has 815208 bytes", "1 block is missing"],
    ["to nothing", 0, "the file has 0 blocks", "100 blocks are missing"],
  ])("of a file truncated %s is one problem", async (_, bytes, what, missing) => {
    await use(fill);
    truncateSync(file(), bytes);
    const { problems, pages } = await verify();
    const block = Math.floor(bytes / BLOCK);
    expect(problems).toEqual([{ relation: "t", block, problem: expect.stringContaining(what) }]);
    expect(problems[0]?.problem).toContain(missing);
    expect(pages).toBe(block + 10);
  });

  it("of a file that is gone is named, and the others are judged", async () => {
    await use(fill);
    unlinkSync(file());
    expect(await verify()).toMatchObject({
      pages: 10,
      problems: [
        { relation: "t", block: null, problem: "its file is missing; 100 blocks are missing" },
      ],
    });
  });

  it("of a segment in the middle is found where it begins", async () => {
    const storage = nodeFiles(directory, { segmentBlocks: 16 });
    const settings = { shared_buffers: 16, max_connections: 2 };
    const shared = await SharedMemory.create({ settings, storage });
    const backend = Backend.attachSync(shared.handle, { storage: openStorage });
    fill(backend);
    backend.detach();
    await shared.close();
    const look = async (): Promise<VerifyResult> => {
      const files = nodeFiles(directory, { create: false, segmentBlocks: 16 });
      return verifyStorage(files).finally(() => files.closeSync());
    };
    expect(await look()).toMatchObject({ pages: 110, problems: [] });
    unlinkSync(`${file()}.2`);
    expect((await look()).problems).toMatchObject([{ relation: "t", block: 32 }]);
  });

  it("of the journal is named: missing, without a header, of another checkpoint", async () => {
    await use(fill);
    const journal = join(directory, "palloc.journal.2");
    const whole = readFileSync(journal);
    const problems = async (): Promise<unknown> => (await verify()).problems;
    const named = (problem: RegExp): unknown => [
      { relation: "palloc.journal.2", block: null, problem: expect.stringMatching(problem) },
    ];
    unlinkSync(journal);
    expect(await problems()).toEqual(named(/it is missing/));
    writeFileSync(journal, whole.subarray(0, 4));
    expect(await problems()).toEqual(named(/it has no header/));
    writeFileSync(journal, whole);
    flip(journal, 100);
    expect(await problems()).toEqual(named(/damaged/));
    expect((await verify()).pages).toBe(110);
  });

  it("of the control document leaves nothing to judge, and another format is refused", async () => {
    await use(fill);
    changeControl(directory, (text) => text.replace('"checkpoint": 2', '"checkpoint": 3'));
    const named = (problem: RegExp): unknown => ({
      checkpoint: 0,
      pages: 0,
      problems: [
        { relation: "palloc.control", block: null, problem: expect.stringMatching(problem) },
      ],
    });
    expect(await verify()).toMatchObject(named(/checksum does not match/) as object);
    for (const n of [0, 1]) writeFileSync(join(directory, `palloc.control.${n}`), "damaged");
    expect(await verify()).toMatchObject(named(/files .* are damaged/) as object);
    for (const n of [0, 1]) unlinkSync(join(directory, `palloc.control.${n}`));
    expect(await verify()).toMatchObject(named(/it is missing/) as object);
    const former = '{ "format": "palloc data directory", "version": 3, "blockBytes": 8192 }';
    writeFileSync(join(directory, "palloc.control"), former);
    await expect(verify()).rejects.toMatchObject({ code: "55000" });
  });

  it("of a medium that refuses one block is that block's, and its neighbours are judged", async () => {
    await use(fill);
    flip(file(), 12 * BLOCK + 100);
    const storage = refusing(nodeFiles(directory, { create: false }), 11);
    const { problems, pages } = await verifyStorage(storage);
    storage.closeSync();
    expect(pages).toBe(110);
    expect(problems).toEqual([
      { relation: "t", block: 11, problem: "could not read block: Input/output error" },
      { relation: "t", block: 12, problem: expect.stringMatching(MISMATCH) },
    ]);
  });

  it("of pages without data checksums cannot be seen, that of lengths can", async () => {
    await use(fill, directory, false);
    flip(file(), 7 * BLOCK + 100);
    expect(await verify()).toMatchObject({ dataChecksums: false, pages: 110, problems: [] });
    truncateSync(file(), 50 * BLOCK);
    expect((await verify()).problems).toMatchObject([{ relation: "t", block: 50 }]);
  });
});

/** Storage that cannot read one block of the first relation. */
function refusing(storage: StorageManager, bad: number): StorageManager {
  return new Proxy(storage, {
    get: (target, key) => {
      if (key === "readv") {
        return async (relation: number, fork: 0, block: number, into: Uint8Array[]) => {
          const meets = relation === 16384 && block <= bad && bad < block + into.length;
          if (meets)
            throw new StorageError("58030", "could not read block: Input/output error", "");
          target.readvSync(relation, fork, block, into);
        };
      }
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

describe("what a start makes of the directory", () => {
  it.each(Array.from({ length: 12 }, (_each, seed) => seed))(
    "is what was foretold (seed %i)",
    async (seed) => {
      const random = new Random(seed);
      await use(fill);
      await use((backend) => {
        const relation = backend.openRelationSync("t");
        for (let turn = 0; turn < 20; turn += 1) stamp(backend, relation, random.below(100), 200);
        if (random.below(2) === 0) backend.truncateSync(relation, 60 + random.below(40));
        backend.buffers.flushSync();
      });
      const { size } = statSync(file());
      for (let turn = 0; turn < 6; turn += 1) flip(file(), random.below(size));
      const foretold = (await verify()).problems;
      cpSync(directory, join(top, "started"), { recursive: true });
      const found: unknown[] = [];
      await use(
        (backend) => {
          const relation = backend.openRelationSync("t");
          for (let block = 0; block < 100; block += 1) {
            try {
              expect(stampOf(backend, relation, block)).toBe(block + 1);
            } catch (error) {
              const { code, detail } = error as { code: string; detail: string };
              expect(code).toBe("XX001");
              found.push({ relation: "t", block, problem: detail });
            }
          }
        },
        join(top, "started"),
      );
      expect(found).toEqual(foretold);
    },
  );
});
