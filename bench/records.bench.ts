/**
 * Rows about much memory: a million small records in a context against the same as JavaScript
 * objects (12), and what an allocation costs when ten million chunks are alive (13).
 *
 * A record has six doubles, 48 bytes, in a slab context, where each can be freed by itself, as an
 * object can.
 */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { type ChunkPtr, type MemoryContext, ProcessMemory } from "../bindings/index.ts";
import type { Contender, Row } from "./harness.ts";

const RECORDS = 1_000_000;
const RECORD_BYTES = 48;
const FIELDS = 6;
/** The pause is the longest time that one batch of records takes. */
const BATCH = 1000;
const RECORD_MEMORY = 128 * 1024 * 1024;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Calls `make` for each record and returns the longest batch in milliseconds. */
function longestBatch(make: (record: number) => void): number {
  let longest = 0;
  for (let first = 0; first < RECORDS; first += BATCH) {
    const start = performance.now();
    for (let record = first; record < first + BATCH; record += 1) make(record);
    longest = Math.max(longest, performance.now() - start);
  }
  return longest;
}

interface Reading {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly e: number;
  readonly f: number;
}

function readingOf(record: number): Reading {
  const base = record + 0.5;
  return { a: base, b: base + 1, c: base + 2, d: base + 3, e: base + 4, f: base + 5 };
}

function openRecords(): { memory: ProcessMemory; records: MemoryContext } {
  const memory = ProcessMemory.createSync({ maxMemory: RECORD_MEMORY });
  return { memory, records: memory.top.createSlab("records", { chunkSize: RECORD_BYTES }) };
}

/** Fills the next record; the chunk's address. */
function writeRecord(memory: ProcessMemory, records: MemoryContext, record: number): ChunkPtr {
  const chunk = records.alloc(RECORD_BYTES);
  const { f64 } = memory;
  const first = chunk >>> 3;
  for (let field = 0; field < FIELDS; field += 1) f64[first + field] = record + 0.5 + field;
  return chunk;
}

function checkRecords(): void {
  const { memory, records } = openRecords();
  const chunks = Array.from({ length: BATCH }, (_, record) => writeRecord(memory, records, record));
  for (const [record, chunk] of chunks.entries()) {
    const wanted = Object.values(readingOf(record)).join();
    const found = memory.f64.subarray(chunk >>> 3, (chunk >>> 3) + FIELDS).join();
    if (found !== wanted) throw new Error(`record ${record} holds ${found}, not ${wanted}`);
  }
  memory.dispose();
}

function once(
  name: string,
  role: Contender["role"],
  turn: () => number,
  check: () => void,
): Contender {
  return { name, role, operations: 1, run: turn, turn, check };
}

/** Bytes a record, with what finds it again: an address in a typed array, a slot in an array. */
function recordBytes(): number {
  const { memory, records } = openRecords();
  const addresses = new Uint32Array(RECORDS);
  for (let record = 0; record < RECORDS; record += 1) {
    addresses[record] = writeRecord(memory, records, record);
  }
  const bytes = records.memAllocated() + addresses.byteLength;
  memory.dispose();
  return bytes / RECORDS;
}

function objectBytes(): number {
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  const readings: Reading[] = [];
  for (let record = 0; record < RECORDS; record += 1) readings.push(readingOf(record));
  collectGarbage();
  const bytes = process.memoryUsage().heapUsed - before;
  if (readings.length !== RECORDS) throw new Error("a reading is missing");
  return bytes / RECORDS;
}

/** The better of two tries, so that a program which the system runs in between is not counted. */
function bestOfTwo(take: () => number): () => number {
  return () => Math.min(take(), take());
}

function recordPause(): number {
  collectGarbage();
  const { memory, records } = openRecords();
  const addresses = new Uint32Array(RECORDS);
  const longest = longestBatch((record) => {
    addresses[record] = writeRecord(memory, records, record);
  });
  memory.dispose();
  return longest;
}

function objectPause(): number {
  collectGarbage();
  const readings: Reading[] = [];
  return longestBatch((record) => {
    readings.push(readingOf(record));
  });
}

const CROWD = 10_000_000;
const FEW = 1000;
const CROWD_MEMORY = 512 * 1024 * 1024;
const SMALL_BYTES = 16;

/** A context in which `live` chunks stay. */
function beside(live: number): { memory: ProcessMemory; context: MemoryContext } {
  const memory = ProcessMemory.createSync({ maxMemory: CROWD_MEMORY });
  const context = memory.top.createChild("crowd");
  for (let chunk = 0; chunk < live; chunk += 1) context.alloc(SMALL_BYTES);
  return { memory, context };
}

function checkCrowd({ context }: { context: MemoryContext }, live: number): void {
  if (context.stats().usedBytes < live * SMALL_BYTES) throw new Error("too few chunks are alive");
}

function amongMany(): Contender {
  const open = beside(CROWD);
  const { memory, context } = open;
  const held = new Uint32Array(FEW);
  return {
    name: "10^7 live",
    role: "ours",
    operations: FEW,
    run() {
      let sum = 0;
      for (let index = 0; index < FEW; index += 1) {
        const chunk = context.alloc(SMALL_BYTES);
        held[index] = chunk;
        sum += chunk;
      }
      for (let index = 0; index < FEW; index += 1) memory.free((held[index] ?? 0) as ChunkPtr);
      return sum;
    },
    check: () => checkCrowd(open, CROWD),
    dispose: () => memory.dispose(),
  };
}

function amongFew(): Contender {
  const open = beside(FEW);
  const { memory, context } = open;
  const kept = new Uint32Array(FEW);
  return {
    name: "10^3 live",
    role: "peer",
    operations: FEW,
    run() {
      let total = 0;
      for (let turn = 0; turn < FEW; turn += 1) {
        const at = context.alloc(SMALL_BYTES);
        kept[turn] = at;
        total += at;
      }
      for (let turn = 0; turn < FEW; turn += 1) memory.free((kept[turn] ?? 0) as ChunkPtr);
      return total;
    },
    check: () => checkCrowd(open, FEW),
    dispose: () => memory.dispose(),
  };
}

/** Rows 12 and 13 of the design. */
export const recordRows: readonly Row[] = [
  {
    id: "12.records-memory",
    name: "1,000,000 records of 48 B: memory, what finds them again included",
    unit: "bytes a record",
    targets: { objects: 0.35 },
    contenders: async () => [
      once("palloc", "ours", recordBytes, checkRecords),
      once("objects", "peer", objectBytes, () => {}),
    ],
  },
  {
    id: "12.records-pause",
    name: "1,000,000 records of 48 B: longest time that 1,000 of them take",
    unit: "ms",
    targets: { objects: 0.1 },
    contenders: async () => [
      once("palloc", "ours", bestOfTwo(recordPause), checkRecords),
      once("objects", "peer", bestOfTwo(objectPause), () => {}),
    ],
  },
  {
    id: "13.palloc-10M-live",
    name: "palloc 16 B + pfree beside 10,000,000 live chunks, from JavaScript",
    unit: "ns a pair",
    targets: { "10^3 live": 2.0 },
    contenders: async () => [amongMany(), amongFew()],
  },
];
