// What one thread of a stress test does to the pool: everything the pool can do, by chance, and
// each page it sees is looked at; and in between to locks (stress-locks.ts). Synchronous forms; the
// driver does the same in promises.
//
// What a thread holds while it waits is ordered, as a user of the pool would have to: pages by
// their block, and nothing but the one page while it waits for a cleanup lock. While it has or
// awaits a lock of the lock table it has no page locked.

import type { Backend, BufferId, Relation } from "../../bindings/index.ts";
import { Strategy } from "../../bindings/index.ts";
import { Random } from "../support/random.ts";
import { LockLoad, type Lot } from "./stress-locks.ts";
import { blockOf, checkedVersion, stampPage, versionOf } from "./stress-page.ts";
import { type Board, CAPACITY, type Life, PARTIES } from "./stress-words.ts";

/** The relation that everybody works on. */
export const RELATION = "stress";

const HOT_BLOCKS = 8;
const RING = 8;
const SCAN_BLOCKS = 40;
const EXTEND_BLOCKS = 4;
const SIDE_BLOCKS = 6;
/** One look in so many is at every word. */
const EVERYWHERE = 4;
/** Another backend waits for the same cleanup lock. */
const TAKEN = "multiple backends attempting to wait for pincount 1";

/** How one party works. */
export interface LoadOptions extends Life {
  readonly backend: Backend;
  readonly board: Board;
  readonly seed: number;
  /** Whether it takes checkpoints too. */
  readonly checkpoints: boolean;
}

/** The name of a relation of one thread's own. */
function sideName(life: number, count: number): string {
  return `side ${life} ${count}`;
}

/** Whose relation that is; undefined for what is nobody's own. */
export function lifeOfSide(name: string): number | undefined {
  return name.startsWith("side ") ? Number(name.split(" ")[1]) : undefined;
}

/** One thread's work. */
export class Load {
  readonly #backend: Backend;
  readonly #board: Board;
  readonly #party: number;
  readonly #life: number;
  readonly #random: Random;
  readonly #relation: Relation;
  readonly #operations: readonly (() => void)[];
  /** A page that stays pinned over many operations. */
  #cursor: { readonly buffer: BufferId; readonly block: number } | undefined;
  #sides = 0;

  constructor({ backend, board, party, life, seed, checkpoints }: LoadOptions) {
    this.#backend = backend;
    this.#board = board;
    this.#party = party;
    this.#life = life;
    this.#random = new Random(seed);
    this.#relation = backend.openRelationSync(RELATION);
    const random = this.#random;
    const locks = new LockLoad({ backend, board, party, life, random });
    const lots = [...this.#lots(checkpoints), ...locks.lots()];
    this.#operations = lots.flatMap(([times, operation]) => Array(times).fill(operation));
  }

  #lots(checkpoints: boolean): readonly Lot[] {
    return [
      [120, () => this.#read()],
      [80, () => this.#readByNumber()],
      [120, () => this.#change()],
      [60, () => this.#changeByNumber()],
      [30, () => this.#changeTwo()],
      [20, () => this.#undo()],
      [20, () => this.#tryLocks()],
      [20, () => this.#cleanup()],
      [20, () => this.#tryCleanup()],
      [10, () => this.#scan()],
      [10, () => this.#vacuum()],
      [20, () => this.#moveCursor()],
      [6, () => this.#extend()],
      [10, () => this.#evictOne()],
      [10, () => this.#flushOne()],
      [2, () => void this.#pool.flushSync(this.#relation)],
      [1, () => void this.#pool.evictAllSync(this.#relation)],
      [3, () => this.#side()],
      [checkpoints ? 2 : 0, () => this.#checkpoint()],
    ];
  }

  /** Works until the board says stop, and gives everything back. */
  run(): void {
    while (!this.#board.stopped) {
      this.#random.pick(this.#operations)();
      this.#board.progress(this.#party);
    }
    this.#dropCursor();
  }

  get #pool(): Backend["buffers"] {
    return this.#backend.buffers;
  }

  /** A block that has been written: one of a few in a fifth of the cases. */
  #block(): number {
    for (;;) {
      const hot = this.#random.below(5) === 0;
      const block = this.#random.below(hot ? HOT_BLOCKS : CAPACITY);
      if (this.#board.completed(block) > 0) return block;
    }
  }

  #look(bytes: Uint8Array, block: number): number {
    const before = this.#board.completed(block);
    const version = checkedVersion(bytes, block, this.#random.below(EVERYWHERE) === 0);
    // A change that was completed before the look was made before it.
    if (version >= before && version <= this.#board.started(block)) return version;
    throw new Error(`block ${block} has version ${version} after ${before} changes`);
  }

  // ── Reading ────────────────────────────────────────────────────────────────────────────────────

  #read(): void {
    const block = this.#block();
    using page = this.#pool.readSync(this.#relation, block);
    this.#look(page.bytes, block);
    if (this.#random.below(8) !== 0) return;
    // Another page while this one is locked, and this one is still the same.
    const other = this.#block();
    if (other <= block) return;
    using next = this.#pool.readSync(this.#relation, other);
    this.#look(next.bytes, other);
    this.#look(page.bytes, block);
  }

  #readByNumber(): void {
    const block = this.#block();
    const buffer = this.#pool.pin(this.#relation.id, block);
    this.#mustBe(buffer, block);
    this.#pool.lockShare(buffer);
    this.#look(this.#pool.bytes(buffer), block);
    this.#pool.unlock(buffer);
    this.#mustBe(buffer, block);
    this.#pool.unpin(buffer);
  }

  /** A pin alone keeps the page in its frame. */
  #mustBe(buffer: BufferId, block: number): void {
    const found = blockOf(this.#pool.bytes(buffer));
    if (found !== block) throw new Error(`pinned block ${block} became block ${found}`);
  }

  #scan(): void {
    const ring = new Strategy("bulkread", RING);
    const first = this.#random.below(CAPACITY);
    for (let block = first; block < Math.min(CAPACITY, first + SCAN_BLOCKS); block += 1) {
      if (this.#board.completed(block) === 0) continue;
      const buffer = this.#pool.pinWith(ring, this.#relation.id, block);
      this.#pool.lockShare(buffer);
      this.#look(this.#pool.bytes(buffer), block);
      this.#pool.unlock(buffer);
      this.#pool.unpin(buffer);
    }
  }

  #moveCursor(): void {
    this.#dropCursor();
    const block = this.#block();
    this.#cursor = { buffer: this.#pool.pin(this.#relation.id, block), block };
  }

  #dropCursor(): void {
    if (this.#cursor === undefined) return;
    const { buffer, block } = this.#cursor;
    this.#cursor = undefined;
    this.#mustBe(buffer, block);
    this.#pool.unpin(buffer);
  }

  // ── Changing ───────────────────────────────────────────────────────────────────────────────────

  /** The next version of a page, which is locked exclusively. */
  #next(bytes: Uint8Array, block: number): void {
    const version = this.#look(bytes, block);
    this.#board.begin(block);
    stampPage(bytes, block, version + 1);
  }

  #change(): void {
    const block = this.#block();
    this.#pool.changeSync(this.#relation, block, (bytes) => this.#next(bytes, block));
    this.#board.complete(block);
  }

  #changeByNumber(): void {
    const block = this.#block();
    const buffer = this.#pool.pin(this.#relation.id, block);
    this.#pool.lockExclusive(buffer);
    this.#changeLocked(buffer, block);
    this.#pool.unlock(buffer);
    this.#pool.unpin(buffer);
  }

  #changeLocked(buffer: BufferId, block: number): void {
    this.#pool.beginChange(buffer);
    this.#next(this.#pool.bytes(buffer), block);
    this.#pool.endChange(buffer);
    this.#board.complete(block);
  }

  #changeTwo(): void {
    const blocks = [this.#block(), this.#block()].sort((a, b) => a - b);
    if (blocks[0] === blocks[1]) return;
    const buffers = blocks.map((block) => {
      const buffer = this.#pool.pin(this.#relation.id, block);
      this.#pool.lockExclusive(buffer);
      return buffer;
    });
    for (const [index, buffer] of buffers.entries()) this.#changeLocked(buffer, blocks[index] ?? 0);
    for (const buffer of buffers) {
      this.#pool.unlock(buffer);
      this.#pool.unpin(buffer);
    }
  }

  #undo(): void {
    const block = this.#block();
    const buffer = this.#pool.pin(this.#relation.id, block);
    this.#pool.lockExclusive(buffer);
    const bytes = this.#pool.bytes(buffer);
    const version = versionOf(bytes);
    this.#pool.beginChange(buffer);
    stampPage(bytes, block, version + 1);
    this.#pool.undoChange(buffer);
    if (this.#look(bytes, block) !== version) throw new Error(`block ${block} was not put back`);
    this.#pool.unlock(buffer);
    this.#pool.unpin(buffer);
  }

  #tryLocks(): void {
    const block = this.#block();
    const buffer = this.#pool.pin(this.#relation.id, block);
    if (this.#pool.tryLockExclusive(buffer)) {
      this.#changeLocked(buffer, block);
      this.#pool.unlock(buffer);
    }
    if (this.#pool.tryLockShare(buffer)) {
      this.#look(this.#pool.bytes(buffer), block);
      this.#pool.unlock(buffer);
    }
    this.#pool.unpin(buffer);
  }

  #cleanup(): void {
    this.#dropCursor();
    const block = this.#block();
    const buffer = this.#pool.pin(this.#relation.id, block);
    try {
      this.#pool.lockForCleanup(buffer);
      this.#changeLocked(buffer, block);
      this.#pool.unlock(buffer);
    } catch (error) {
      if ((error as Error).message !== TAKEN) throw error;
    }
    this.#pool.unpin(buffer);
  }

  #tryCleanup(): void {
    this.#dropCursor();
    const block = this.#block();
    const buffer = this.#pool.pin(this.#relation.id, block);
    if (this.#pool.tryLockForCleanup(buffer)) {
      this.#changeLocked(buffer, block);
      this.#pool.unlock(buffer);
    }
    this.#pool.unpin(buffer);
  }

  #vacuum(): void {
    const ring = new Strategy("vacuum", RING);
    for (let count = 0; count < SCAN_BLOCKS / 2; count += 1) {
      const block = this.#block();
      const buffer = this.#pool.pinWith(ring, this.#relation.id, block);
      this.#pool.lockExclusive(buffer);
      if (count % 2 === 0) this.#changeLocked(buffer, block);
      this.#pool.unlock(buffer);
      this.#pool.unpin(buffer);
    }
  }

  // ── Relations and the pool as a whole ──────────────────────────────────────────────────────────

  /** Blocks that nobody else looks at before their first version is complete. */
  #extend(): void {
    // Others may extend at the same moment: leaves room for all of them.
    if (this.#relation.blocksSync() + EXTEND_BLOCKS * PARTIES > CAPACITY) return;
    const ring = new Strategy("bulkwrite", RING);
    const first = this.#pool.extendSync(this.#relation, EXTEND_BLOCKS, ring);
    for (let block = first; block < first + EXTEND_BLOCKS; block += 1) {
      const buffer = this.#pool.pinZeroed(this.#relation.id, block, ring);
      this.#pool.beginChange(buffer);
      this.#board.begin(block);
      stampPage(this.#pool.bytes(buffer), block, 1);
      this.#pool.endChange(buffer);
      this.#pool.unlock(buffer);
      this.#pool.unpin(buffer);
      this.#board.complete(block);
    }
  }

  #anyBuffer(): BufferId {
    return this.#random.below(this.#backend.settings.sharedBuffers) as BufferId;
  }

  #evictOne(): void {
    this.#pool.evictSync(this.#anyBuffer());
  }

  #flushOne(): void {
    this.#pool.flushBufferSync(this.#anyBuffer());
  }

  #checkpoint(): void {
    this.#board.setCheckpointing(this.#party, true);
    if (this.#board.checkpointsAllowed) {
      this.#board.checkpointed(() => void this.#backend.checkpointSync());
    }
    this.#board.setCheckpointing(this.#party, false);
  }

  /** A relation of this thread's own: made, filled, cut, read and dropped. */
  #side(): void {
    this.#sides += 1;
    const name = sideName(this.#life, this.#sides);
    const side = this.#backend.createRelationSync(name);
    this.#pool.extendSync(side, SIDE_BLOCKS);
    for (let block = 0; block < SIDE_BLOCKS; block += 1) {
      this.#pool.changeSync(side, block, (bytes) => stampPage(bytes, block, 1));
    }
    this.#backend.truncateSync(side, SIDE_BLOCKS / 2);
    for (let block = 0; block < SIDE_BLOCKS / 2; block += 1) {
      using page = this.#pool.readSync(side, block);
      if (checkedVersion(page.bytes, block, true) !== 1) throw new Error(`${name}: lost ${block}`);
    }
    this.#backend.dropRelationSync(name);
  }
}
