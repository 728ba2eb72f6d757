/**
 * Makes a table, whatever its rows come from: through the buffer pool into heap pages of a new
 * relation. The relation may be many times larger than the pool, so the clock sweep soon evicts
 * pages that are still dirty and writes them back.
 *
 * All of it is one transaction, as `create table` and `copy` in one are: the new relation is locked
 * against everybody until its commit, which tells all catalog caches that there is such a table.
 * The rows go into a relation of a temporary name, which gets its own after the last one; after the
 * commit a checkpoint makes name, pages and catalog row durable together. So the table exists after
 * whatever interruption if and only if it is complete. A load that fails is rolled back: that gives
 * back pins, locks and memory, and undoes a page that was being changed, but no page that was
 * finished; so it drops what it has made. One that is interrupted cannot, and need not: the next
 * start comes back to the last checkpoint, which knows nothing of it.
 */

import type { Relation, Session } from "../../bindings/index.ts";
import type { LoadOutcome, LoadProgress } from "./messages.ts";
import { type Sight, sightOf } from "./sight.ts";
import type { TableCatalog, TableContent } from "./table-catalog.ts";

/** Ends the name of a relation that is being loaded. */
const UNFINISHED = ".loading";

/** Where a table is to be made. */
export interface TableLoad {
  readonly session: Session;
  readonly tables: TableCatalog;
  readonly onProgress: (progress: LoadProgress) => void;
}

/** What a table is to be made of. */
export interface NewTable {
  /** Of a table that does not exist. */
  readonly name: string;
  /**
   * Adds the rows and returns their number. Pins and page locks that it has when it throws are
   * given back by the transaction.
   */
  fill(relation: Relation): Promise<number>;
  /** What the catalog is to say of it, given the number of rows. */
  describe(rows: number): TableContent;
}

/** The outcome where the table was there already. */
export function nothingLoaded(relation: string, blocks: number): LoadOutcome {
  return {
    loaded: false,
    relation,
    restarted: false,
    blocks,
    rows: 0,
    seconds: 0,
    checkpointSeconds: 0,
    checkpointBuffers: 0,
  };
}

/**
 * Makes a table.
 *
 * @throws what `fill` throws, and StorageError 53100 when the disk is full; then there is no such
 *   relation, and nothing else has changed
 */
export async function buildTable(load: TableLoad, table: NewTable): Promise<LoadOutcome> {
  const { backend } = load.session;
  const { name } = table;
  const abandoned = dropRemains(load, name);
  const started = performance.now();
  try {
    const { rows, blocks, sight } = await createAndCopy(load, table);
    const copied = performance.now();
    const { buffersWritten } = backend.checkpointSync({
      onProgress: (done, total) => load.onProgress({ phase: "checkpoint", done, total }),
    });
    const ended = performance.now();
    return {
      loaded: true,
      relation: name,
      restarted: abandoned > 0,
      rows,
      blocks,
      seconds: (ended - started) / 1000,
      checkpointSeconds: (ended - copied) / 1000,
      checkpointBuffers: buffersWritten,
      sight,
    };
  } catch (error) {
    dropFailed(load, name);
    throw error;
  }
}

/** What the transaction of a load did. */
interface Copied {
  readonly rows: number;
  readonly blocks: number;
  readonly sight: Sight;
}

/** The load's transaction: begin, create, copy, describe, commit. */
function createAndCopy({ session, tables }: TableLoad, table: NewTable): Promise<Copied> {
  const { name, fill, describe } = table;
  const { backend } = session;
  const { locks } = backend;
  return session.transaction(async (transaction) => {
    const unfinished = `${name}${UNFINISHED}`;
    const relation = backend.createRelationSync(unfinished);
    const { number: file } = relation;
    locks.lockRelationSync(file, "AccessExclusiveLock", "transaction");

    const rows = await transaction.query(`copy ${name}`, () => {
      locks.lockRelationSync(file, "RowExclusiveLock", "transaction");
      return fill(relation);
    });

    backend.renameRelationSync(unfinished, name);
    const pages = relation.blocksSync();
    tables.add(name, { ...describe(rows), file, pages });
    return { rows, blocks: pages, sight: sightOf(session) };
  });
}

/**
 * Drops a table under the lock that keeps everybody else from it; also a relation that the catalog
 * does not know.
 */
export function dropTable({ session, tables }: TableLoad, name: string): void {
  session.transaction(() => {
    if (tables.find(name) !== undefined) {
      tables.open(name, "AccessExclusiveLock");
      tables.remove(name);
    }
    session.backend.dropRelationSync(name);
  });
}

/**
 * Drops what a load of this table has left. One load runs at a time, so whatever has a working
 * name, or this one, is of a load that has ended too early. @returns how many relations there were
 */
function dropRemains(load: TableLoad, name: string): number {
  const remains = load.session.backend
    .relationNamesSync()
    .filter((each) => each.endsWith(UNFINISHED) || each === name);
  for (const each of remains) dropTable(load, each);
  return remains.length;
}

/**
 * Where even that fails, the error that ended the load is still the one to be told: without a
 * checkpoint nothing of it outlives the region.
 */
function dropFailed(load: TableLoad, name: string): void {
  try {
    dropRemains(load, name);
  } catch {}
}
