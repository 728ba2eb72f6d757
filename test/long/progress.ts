// Says how far a long test has come: a line for each tenth.

/** The progress of one test. */
export class Progress {
  readonly #name: string;
  readonly #total: number;
  readonly #begin: number = performance.now();
  #shown = 0;

  constructor(name: string, total: number) {
    this.#name = name;
    this.#total = total;
  }

  /** Prints a line if another tenth of the work is done. */
  show(done: number): void {
    const tenths = Math.floor((done * 10) / this.#total);
    if (tenths <= this.#shown) return;
    this.#shown = tenths;
    const seconds = ((performance.now() - this.#begin) / 1000).toFixed(1);
    process.stdout.write(`${this.#name}: ${done} of ${this.#total}, ${seconds} s\n`);
  }
}
