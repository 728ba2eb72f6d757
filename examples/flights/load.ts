/**
 * Makes a table, whatever its rows come from: through the buffer pool into heap pages of a new
 * relation. The relation may be many times larger than the pool, so the clock sweep soon evicts
 * pages that are still dirty and writes them back.
 *
 * The rows go into a relation of a temporary name, which gets its own after the last one; then the
 * table is entered in the catalog, and a checkpoint commits name, pages and catalog together. So
 * the table exists after whatever interruption if and only if it is complete. A load that fails
 * drops what it has made. One that is interrupted cannot, and need not: the next start comes back
 * to the last checkpoint, which knows nothing of it.
 */

import type { Backend, Relation } from "../../bindings/index.ts";
import type { LoadOutcome, LoadProgress } from "./messages.ts";
import type { TableCatalog, TableDescription } from "./table-catalog.ts";

/** Ends the name of a relation that is being loaded. */
const UNFINISHED = ".loading";

/** A table that is to be made. */
export interface TableLoad {
  readonly backend: Backend;
  readonly tables: TableCatalog;
  readonly name: string;
  readonly onProgress: (progress: LoadProgress) => void;
}

/** The outcome where the table was there already. */
export function nothingLoaded(blocks: number): LoadOutcome {
  return {
    loaded: false,
    restarted: false,
    blocks,
    rows: 0,
    seconds: 0,
    checkpointSeconds: 0,
    checkpointBuffers: 0,
  };
}

/**
 * Makes the table `name`, which does not exist.
 *
 * @param fill - adds the rows and returns their number; has given up every pin when it ends
 * @param describe - what the catalog says of it, given the number of rows
 * @throws what `fill` throws, and StorageError 53100 when the disk is full; then there is no such
 *   relation, and nothing else has changed
 */
export async function buildTable(
  { backend, tables, name, onProgress }: TableLoad,
  fill: (relation: Relation) => Promise<number>,
  describe: (rows: number) => TableDescription,
): Promise<LoadOutcome> {
  // One load runs at a time, so whatever has such a name, or no place in the catalog, was
  // interrupted.
  const abandoned = backend
    .relationNamesSync()
    .filter((each) => each.endsWith(UNFINISHED) || each === name);
  for (const each of abandoned) backend.dropRelationSync(each);

  const started = performance.now();
  const unfinished = `${name}${UNFINISHED}`;
  const relation = backend.createRelationSync(unfinished);
  try {
    const rows = await fill(relation);
    const copied = performance.now();
    backend.renameRelationSync(unfinished, name);
    tables.add(name, describe(rows));
    const { buffersWritten } = backend.checkpointSync({
      onProgress: (done, total) => onProgress({ phase: "checkpoint", done, total }),
    });
    const ended = performance.now();
    return {
      loaded: true,
      restarted: abandoned.length > 0,
      rows,
      blocks: relation.blocksSync(),
      seconds: (ended - started) / 1000,
      checkpointSeconds: (ended - copied) / 1000,
      checkpointBuffers: buffersWritten,
    };
  } catch (error) {
    for (const each of [unfinished, name]) dropUnfinished(backend, tables, each);
    throw error;
  }
}

/**
 * Drops what a failed load has made. Where even that fails, the error that ended the load is still
 * the one to be told: without a checkpoint nothing of it outlives the region.
 */
function dropUnfinished(backend: Backend, tables: TableCatalog, unfinished: string): void {
  try {
    tables.remove(unfinished);
    backend.dropRelationSync(unfinished);
  } catch {}
}
