/**
 * The largest groups of a result: all are counted, few are kept. Where many come, what is kept is
 * cut whenever it has grown to twice as much as is wanted, so that it costs a sort a so many groups
 * and memory of twice as many.
 *
 * PostgreSQL: src/backend/utils/sort/tuplesort.c, a bounded sort (the role)
 */

import type { Group } from "./aggregate.ts";

/** Keeps the largest of the groups it is shown. */
export class Ranking {
  readonly #keep: number;
  #groups: Group[] = [];
  #count = 0;

  /** @param keep - how many groups are wanted, at most */
  constructor(keep: number) {
    this.#keep = keep;
  }

  /** Groups seen. */
  get count(): number {
    return this.#count;
  }

  add(group: Group): void {
    this.#count += 1;
    this.#groups.push(group);
    if (this.#groups.length >= 2 * this.#keep) this.#cut();
  }

  /** The largest, largest first. */
  largest(): readonly Group[] {
    this.#cut();
    return this.#groups;
  }

  #cut(): void {
    this.#groups = this.#groups.sort(largestFirst).slice(0, this.#keep);
  }
}

/** By count, then by key, so that the order is the same in every run. */
function largestFirst(left: Group, right: Group): number {
  return right.count - left.count || Buffer.compare(left.key, right.key);
}
