/**
 * A parallel sequential scan: the backends share one counter in shared memory, and each takes the
 * next 32 blocks when it is done with the last. Whoever is faster reads more.
 *
 *         word 0        1
 *       ┌─────────────┬───────────┬─ ─ ─
 *       │ next block  │ cancelled │  unused
 *       └─────────────┴───────────┴─ ─ ─   64 bytes: a cache line of its own
 *
 * Both words are only touched atomically. The leader sets them to 0 before a query, when no backend
 * scans; a backend that fails sets `cancelled`, and the others stop at their next range. A backend
 * that dies holds no part of this, only the blocks it had taken are not read.
 *
 * PostgreSQL: src/backend/access/table/tableam.c, table_block_parallelscan_nextpage
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

/** One backend's, or the leader's, hold on the scan in shared memory. */
export class ParallelScan {
  readonly #words: Int32Array;
  readonly #blocks: number;

  /**
   * @param words - the segment
   * @param blocks - length of the relation when the query began
   */
  constructor(words: Int32Array, blocks: number) {
    this.#words = words;
    this.#blocks = blocks;
  }

  /** Length of the scanned relation. */
  get blocks(): number {
    return this.#blocks;
  }

  /** Whether a backend failed and the others are to stop. */
  get cancelled(): boolean {
    return Atomics.load(this.#words, CANCELLED) !== 0;
  }

  /** Makes all backends stop at their next range. */
  cancel(): void {
    Atomics.store(this.#words, CANCELLED, 1);
  }

  /** Begins again at block 0. Only while no backend scans. */
  restart(): void {
    Atomics.store(this.#words, NEXT_BLOCK, 0);
    Atomics.store(this.#words, CANCELLED, 0);
  }

  /** Takes the next blocks: {@link BLOCKS_PER_RANGE} from the returned one, or fewer at the end. */
  nextRange(): number {
    if (this.cancelled) return SCAN_DONE;
    const first = Atomics.add(this.#words, NEXT_BLOCK, BLOCKS_PER_RANGE);
    return first < this.#blocks ? first : SCAN_DONE;
  }
}
