/**
 * All rows of `npm run bench`, in the order of their numbers. A new row is written in one of the
 * *.bench.ts files; a new file of rows is added here.
 */

import { bufferRows } from "./buffers.bench.ts";
import { cacheRows } from "./cache.bench.ts";
import { catalogRows } from "./catalog.bench.ts";
import { contextRows } from "./contexts.bench.ts";
import type { Row } from "./harness.ts";
import { journalRows } from "./journal.bench.ts";
import { largeRows } from "./large.bench.ts";
import { lockRows } from "./locks.bench.ts";
import { lwlockRows } from "./lwlocks.bench.ts";
import { memoryRows } from "./memory.bench.ts";
import { missRows } from "./misses.bench.ts";
import { mmgrRows } from "./mmgr.bench.ts";
import { patternRows } from "./patterns.bench.ts";
import { queryBenchRows } from "./queries.bench.ts";
import { recordRows } from "./records.bench.ts";
import { workerRows } from "./workers.bench.ts";

/** Every row that can be measured. */
export const rows: readonly Row[] = [
  ...mmgrRows,
  ...patternRows,
  ...contextRows,
  ...bufferRows,
  ...missRows,
  ...workerRows,
  ...lockRows,
  ...lwlockRows,
  ...catalogRows,
  ...recordRows,
  ...largeRows,
  ...cacheRows,
  ...memoryRows,
  ...journalRows,
  ...queryBenchRows,
];
