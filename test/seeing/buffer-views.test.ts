// Compares our rows of shared memory with the views they are named after, as PostgreSQL itself
// shows them: PGlite runs the server inside this process, its pg_buffercache included. Then proves
// that each number is what was really done. A server's start takes seconds, hence a file of its
// own.

import { PGlite } from "@electric-sql/pglite";
import { pg_buffercache } from "@electric-sql/pglite/contrib/pg_buffercache";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  BACKEND_CHECKPOINTER,
  BLOCK_BYTES,
  IO_CONTEXT_BULKREAD,
  IO_CONTEXT_NORMAL,
  IO_CONTEXT_TEMP,
} from "../../assembly/common/constants.ts";
import { instantiate } from "../../bindings/abi/load.ts";
import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import { Backend } from "../../bindings/shared/backend.ts";
import { IoCounts } from "../../bindings/shared/io-counts.ts";
import { SharedMemory } from "../../bindings/shared/memory.ts";
import type { ShmemAllocationRow } from "../../bindings/shared/statistics.ts";
import type { BuffercacheRow, IoRow } from "../../bindings/shared/views.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { builds } from "../support/region.ts";

const BUFFERS = 32;
const CONNECTIONS = 3;

interface Region {
  readonly shared: SharedMemory;
  readonly backend: Backend;
}

async function makeRegion(checked: boolean): Promise<Region> {
  const settings = { shared_buffers: BUFFERS, max_connections: CONNECTIONS };
  const storage = memoryStorage({ maxBytes: 1 << 20 });
  const shared = await SharedMemory.create({ settings, storage, checked });
  return { shared, backend: Backend.attachSync(shared.handle) };
}

/** Fills `blocks` blocks and leaves the first `dirty` of them changed. */
function fill({ backend }: Region, blocks: number, dirty: number): number {
  const relation = backend.createRelationSync("filled");
  backend.buffers.extendSync(relation, blocks);
  for (let block = 0; block < blocks; block += 1) {
    if (block < dirty) {
      backend.buffers.changeSync(relation, block, (bytes) => bytes.fill(1, 100, 200));
    } else {
      backend.buffers.readSync(relation, block)[Symbol.dispose]();
    }
  }
  return relation.number;
}

function ioRow({ shared }: Region, type: IoRow["backend_type"], at: Partial<IoRow> = {}): IoRow {
  const place = { object: "relation", context: "normal", ...at };
  const row = shared.views
    .pgStatIo()
    .find(
      (each) =>
        each.backend_type === type &&
        each.object === place.object &&
        each.context === place.context,
    );
  if (row === undefined) throw new Error(`no row ${type} ${JSON.stringify(place)}`);
  return row;
}

/** Another instance that acts for a slot, to count what no call of a backend counts yet. */
function instanceOf({ shared, backend }: Region): SharedExports {
  const { module, memory } = shared.handle;
  const exports = instantiate<SharedExports>(module, memory, { panic: () => undefined });
  exports.enter(backend.slot, 0);
  return exports;
}

describe("the views of PostgreSQL", () => {
  let server: PGlite;
  let region: Region;

  beforeAll(async () => {
    server = await PGlite.create({ extensions: { pg_buffercache } });
    await server.exec("create extension pg_buffercache");
    region = await makeRegion(false);
    fill(region, 5, 2);
  });

  afterAll(async () => {
    region.backend.detach();
    await region.shared.close();
    await server.close();
  });

  const theirs = async <Row extends object>(source: string): Promise<Row[]> =>
    (await server.query<Row>(`select * from ${source}`)).rows;

  /** A row of pg_stat_io of any server: with objects and contexts that ours does not have. */
  type AnyIoRow = Omit<IoRow, "object" | "context"> & {
    readonly object: string;
    readonly context: string;
  };

  /** A column's value as a type's name; `numeric` comes as text, because JavaScript has none. */
  const typeOf = (name: string, value: unknown): string => {
    if (value === null) return "null";
    if (value instanceof Date) return "date";
    return name.endsWith("_bytes") ? "numeric" : typeof value;
  };

  const shapes = (rows: readonly object[]): string[] => [
    ...new Set(
      rows.map((row) =>
        Object.entries(row)
          .map(([name, value]) => `${name} ${typeOf(name, value)}`)
          .join(", "),
      ),
    ),
  ];

  it("pg_buffercache has our columns, in our order, of our types, used or not", async () => {
    const rows = await theirs<BuffercacheRow>("pg_buffercache");
    const ours = region.shared.views.pgBuffercache();
    expect(shapes(ours).sort()).toEqual(shapes(rows).sort());
    expect(shapes(ours)).toHaveLength(2);
    expect(ours.map(({ bufferid }) => bufferid)).toEqual(
      rows.slice(0, BUFFERS).map(({ bufferid }) => bufferid),
    );
  });

  it.each([
    ["pg_buffercache_summary()", () => [region.shared.views.pgBuffercacheSummary()]],
    ["pg_buffercache_usage_counts()", () => region.shared.usageCounts()],
    ["pg_stat_checkpointer", () => [region.shared.views.pgStatCheckpointer()]],
    ["pg_stat_bgwriter", () => [region.shared.views.pgStatBgwriter()]],
  ])("%s has our columns, in our order, of our types", async (source, ours) => {
    const rows = await theirs(source);
    expect(shapes(ours())).toEqual(shapes(rows));
    expect(ours()).toHaveLength(rows.length);
  });

  it("pg_shmem_allocations has our columns, in our order, and a free tail without a name", async () => {
    const all = await theirs<ShmemAllocationRow>("pg_shmem_allocations");
    // Memory that no part names; every byte of ours stands in a part.
    const rows = all.filter(({ name }) => name !== "<anonymous>");
    const ours = region.shared.allocations();
    expect(new Set(shapes(ours))).toEqual(new Set(shapes(rows)));
    expect(rows.filter(({ name }) => name === null)).toHaveLength(1);
    expect(ours.filter(({ name }) => name === null)).toHaveLength(1);
  });

  it("pg_stat_io has our rows in our order, of our types, and null where ours are null", async () => {
    const rows = await theirs<AnyIoRow>("pg_stat_io");
    const keyOf = (row: object): string => JSON.stringify(Object.values(row).slice(0, 3));
    const ours = region.shared.views.pgStatIo();
    const keys = new Set(ours.map(keyOf));
    const same = rows.filter((row) => keys.has(keyOf(row)));
    expect(ours.map(keyOf)).toEqual(same.map(keyOf));
    for (const [index, row] of ours.entries()) {
      // Nothing here tells the system to begin writing early, so that nothing counts it.
      const expected = { ...same[index], writebacks: null, writeback_time: null };
      expect(shapes([row])).toEqual(shapes([expected]));
    }
  });

  it("what ours of those backends leave out are contexts and objects that do not exist here", async () => {
    const types = new Set(region.shared.views.pgStatIo().map((row) => row.backend_type));
    const ours = new Set(
      region.shared.views
        .pgStatIo()
        .map((row) => `${row.backend_type}/${row.object}/${row.context}`),
    );
    const missing = (await theirs<AnyIoRow>("pg_stat_io"))
      .filter(({ backend_type }) => types.has(backend_type))
      .filter((row) => !ours.has(`${row.backend_type}/${row.object}/${row.context}`));
    expect(missing.length).toBeGreaterThan(0);
    for (const { object, context } of missing) {
      expect(object === "wal" || context === "init").toBe(true);
    }
  });
});

describe.each(builds)("what the rows say, %s build", (_, checked) => {
  let region: Region;

  beforeEach(async () => {
    region = await makeRegion(checked);
  });

  afterEach(async () => {
    region.backend.detach();
    await region.shared.close();
  });

  it("pg_buffercache names the page of each buffer, its pins and whether it was changed", () => {
    const number = fill(region, 5, 2);
    const { backend, shared } = region;
    const relation = backend.openRelationSync("filled");
    const pinned = backend.buffers.pin(relation.id, 4);
    const used = shared.views.pgBuffercache().filter(({ relfilenode }) => relfilenode !== null);
    backend.buffers.unpin(pinned);
    const sorted = used.sort((a, b) => Number(a.relblocknumber) - Number(b.relblocknumber));
    expect(sorted.map(({ relblocknumber }) => relblocknumber)).toEqual([0, 1, 2, 3, 4]);
    expect(sorted.map(({ isdirty }) => isdirty)).toEqual([true, true, false, false, false]);
    expect(sorted.map(({ pinning_backends }) => pinning_backends)).toEqual([0, 0, 0, 0, 1]);
    expect(sorted[4]).toEqual({
      bufferid: pinned + 1,
      relfilenode: number,
      reltablespace: 0,
      reldatabase: 0,
      relforknumber: 0,
      relblocknumber: 4,
      isdirty: false,
      usagecount: 2,
      pinning_backends: 1,
    });
  });

  it("the iterator gives the same rows, each as it is when it is asked for", () => {
    fill(region, 3, 0);
    const { backend, shared } = region;
    const rows = shared.views.eachBuffer();
    const first = rows.next().value;
    expect(first).toEqual(shared.views.pgBuffercache()[0]);
    const relation = backend.openRelationSync("filled");
    backend.buffers.changeSync(relation, 1, (bytes) => bytes.fill(9, 100, 101));
    const rest = [...rows];
    expect(rest).toHaveLength(BUFFERS - 1);
    expect(rest.filter(({ isdirty }) => isdirty === true)).toHaveLength(1);
    expect(backend.views.pgBuffercache()).toEqual(shared.views.pgBuffercache());
  });

  it("the summary adds up the rows", () => {
    const empty = region.shared.views.pgBuffercacheSummary();
    expect(empty).toEqual({
      buffers_used: 0,
      buffers_unused: BUFFERS,
      buffers_dirty: 0,
      buffers_pinned: 0,
      usagecount_avg: null,
    });
    fill(region, 8, 3);
    const { backend, shared } = region;
    const pinned = backend.buffers.pin(backend.openRelationSync("filled").id, 0);
    const rows = shared.views.pgBuffercache().filter(({ usagecount }) => usagecount !== null);
    const usage = rows.reduce((sum, row) => sum + Number(row.usagecount), 0);
    expect(shared.views.pgBuffercacheSummary()).toEqual({
      buffers_used: 8,
      buffers_unused: BUFFERS - 8,
      buffers_dirty: 3,
      buffers_pinned: 1,
      usagecount_avg: usage / 8,
    });
    backend.buffers.unpin(pinned);
  });

  it("pg_stat_io counts what a backend did, and still does when it has gone", () => {
    fill(region, 40, 40);
    const before = ioRow(region, "client backend");
    expect(before).toMatchObject({
      reads: 40,
      read_bytes: 40 * BLOCK_BYTES,
      extends: 1,
      extend_bytes: 40 * BLOCK_BYTES,
      evictions: 40 - BUFFERS,
      reuses: null,
      read_time: 0,
    });
    // A victim's write takes others with it: fewer operations, more pages.
    expect(before.writes).toBeGreaterThan(0);
    expect(before.writes).toBeLessThanOrEqual(40 - BUFFERS);
    expect(before.write_bytes).toBeGreaterThanOrEqual((40 - BUFFERS) * BLOCK_BYTES);
    expect(region.shared.statistics()).toMatchObject({ reads: 40, extends: 40, evictions: 8 });
    region.backend.detach();
    expect(ioRow(region, "client backend")).toEqual(before);
  });

  it("each kind of backend and each context has a row of its own", () => {
    const exports = instanceOf(region);
    const counts = new IoCounts(exports, { track_io_timing: false });
    counts.read(IO_CONTEXT_BULKREAD, 16 * BLOCK_BYTES, counts.begin());
    counts.write(IO_CONTEXT_TEMP, BLOCK_BYTES, counts.begin());
    exports.setKind(BACKEND_CHECKPOINTER);
    counts.write(IO_CONTEXT_NORMAL, BLOCK_BYTES, counts.begin());
    counts.fsync(counts.begin());
    expect(ioRow(region, "checkpointer")).toMatchObject({ writes: 1, fsyncs: 1, reads: null });
    expect(ioRow(region, "client backend")).toMatchObject({ writes: 0, fsyncs: 0, reads: 0 });
    exports.setKind(0);
    const bulk = ioRow(region, "client backend", { context: "bulkread" });
    expect(bulk).toMatchObject({ reads: 1, read_bytes: 131072, reuses: 0, extends: null });
    const temp = ioRow(region, "client backend", { object: "temp relation" });
    expect(temp).toMatchObject({ writes: 1, reads: 0, fsyncs: null, reuses: null });
    expect(region.shared.statistics()).toMatchObject({ reads: 16, writes: 1 });
  });

  it("times are measured only if that was asked for", async () => {
    const exports = instanceOf(region);
    for (const timing of [false, true]) {
      const counts = new IoCounts(exports, { track_io_timing: timing });
      const began = counts.begin();
      await new Promise((resolve) => setTimeout(resolve, 5));
      counts.read(IO_CONTEXT_NORMAL, BLOCK_BYTES, began);
      counts.extend(IO_CONTEXT_NORMAL, BLOCK_BYTES, began);
      const { read_time, extend_time, write_time } = ioRow(region, "client backend");
      expect(write_time).toBe(0);
      if (!timing) expect([read_time, extend_time]).toEqual([0, 0]);
      else for (const time of [read_time, extend_time]) expect(time).toBeGreaterThan(3);
    }
  });

  it("checkpoints and rounds of the background writer are counted for all", () => {
    const counts = new IoCounts(instanceOf(region), { track_io_timing: false });
    counts.checkpointBegun(true);
    counts.checkpointBegun(false);
    counts.checkpointWrote(20);
    counts.checkpointWrote(3);
    counts.checkpointDone(12.5, 0.25);
    counts.cleaned(100, true);
    counts.cleaned(7, false);
    const since = region.shared.views.pgStatBgwriter().stats_reset;
    expect(Date.now() - since.getTime()).toBeLessThan(60_000);
    expect(region.shared.views.pgStatCheckpointer()).toEqual({
      num_timed: 1,
      num_requested: 1,
      num_done: 1,
      restartpoints_timed: 0,
      restartpoints_req: 0,
      restartpoints_done: 0,
      write_time: 12.5,
      sync_time: 0.25,
      buffers_written: 23,
      slru_written: 0,
      stats_reset: since,
    });
    fill(region, 4, 0);
    expect(region.shared.views.pgStatBgwriter()).toEqual({
      buffers_clean: 107,
      maxwritten_clean: 1,
      buffers_alloc: 4,
      stats_reset: since,
    });
  });

  it("nothing is seen through a region or a backend that has ended", async () => {
    const { backend, shared } = region;
    const rows = backend.views.eachBuffer();
    rows.next();
    backend.detach();
    expect(() => rows.next()).toThrow(/closed/);
    expect(() => backend.views.pgStatIo()).toThrow(/closed/);
    await shared.close();
    expect(() => shared.views.pgBuffercacheSummary()).toThrow(/closed/);
    expect(() => shared.views.pgStatCheckpointer()).toThrow(/closed/);
  });
});
