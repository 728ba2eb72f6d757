/**
 * Makes a table, whatever its rows come from: through the buffer pool into heap pages of a new
 * relation. The relation may be many times larger than the pool, so the clock sweep soon evicts
 * pages that are still dirty and writes them back.
 *
 * The rows go into a relation of a temporary name, which gets its own after the last one; then a
 * checkpoint commits name and pages together. So the table exists after whatever interruption if
 * and only if it is complete. A load that fails drops what it has made. One that is interrupted
 * cannot, and need not: the next start comes back to the last checkpoint, which knows nothing of
 * it.
 */

import type { Backend, Relation } from "../../bindings/index.ts";
import type { LoadOutcome, LoadProgress } from "./messages.ts";

/** Ends the name of a relation that is being loaded. */
const UNFINISHED = ".loading";

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
 * Makes the relation `name`, which does not exist.
 *
 * @param fill - adds the rows and returns their number; has given up every pin when it ends
 * @throws what `fill` throws, and StorageError 53100 when the disk is full; then there is no such
 *   relation, and nothing else has changed
 */
export async function buildTable(
  backend: Backend,
  name: string,
  onProgress: (progress: LoadProgress) => void,
  fill: (relation: Relation) => Promise<number>,
): Promise<LoadOutcome> {
  // One load runs at a time, so whatever has such a name was interrupted.
  const abandoned = backend.relationNamesSync().filter((each) => each.endsWith(UNFINISHED));
  for (const each of abandoned) backend.dropRelationSync(each);

  const started = performance.now();
  const unfinished = `${name}${UNFINISHED}`;
  const relation = backend.createRelationSync(unfinished);
  try {
    const rows = await fill(relation);
    const copied = performance.now();
    backend.renameRelationSync(unfinished, name);
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
    for (const each of [unfinished, name]) dropUnfinished(backend, each);
    throw error;
  }
}

/**
 * Drops what a failed load has made. Where even that fails, the error that ended the load is still
 * the one to be told: without a checkpoint nothing of it outlives the region.
 */
function dropUnfinished(backend: Backend, unfinished: string): void {
  try {
    backend.dropRelationSync(unfinished);
  } catch {}
}
