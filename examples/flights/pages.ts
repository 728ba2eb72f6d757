/**
 * The one way to the table's pages: every page that a scan reads goes through {@link readPages},
 * every page that a load writes through {@link PageWriter}. How pages are fetched ahead, and which
 * buffers a scan or a load may use, is decided here and nowhere else: a scan of a table larger than
 * a quarter of the pool keeps to a ring of buffers, and so does every load.
 *
 * The page header and what a page holds are its user's: heap.ts, csv/schema.ts.
 *
 * PostgreSQL: src/backend/access/heap/heapam.c, heapgettup_pagemode; hio.c,
 * RelationGetBufferForTuple
 */

import {
  type Backend,
  BLOCK_BYTES,
  type BlockSource,
  type BufferPool,
  initPage,
  type Relation,
  type Strategy,
} from "../../bindings/index.ts";

/** A table with more than this part of the pool's pages is scanned through a ring. */
const SMALL_FRACTION = 4;
/** Blocks the relation grows by at a time. */
const EXTEND_BLOCKS = 64;
/** The page of a {@link PageWriter} that has none at the moment. */
export const NO_PAGE = -1;

type Buffer = ReturnType<BufferPool["pin"]>;

/** Whether a scan of so many blocks keeps to a ring. PostgreSQL: heapam.c, initscan */
export function scansThroughRing(blocks: number, sharedBuffers: number): boolean {
  return blocks > sharedBuffers / SMALL_FRACTION;
}

/**
 * Visits blocks, each pinned and locked for reading; they are read ahead.
 *
 * @param source - a range of blocks, or what names the next one
 * @param visit - gets the page's byte offset in the region, and its block number
 */
export function readPages(
  { buffers: pool, settings }: Backend,
  relation: Relation,
  source: BlockSource,
  visit: (page: number, block: number) => void,
): void {
  const large = scansThroughRing(relation.blocksSync(), settings.sharedBuffers);
  const strategy = large ? pool.strategy("bulkread") : undefined;
  const ring = strategy === undefined ? {} : { strategy };
  using stream = pool.readStream(relation, source, { sequential: true, ...ring });
  for (const buffer of stream) {
    pool.lockShare(buffer);
    try {
      visit(pool.offset(buffer), stream.block);
    } finally {
      pool.unlock(buffer);
    }
  }
}

/**
 * Fills a relation page by page; one page at a time is pinned, exclusively locked and changed.
 * After an error the transaction's owner takes back what was done to that page, and gives it up.
 */
export class PageWriter {
  readonly #pool: BufferPool;
  readonly #relation: Relation;
  readonly #strategy: Strategy | undefined;
  #buffer: Buffer | undefined;
  #page = NO_PAGE;
  /** The page that {@link pause} left, to be gone on with. */
  #paused = false;
  #nextBlock = 0;
  #endBlock = 0;

  constructor(pool: BufferPool, relation: Relation) {
    this.#pool = pool;
    this.#relation = relation;
    this.#strategy = pool.strategy("bulkwrite");
  }

  /** Byte offset in the region of the page being filled, or {@link NO_PAGE}. */
  get page(): number {
    return this.#page;
  }

  /** Commits the page being filled, if any, and begins a new one with an empty page header. */
  startPage(): void {
    this.finish();
    this.#paused = false;
    if (this.#nextBlock === this.#endBlock) {
      this.#nextBlock = this.#pool.extendSync(this.#relation, EXTEND_BLOCKS, this.#strategy);
      this.#endBlock = this.#nextBlock + EXTEND_BLOCKS;
    }
    this.#change(this.#pool.pinZeroed(this.#relation.id, this.#nextBlock, this.#strategy));
    this.#nextBlock += 1;
    initPage(this.#pool.u8.subarray(this.#page, this.#page + BLOCK_BYTES));
  }

  /** Commits the page being filled; the next row begins a new one. */
  finish(): void {
    if (this.#buffer === undefined) return;
    this.#pool.endChange(this.#buffer);
    this.#release(this.#buffer);
  }

  /** Commits the page being filled and lets go of it; {@link resume} goes on where it stopped. */
  pause(): void {
    if (this.#buffer === undefined) return;
    this.finish();
    this.#paused = true;
  }

  /** Takes up the page that {@link pause} left; nothing if there is none. May wait for storage. */
  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    const buffer = this.#pin(this.#nextBlock - 1);
    this.#pool.lockExclusive(buffer);
    this.#change(buffer);
  }

  #pin(block: number): Buffer {
    const { id } = this.#relation;
    const strategy = this.#strategy;
    return strategy === undefined
      ? this.#pool.pin(id, block)
      : this.#pool.pinWith(strategy, id, block);
  }

  #change(buffer: Buffer): void {
    this.#pool.beginChange(buffer);
    this.#buffer = buffer;
    this.#page = this.#pool.offset(buffer);
  }

  #release(buffer: Buffer): void {
    this.#buffer = undefined;
    this.#page = NO_PAGE;
    this.#pool.unlock(buffer);
    this.#pool.unpin(buffer);
  }
}
