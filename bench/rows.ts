/**
 * All rows of `npm run bench`, in the order of their numbers. A new row is written in one of the
 * *.bench.ts files; a new file of rows is added here.
 */

import { bufferRows } from "./buffers.bench.ts";
import type { Row } from "./harness.ts";
import { mmgrRows } from "./mmgr.bench.ts";

/** Every row that can be measured. */
export const rows: readonly Row[] = [...mmgrRows, ...bufferRows];
