// Read streams against the plain loop of pins that they replace: the same pages in the same order,
// whatever the blocks, the distance, the ring, the storage; with the reads combined that can be.
// Then what goes wrong in the middle: other readers, pages that are none, storage that refuses,
// frames that are lacking, a scan that is given up. After each the backend has no pin left.

import { describe, expect, it } from "vitest";
import {
  type Backend,
  type BlockSource,
  type BufferId,
  ClosedError,
  DataCorruptedError,
  type ReadStream,
  StorageError,
  type StrategyKind,
} from "../../bindings/index.ts";
import { groupOfOwnReads, ofOwnReads } from "../support/own-reads.ts";
import { Random, seed } from "../support/random.ts";
import { builds } from "../support/region.ts";
import { damage, ioRow, recordReads, refuse, stampOf, withStamped } from "../support/streams.ts";

const BLOCKS = 64;
const ALL = { first: 0, end: BLOCKS };

/** What a stream delivers: stamps, and the errors' codes with the block they came at. */
function drain(backend: Backend, stream: ReadStream): (number | string)[] {
  const found: (number | string)[] = [];
  for (;;) {
    try {
      const buffer = stream.nextSync();
      if (buffer === undefined) return found;
      found.push(stampOf(backend, buffer));
      backend.buffers.unpin(buffer);
    } catch (error) {
      found.push((error as StorageError).code);
    }
  }
}

function take(stream: ReadStream): BufferId {
  const buffer = stream.nextSync();
  if (buffer === undefined) throw new Error("the stream has ended");
  return buffer;
}

/** Runs of neighbours, single blocks, repetitions. */
function someBlocks(random: Random): number[] {
  const blocks: number[] = [];
  while (blocks.length < 150) {
    const first = random.below(BLOCKS);
    const count = random.pick([1, 1, 2, 5, 20, 40]);
    const step = random.pick([1, 1, 1, 2, 0]);
    for (let n = 0; n < count; n += 1) blocks.push((first + n * step) % BLOCKS);
  }
  return blocks;
}

function sourceOf(blocks: readonly number[]): BlockSource {
  let next = 0;
  return () => blocks[next++];
}

const upTo = (end: number): number[] => Array.from({ length: end }, (_, block) => block);

describe.each(builds)("%s build", (_, checked) => {
  describe.each(["memory", "files"] as const)("over %s", (storage) => {
    it.each([1, 2, 3, 5, 16, 1000])(
      "a stream of at most %i blocks ahead delivers what a loop of pins would",
      async (maxBlocks) => {
        await withStamped({ checked, storage }, async ({ backend, relation }) => {
          const random = new Random(seed + maxBlocks);
          const pool = backend.buffers;
          const kinds: (StrategyKind | undefined)[] = [undefined, "bulkread", "vacuum"];
          for (let round = 0; round < 12; round += 1) {
            const kind = random.pick(kinds);
            const strategy = kind === undefined ? undefined : pool.strategy(kind);
            const options = { maxBlocks, full: round % 2 === 0, ...(strategy && { strategy }) };
            const blocks = someBlocks(random);
            const stream = pool.readStream(relation, sourceOf(blocks), options);
            const found: number[] = [];
            if (round % 3 === 0) {
              for await (const buffer of stream) found.push(stampOf(backend, buffer));
            } else {
              for (const buffer of stream) found.push(stampOf(backend, buffer));
            }
            expect(found, `seed ${seed}, round ${round}`).toEqual(blocks);
            expect(pool.pinnedBuffers()).toBe(0);
          }
        });
      },
    );
  });

  ofOwnReads("reads of neighbours double up to io_combine_limit", async () => {
    const settings = { shared_buffers: 128 };
    await withStamped({ checked, settings }, (region) => {
      const { backend, relation } = region;
      const reads = recordReads(region);
      expect(drain(backend, backend.buffers.readStream(relation, ALL))).toEqual(upTo(BLOCKS));
      expect(reads).toEqual([
        ...[
          [0, 1],
          [1, 2],
          [3, 4],
          [7, 8],
          [15, 16],
          [31, 16],
          [47, 16],
        ],
        [63, 1],
      ]);
    });
  });

  ofOwnReads("a stream whose blocks will all be wanted begins with the largest reads", async () => {
    const settings = { shared_buffers: 128, io_combine_limit: 10 };
    await withStamped({ checked, settings }, (region) => {
      const reads = recordReads(region);
      const { backend, relation } = region;
      drain(backend, backend.buffers.readStream(relation, ALL, { full: true }));
      expect(reads.map(([, count]) => count)).toEqual([10, 10, 10, 10, 10, 10, 4]);
    });
  });

  ofOwnReads("the distance grows with each read and shrinks with each hit", async () => {
    const settings = { shared_buffers: 128 };
    await withStamped({ checked, settings, blocks: 60 }, ({ backend, relation }) => {
      const blocks = [...upTo(40), ...upTo(40)];
      const stream = backend.buffers.readStream(relation, sourceOf(blocks));
      const distances: number[] = [];
      for (const _buffer of stream) distances.push(stream.distance);
      expect(Math.max(...distances)).toBe(16);
      expect(distances[0]).toBe(2);
      expect(distances.slice(40, 56)).toEqual([...upTo(15)].map((n) => 15 - n).concat([1]));
      expect(distances.at(-1)).toBe(1);
    });
  });

  it("each page is counted once: as a hit, or as part of a read", async () => {
    const settings = { shared_buffers: 128 };
    await withStamped({ checked, settings }, ({ backend, relation }) => {
      const before = ioRow(backend, "normal");
      for (let block = 5; block < BLOCKS; block += 7) {
        backend.buffers.unpin(backend.buffers.pin(relation.id, block));
      }
      const between = ioRow(backend, "normal");
      const loose = (between.read_bytes ?? 0) - (before.read_bytes ?? 0);
      drain(backend, backend.buffers.readStream(relation, ALL));
      const after = ioRow(backend, "normal");
      const read = ((after.read_bytes ?? 0) - (between.read_bytes ?? 0)) / 8192;
      const hits = (after.hits ?? 0) - (between.hits ?? 0);
      expect(hits).toBe(loose / 8192);
      expect(read).toBe(BLOCKS - hits);
      expect((after.reads ?? 0) - (between.reads ?? 0)).toBeLessThan(read / 2);
    });
  });

  it("a pool of pinned pages is read through one free buffer", async () => {
    const settings = { shared_buffers: 16 };
    await withStamped({ checked, settings }, ({ backend, relation }) => {
      const pool = backend.buffers;
      const pinned = upTo(15).map((block) => pool.pin(relation.id, block));
      const stream = pool.readStream(relation, { first: 15, end: BLOCKS }, { full: true });
      const found: number[] = [];
      for (const buffer of stream) found.push(stampOf(backend, buffer));
      expect(found).toEqual(upTo(BLOCKS).slice(15));
      for (const buffer of pinned) pool.unpin(buffer);
    });
  });

  it("without a free buffer the block is refused, and read once there is one", async () => {
    const settings = { shared_buffers: 16 };
    await withStamped({ checked, settings }, ({ backend, relation }) => {
      const pool = backend.buffers;
      const pinned = upTo(16).map((block) => pool.pin(relation.id, block));
      const stream = pool.readStream(relation, { first: 20, end: 22 });
      expect(() => stream.nextSync()).toThrow("no unpinned buffers available");
      expect(() => stream.nextSync()).toThrow("no unpinned buffers available");
      for (const buffer of pinned) pool.unpin(buffer);
      expect(drain(backend, stream)).toEqual([20, 21]);
      expect(pool.pinnedBuffers()).toBe(0);
    });
  });

  it("a dirty page that stands in the way is written, and comes back as it was", async () => {
    await withStamped({ checked }, ({ backend, relation }) => {
      const pool = backend.buffers;
      for (let block = 0; block < 32; block += 1) {
        pool.changeSync(relation, block, (bytes) => bytes.fill(7, 100, 108));
      }
      const stream = pool.readStream(relation, { first: 32, end: BLOCKS }, { full: true });
      expect(drain(backend, stream)).toEqual(upTo(BLOCKS).slice(32));
      for (const buffer of pool.readStream(relation, { first: 0, end: 32 })) {
        expect(pool.bytes(buffer)[107]).toBe(7);
      }
    });
  });
});

describe("hints", () => {
  ofOwnReads(
    "tell of blocks that lie apart and are not in the pool, so many at a time",
    async () => {
      const settings = { shared_buffers: 256, effective_io_concurrency: 4 };
      await withStamped({ checked: true, settings, hints: true }, (region) => {
        const { backend, relation, hooks } = region;
        const hinted = new Set<number>();
        let most = 0;
        hooks.prefetch = (_relation, _fork, block, count) => {
          for (let n = 0; n < count; n += 1) hinted.add(block + n);
          most = Math.max(most, hinted.size);
        };
        const inPool = [11, 33];
        for (const block of inPool) backend.buffers.unpin(backend.buffers.pin(relation.id, block));
        const blocks = upTo(BLOCKS).map((n) => (n * 11) % BLOCKS);
        const stream = backend.buffers.readStream(relation, sourceOf(blocks));
        let told = 0;
        for (const buffer of stream) {
          if (hinted.delete(stampOf(backend, buffer))) told += 1;
        }
        expect(told).toBeGreaterThan(40);
        expect(most).toBe(4);
        expect(hinted.size).toBe(0);
        for (const block of inPool) expect(hinted.has(block)).toBe(false);
      });
    },
  );

  it("are not given for blocks that follow one another", async () => {
    const settings = { shared_buffers: 256 };
    await withStamped({ checked: true, settings, hints: true }, ({ backend, relation, hooks }) => {
      let hints = 0;
      hooks.prefetch = () => {
        hints += 1;
      };
      drain(backend, backend.buffers.readStream(relation, ALL, { full: true }));
      expect(hints).toBe(0);
    });
  });

  it("a page is found again by where it was, and not after it has gone", async () => {
    await withStamped({ checked: true, hints: true }, ({ backend, relation, hooks }) => {
      const pool = backend.buffers;
      const hints: number[] = [];
      hooks.prefetch = (_relation, _fork, block) => void hints.push(block);
      expect(pool.prefetch(relation, 5)).toBeUndefined();
      expect(hints).toEqual([5]);
      const buffer = pool.pin(relation.id, 5);
      pool.unpin(buffer);
      expect(pool.prefetch(relation, 5)).toBe(buffer);
      expect(pool.pinnedBuffers()).toBe(0);
      expect(pool.readRecent(buffer, relation, 6)).toBe(false);
      expect(pool.readRecent(buffer, relation, 5)).toBe(true);
      expect(pool.pinnedBuffers()).toBe(1);
      pool.unpin(buffer);
      pool.evictSync(buffer);
      expect(pool.readRecent(buffer, relation, 5)).toBe(false);
      expect(pool.readRecent(99 as BufferId, relation, 5)).toBe(false);
      expect(pool.pinnedBuffers()).toBe(0);
    });
  });
});

groupOfOwnReads("other readers", () => {
  ofOwnReads(
    "a block that another backend reads ends a run, and is waited for in its turn",
    async () => {
      const settings = { shared_buffers: 128 };
      await withStamped({ checked: true, settings }, async (region) => {
        const { backend, relation, storage, another } = region;
        let finish = (): void => {};
        const slow = await another({
          readv: async (number, fork, block, into) => {
            await new Promise<void>((resolve) => {
              finish = resolve;
            });
            storage.readvSync(number, fork, block, into);
          },
        });
        const theirs = slow.buffers.pinAsync(slow.openRelationSync("stamped").id, 5);
        const reads = recordReads(region);
        const stream = backend.buffers.readStream(relation, { first: 0, end: 12 }, { full: true });
        const found = upTo(5).map(() => {
          const buffer = take(stream);
          const stamp = stampOf(backend, buffer);
          backend.buffers.unpin(buffer);
          return stamp;
        });
        expect(found).toEqual(upTo(5));
        expect(reads).toEqual([[0, 5]]);
        const fifth = stream.next();
        await new Promise((resolve) => setTimeout(resolve, 20));
        expect(() => stream.nextSync()).toThrow("in use");
        finish();
        const buffer = await fifth;
        expect(buffer).toBe(await theirs);
        if (buffer !== undefined) backend.buffers.unpin(buffer);
        slow.buffers.unpin(await theirs);
        expect(drain(backend, stream)).toEqual([6, 7, 8, 9, 10, 11]);
        expect(reads.flatMap(([first, count]) => upTo(count).map((n) => first + n))).not.toContain(
          5,
        );
      });
    },
  );

  ofOwnReads("a block whose other reader fails is read by the stream", async () => {
    const settings = { shared_buffers: 128 };
    await withStamped({ checked: true, settings }, async ({ backend, relation, another }) => {
      let fail = (): void => {};
      const slow = await another({
        readv: () =>
          new Promise<void>((_resolve, reject) => {
            fail = () => reject(new StorageError("58030", "EIO", "test"));
          }),
      });
      const theirs = slow.buffers.pinAsync(slow.openRelationSync("stamped").id, 1);
      const stream = backend.buffers.readStream(relation, { first: 0, end: 3 }, { full: true });
      backend.buffers.unpin(take(stream));
      const second = stream.next();
      fail();
      await expect(theirs).rejects.toThrow("EIO");
      const buffer = await second;
      expect(buffer === undefined ? -1 : stampOf(backend, buffer)).toBe(1);
      if (buffer !== undefined) backend.buffers.unpin(buffer);
      expect(drain(backend, stream)).toEqual([2]);
      expect(backend.buffers.pinnedBuffers() + slow.buffers.pinnedBuffers()).toBe(0);
    });
  });
});

describe("errors in the middle", () => {
  const settings = { shared_buffers: 128 };

  ofOwnReads("of pages read together only the one that is none fails, in its turn", async () => {
    await withStamped({ checked: true, settings }, (region) => {
      damage(region, 7);
      const { backend, relation } = region;
      const reads = recordReads(region);
      const stream = backend.buffers.readStream(relation, { first: 0, end: 16 }, { full: true });
      const expected: (number | string)[] = upTo(16);
      expected[7] = "XX001";
      expect(drain(backend, stream)).toEqual(expected);
      expect(reads).toEqual([[0, 16]]);
      expect(backend.buffers.pinnedBuffers()).toBe(0);
      expect(() => backend.buffers.pin(relation.id, 7)).toThrow(DataCorruptedError);
    });
  });

  it("a page that is none becomes zeroes where that was asked for, with a warning", async () => {
    await withStamped({ checked: true, settings }, (region) => {
      damage(region, 7);
      const { backend, relation, warnings } = region;
      const options = { full: true, mode: "zeroOnError" } as const;
      const stream = backend.buffers.readStream(relation, { first: 0, end: 16 }, options);
      const expected = upTo(16);
      expected[7] = 0;
      expect(drain(backend, stream)).toEqual(expected);
      expect(warnings).toEqual(['invalid page in block 7 of relation "stamped"; zeroing out page']);
    });
  });

  ofOwnReads("where storage refuses several blocks, those it has are delivered", async () => {
    await withStamped({ checked: true, settings }, (region) => {
      refuse(region, 9);
      const { backend, relation } = region;
      const stream = backend.buffers.readStream(relation, ALL, { full: true });
      const expected: (number | string)[] = upTo(BLOCKS);
      expected[9] = "58030";
      expect(drain(backend, stream)).toEqual(expected);
      expect(backend.buffers.pinnedBuffers()).toBe(0);
    });
  });

  it("a function that names no block is refused, and one that throws loses nothing", async () => {
    await withStamped({ checked: true, settings }, ({ backend, relation }) => {
      const wrong = backend.buffers.readStream(relation, () => -1);
      expect(() => wrong.nextSync()).toThrow(RangeError);
      const answers = [3, new Error("not now"), 4, undefined];
      const source = (): number | undefined => {
        const answer = answers.shift();
        if (answer instanceof Error) throw answer;
        return answer;
      };
      const stream = backend.buffers.readStream(relation, source, { full: true });
      expect(() => stream.nextSync()).toThrow("not now");
      expect(drain(backend, stream)).toEqual([3, 4]);
    });
  });
});

describe("a scan that is given up", () => {
  const settings = { shared_buffers: 128 };

  it("leaves no pin, wherever it is", async () => {
    await withStamped({ checked: true, settings }, ({ backend, relation }) => {
      for (let taken = 0; taken < 20; taken += 1) {
        const stream = backend.buffers.readStream(relation, ALL, { full: taken % 2 === 0 });
        for (let n = 0; n < taken; n += 1) backend.buffers.unpin(take(stream));
        stream[Symbol.dispose]();
        stream[Symbol.dispose]();
        expect(backend.buffers.pinnedBuffers()).toBe(0);
        expect(() => stream.nextSync()).toThrow(ClosedError);
        backend.buffers.evictAllSync();
      }
    });
  });

  it("leaves no pin when a loop over it is left", async () => {
    await withStamped({ checked: true, settings }, async ({ backend, relation }) => {
      const pool = backend.buffers;
      for (const _buffer of pool.readStream(relation, ALL, { full: true })) break;
      expect(pool.pinnedBuffers()).toBe(0);
      pool.evictAllSync();
      for await (const _buffer of pool.readStream(relation, ALL, { full: true })) break;
      expect(pool.pinnedBuffers()).toBe(0);
    });
  });

  it("leaves no pin when it is disposed while it waits", async () => {
    await withStamped(
      { checked: true, settings },
      async ({ backend, relation, hooks, storage }) => {
        let finish = (): void => {};
        hooks.readv = async (number, fork, block, into) => {
          await new Promise<void>((resolve) => {
            finish = resolve;
          });
          storage.readvSync(number, fork, block, into);
        };
        const stream = backend.buffers.readStream(relation, ALL, { full: true });
        const pending = stream.next();
        stream[Symbol.dispose]();
        finish();
        await expect(pending).rejects.toThrow(ClosedError);
        expect(backend.buffers.pinnedBuffers()).toBe(0);
      },
    );
  });

  ofOwnReads("goes on with the same block after a wait that was cancelled", async () => {
    await withStamped({ checked: true, settings }, async ({ backend, relation }) => {
      const stream = backend.buffers.readStream(relation, ALL, { full: true });
      await expect(stream.next(AbortSignal.abort())).rejects.toMatchObject({ code: "57014" });
      expect(backend.buffers.pinnedBuffers()).toBe(0);
      expect(drain(backend, stream)).toEqual(upTo(BLOCKS));
    });
  });

  it("has nothing to give back once the backend has detached", async () => {
    await withStamped({ checked: true, settings }, async ({ another }) => {
      const backend = await another({});
      const relation = backend.openRelationSync("stamped");
      const stream = backend.buffers.readStream(relation, ALL, { full: true });
      backend.buffers.unpin(take(stream));
      backend.detach();
      stream[Symbol.dispose]();
      expect(() => stream.nextSync()).toThrow(ClosedError);
    });
  });
});

describe("temporary relations", () => {
  it("are read page by page by the same calls", async () => {
    await withStamped({ checked: true }, ({ backend }) => {
      const relation = backend.createRelationSync("mine", { temporary: true });
      backend.buffers.extendSync(relation, 3);
      for (let block = 0; block < 3; block += 1) {
        backend.buffers.changeSync(relation, block, (bytes) => bytes.fill(block + 1, 500, 501));
      }
      const found: (number | undefined)[] = [];
      for (const buffer of backend.buffers.readStream(relation, { first: 0, end: 3 })) {
        found.push(backend.buffers.bytes(buffer)[500]);
      }
      expect(found).toEqual([1, 2, 3]);
      expect(backend.buffers.leakedPins()).toEqual([]);
    });
  });
});
