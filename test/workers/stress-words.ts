// The words that workers of a stress test and its driver share, in a segment of the region.
//
//   0 stop · 1 no checkpoints · 16 progress of each worker · 32 whether it is in a checkpoint
//   48 started changes of each block … · completed changes of each block …

/** Blocks that a relation may grow to. */
export const CAPACITY = 768;
/** Workers, and the driver, that may take part at one time. */
export const PARTIES = 16;

const PROGRESS_AT = 16;
const CHECKPOINT_AT = PROGRESS_AT + PARTIES;
const STARTED_AT = CHECKPOINT_AT + PARTIES;
const COMPLETED_AT = STARTED_AT + CAPACITY;
const NO_CHECKPOINTS_AT = 1;

/** Name and size of the segment. */
export const SEGMENT = "stress";
export const SEGMENT_BYTES: number = (COMPLETED_AT + CAPACITY) * Int32Array.BYTES_PER_ELEMENT;

/** What every party knows of the others. */
export class Board {
  readonly #words: Int32Array;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  get stopped(): boolean {
    return Atomics.load(this.#words, 0) !== 0;
  }

  stop(): void {
    Atomics.store(this.#words, 0, 1);
  }

  get checkpointsAllowed(): boolean {
    return Atomics.load(this.#words, NO_CHECKPOINTS_AT) === 0;
  }

  forbidCheckpoints(): void {
    Atomics.store(this.#words, NO_CHECKPOINTS_AT, 1);
  }

  /** Says that a party has done something more. */
  progress(party: number): void {
    Atomics.add(this.#words, PROGRESS_AT + party, 1);
  }

  progressOf(party: number): number {
    return Atomics.load(this.#words, PROGRESS_AT + party);
  }

  setCheckpointing(party: number, is: boolean): void {
    Atomics.store(this.#words, CHECKPOINT_AT + party, is ? 1 : 0);
  }

  get checkpointing(): boolean {
    return this.#words.subarray(CHECKPOINT_AT, STARTED_AT).some((word) => word !== 0);
  }

  /** A change of a block is about to be made; called under the page's exclusive lock, or before. */
  begin(block: number): void {
    Atomics.add(this.#words, STARTED_AT + block, 1);
  }

  complete(block: number): void {
    Atomics.add(this.#words, COMPLETED_AT + block, 1);
  }

  started(block: number): number {
    return Atomics.load(this.#words, STARTED_AT + block);
  }

  completed(block: number): number {
    return Atomics.load(this.#words, COMPLETED_AT + block);
  }
}
