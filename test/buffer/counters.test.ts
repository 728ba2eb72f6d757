// Proves where each number of a backend is kept, what adds to it, and what becomes of it when the
// backend goes: the rows of the departed have it, by kind, whether it left or was reaped. The
// numbers are read from memory at the offsets of constants.ts, as the rows of views are.

import { describe, expect, it } from "vitest";
import * as constants from "../../assembly/common/constants.ts";
import { builds, RawRegion } from "../support/region.ts";

const {
  BACKEND_CHECKPOINTER,
  BACKEND_CLIENT,
  COUNTER_DIRTIED,
  COUNTER_EVICTIONS,
  COUNTER_HITS,
  COUNTER_READ_BYTES,
  COUNTER_READ_TIME,
  COUNTER_READS,
  COUNTER_REUSES,
  COUNTER_WRITE_BYTES,
  COUNTER_WRITES,
  COUNTERS_BYTES,
  IO_CONTEXT_BULKREAD,
  IO_CONTEXT_NORMAL,
  IO_CONTEXT_TEMP,
  IO_ROW_BYTES,
} = constants;

const FILE = 4;

describe.each(builds)("counters, %s build", (_, checked) => {
  const make = (): RawRegion => new RawRegion({ checked, buffers: 16 });

  /** Address of a part of the region. */
  const part = (region: RawRegion, index: number): number =>
    new DataView(region.memory.buffer).getUint32(
      constants.REGION_HEADER_BYTES +
        index * constants.INDEX_ENTRY_BYTES +
        constants.INDEX_OFFSET_OFFSET,
      true,
    );

  const columnOf = (region: RawRegion, slot: number): number => {
    const size = new DataView(region.memory.buffer).getUint32(
      constants.REGION_HEADER_BYTES +
        constants.PART_HOLDS * constants.INDEX_ENTRY_BYTES +
        constants.INDEX_SIZE_OFFSET,
      true,
    );
    return part(region, constants.PART_HOLDS) + (slot * size) / region.slots.length;
  };

  const departed = (region: RawRegion, kind: number): number =>
    part(region, constants.PART_DEPARTED) + kind * COUNTERS_BYTES;

  const number = (region: RawRegion, row: number, context: number, counter: number): number =>
    Number(
      new DataView(region.memory.buffer).getBigUint64(row + context * IO_ROW_BYTES + counter, true),
    );

  const time = (region: RawRegion, row: number, context: number, counter: number): number =>
    new DataView(region.memory.buffer).getFloat64(row + context * IO_ROW_BYTES + counter, true);

  it("a hit, a change and an eviction count in the row of context normal", () => {
    const region = make();
    const backend = region.backend(1);
    const column = columnOf(region, 1);
    const buffer = region.pin(1, FILE, 0);
    expect(region.pin(1, FILE, 0)).toBe(buffer);
    region.change(1, buffer, 100, 1);
    backend.unpin(buffer);
    backend.unpin(buffer);
    for (let block = 1; block <= 32; block += 1) backend.unpin(region.pin(1, FILE, block));
    const found = [COUNTER_HITS, COUNTER_DIRTIED, COUNTER_EVICTIONS].map((counter) =>
      number(region, column, IO_CONTEXT_NORMAL, counter),
    );
    expect(found).toEqual([1, 1, 17]);
    expect(number(region, column, IO_CONTEXT_BULKREAD, COUNTER_HITS)).toBe(0);
  });

  it("what is counted in another context leaves context normal alone", () => {
    const region = make();
    const backend = region.backend(2);
    const column = columnOf(region, 2);
    const bytes = 2 ** 40 + 8192;
    backend.countIo(IO_CONTEXT_BULKREAD, COUNTER_READS, 3, COUNTER_READ_BYTES, bytes);
    backend.countTime(IO_CONTEXT_TEMP, COUNTER_READ_TIME, 1.25);
    expect(number(region, column, IO_CONTEXT_BULKREAD, COUNTER_READS)).toBe(3);
    expect(number(region, column, IO_CONTEXT_BULKREAD, COUNTER_READ_BYTES)).toBe(bytes);
    expect(time(region, column, IO_CONTEXT_TEMP, COUNTER_READ_TIME)).toBe(1.25);
    expect(number(region, column, IO_CONTEXT_NORMAL, COUNTER_READS)).toBe(0);
    expect(number(region, column, IO_CONTEXT_TEMP, COUNTER_REUSES)).toBe(0);
    expect(number(region, columnOf(region, 1), IO_CONTEXT_BULKREAD, COUNTER_READS)).toBe(0);
  });

  it.each([
    ["leaves", (region: RawRegion, slot: number) => region.backend(slot).leave()],
    ["is reaped", (region: RawRegion, slot: number) => region.kill(slot)],
  ])("a backend that %s is remembered among those of its kind", (_how, end) => {
    const region = make();
    const count = (slot: number, times: number, milliseconds: number): void => {
      const backend = region.backend(slot);
      backend.countIo(IO_CONTEXT_TEMP, COUNTER_WRITES, times, COUNTER_WRITE_BYTES, times * 10);
      backend.countTime(IO_CONTEXT_TEMP, COUNTER_READ_TIME, milliseconds);
    };
    region.backend(2).setKind(BACKEND_CHECKPOINTER);
    for (const [slot, times, milliseconds] of [
      [1, 1, 0.5],
      [2, 10, 0.25],
      [3, 100, 0.125],
    ] as const) {
      count(slot, times, milliseconds);
      end(region, slot);
      expect(number(region, columnOf(region, slot), IO_CONTEXT_TEMP, COUNTER_WRITES)).toBe(0);
      expect(region.backend(0).slotKind(slot)).toBe(BACKEND_CLIENT);
    }
    const clients = departed(region, BACKEND_CLIENT);
    const checkpointers = departed(region, BACKEND_CHECKPOINTER);
    expect(number(region, clients, IO_CONTEXT_TEMP, COUNTER_WRITES)).toBe(101);
    expect(number(region, clients, IO_CONTEXT_TEMP, COUNTER_WRITE_BYTES)).toBe(1010);
    expect(time(region, clients, IO_CONTEXT_TEMP, COUNTER_READ_TIME)).toBe(0.625);
    expect(number(region, checkpointers, IO_CONTEXT_TEMP, COUNTER_WRITES)).toBe(10);
    expect(time(region, checkpointers, IO_CONTEXT_TEMP, COUNTER_READ_TIME)).toBe(0.25);
    expect(number(region, clients, IO_CONTEXT_NORMAL, COUNTER_WRITES)).toBe(0);
  });

  it("statistics of checkpoints are the sum of what all backends add", () => {
    const region = make();
    const statistics = part(region, constants.PART_STATISTICS);
    for (const slot of [1, 2, 3]) {
      region.backend(slot).countShared(constants.STATISTIC_BUFFERS_WRITTEN, 2 ** slot);
      region.backend(slot).countSharedTime(constants.STATISTIC_SYNC_TIME, 2 ** -slot);
    }
    const view = new DataView(region.memory.buffer, statistics, constants.STATISTICS_BYTES);
    expect(view.getBigUint64(constants.STATISTIC_BUFFERS_WRITTEN, true)).toBe(14n);
    expect(view.getFloat64(constants.STATISTIC_SYNC_TIME, true)).toBe(0.875);
    expect(view.getFloat64(constants.STATISTIC_WRITE_TIME, true)).toBe(0);
    expect(view.getBigUint64(constants.STATISTIC_NUM_DONE, true)).toBe(0n);
  });
});
