/**
 * A parallel sequential scan: the backends share one counter in shared memory, and each takes the
 * next 32 blocks when it is done with the last. Whoever is faster reads more.
 *
 *         word 0        1           2
 *       ┌─────────────┬───────────┬──────────┬─ ─ ─
 *       │ next block  │ cancelled │ blocks   │  unused
 *       └─────────────┴───────────┴──────────┴─ ─ ─   64 bytes: a cache line of its own
 *
 * The words are only touched atomically. The leader sets them before a query, when no backend
 * scans, the length to that of the relation then: all scan the same blocks. A backend that fails
 * sets `cancelled`, and the others stop at their next range. A backend that dies holds no part of
 * this, only the blocks it had taken are not read.
 *
 * PostgreSQL: src/backend/access/table/tableam.c, table_block_parallelscan_nextpage;
 * src/include/access/relscan.h, ParallelBlockTableScanDescData
 */

/** Name and size of the segment in shared memory. */
export const SCAN_SEGMENT = "parallel scan";
export const SCAN_SEGMENT_BYTES = 64;
/** Blocks a backend takes at a time. */
export const BLOCKS_PER_RANGE = 32;
/**
 * What {@link ParallelScan.nextRange} returns when there is nothing left, or the scan is cancelled.
 */
export const SCAN_DONE = -1;

const NEXT_BLOCK = 0;
const CANCELLED = 1;
const BLOCKS = 2;

/** One backend's, or the leader's, hold on the scan in shared memory. */
export class ParallelScan {
  readonly #words: Int32Array;

  /** @param words - the segment */
  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Length of the scanned relation when the query began. */
  get blocks(): number {
    return Atomics.load(this.#words, BLOCKS);
  }

  /** Whether a backend failed and the others are to stop. */
  get cancelled(): boolean {
    return Atomics.load(this.#words, CANCELLED) !== 0;
  }

  /** Makes all backends stop at their next range. */
  cancel(): void {
    Atomics.store(this.#words, CANCELLED, 1);
  }

  /** Begins at block 0 of so many. Only while no backend scans. */
  restart(blocks: number): void {
    Atomics.store(this.#words, BLOCKS, blocks);
    Atomics.store(this.#words, NEXT_BLOCK, 0);
    Atomics.store(this.#words, CANCELLED, 0);
  }

  /** Takes the next blocks: {@link BLOCKS_PER_RANGE} from the returned one, or fewer at the end. */
  nextRange(): number {
    if (this.cancelled) return SCAN_DONE;
    const first = Atomics.add(this.#words, NEXT_BLOCK, BLOCKS_PER_RANGE);
    return first < this.blocks ? first : SCAN_DONE;
  }
}
