/**
 * How the main thread gives turns to workers that measure together: words in shared memory, so that
 * a turn starts in all of them at once and the main thread, asleep, takes no processor from them.
 *
 *   words   0 turn · 1 arrived · 2 finished · 3 milliseconds of a turn
 *   values  one number a worker: what it measured
 */

const WORD_TURN = 0;
const WORD_ARRIVED = 1;
const WORD_FINISHED = 2;
const WORD_MILLISECONDS = 3;
const HEAD_BYTES = 16;
/** The turn that ends the workers. */
const LAST_TURN = -1;
/** Longer than any turn; a worker that has ended never finishes its turn. */
const PATIENCE_MS = 30_000;

/** Both ends of it. */
export class Turns {
  /** Pass it to the workers. */
  readonly control: SharedArrayBuffer;
  readonly #patience: number;
  readonly #words: Int32Array;
  readonly #values: Float64Array;

  /**
   * @param control - from another thread's Turns
   * @param patience - milliseconds to wait for others before giving up
   */
  constructor(workers: number, control?: SharedArrayBuffer, patience: number = PATIENCE_MS) {
    const bytes = HEAD_BYTES + workers * Float64Array.BYTES_PER_ELEMENT;
    this.control = control ?? new SharedArrayBuffer(bytes);
    this.#patience = patience;
    this.#words = new Int32Array(this.control, 0, HEAD_BYTES / Int32Array.BYTES_PER_ELEMENT);
    this.#values = new Float64Array(this.control, HEAD_BYTES, workers);
  }

  // ── Main thread ────────────────────────────────────────────────────────────────────────────────

  /**
   * Has every worker take a turn and waits for all of them.
   *
   * @returns what each measured
   * @throws if one of them does not finish
   */
  take(milliseconds: number): number[] {
    const words = this.#words;
    Atomics.store(words, WORD_ARRIVED, 0);
    Atomics.store(words, WORD_FINISHED, 0);
    Atomics.store(words, WORD_MILLISECONDS, milliseconds);
    Atomics.add(words, WORD_TURN, 1);
    Atomics.notify(words, WORD_TURN);
    const end = performance.now() + this.#patience;
    for (let finished = 0; finished < this.#values.length; ) {
      if (performance.now() > end) throw new Error("a worker did not finish its turn");
      Atomics.wait(words, WORD_FINISHED, finished, this.#patience);
      finished = Atomics.load(words, WORD_FINISHED);
    }
    return [...this.#values];
  }

  /** Tells the workers that there is no further turn. */
  end(): void {
    Atomics.store(this.#words, WORD_TURN, LAST_TURN);
    Atomics.notify(this.#words, WORD_TURN);
  }

  // ── Workers ────────────────────────────────────────────────────────────────────────────────────

  /** Milliseconds of the turn under way. */
  get milliseconds(): number {
    return Atomics.load(this.#words, WORD_MILLISECONDS);
  }

  /** Sleeps until turn number `turn`, counted from 1; false if there is none. */
  await(turn: number): boolean {
    Atomics.wait(this.#words, WORD_TURN, turn - 1);
    return Atomics.load(this.#words, WORD_TURN) !== LAST_TURN;
  }

  /** Waits, awake, until all workers stand at the start. */
  meet(): void {
    Atomics.add(this.#words, WORD_ARRIVED, 1);
    const end = performance.now() + this.#patience;
    while (Atomics.load(this.#words, WORD_ARRIVED) < this.#values.length) {
      if (performance.now() > end) throw new Error("another worker did not come to the start");
    }
  }

  /** Ends a worker's turn. @param worker - its number, from 0 */
  finish(worker: number, value: number): void {
    this.#values[worker] = value;
    Atomics.add(this.#words, WORD_FINISHED, 1);
    Atomics.notify(this.#words, WORD_FINISHED);
  }
}
