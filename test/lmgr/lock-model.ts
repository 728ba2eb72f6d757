// A lock and its queue as the books have it: who holds which modes, and a list of who waits. No
// records, tickets or words; what assembly/lmgr does is compared with it step by step.

const CONFLICTS: Readonly<Record<number, readonly number[]>> = {
  1: [8],
  2: [7, 8],
  3: [5, 6, 7, 8],
  4: [4, 5, 6, 7, 8],
  5: [3, 4, 6, 7, 8],
  6: [3, 4, 5, 6, 7, 8],
  7: [2, 3, 4, 5, 6, 7, 8],
  8: [1, 2, 3, 4, 5, 6, 7, 8],
};

export function conflict(one: number, two: number): boolean {
  return CONFLICTS[one]?.includes(two) ?? false;
}

export interface Waiter {
  readonly slot: number;
  readonly mode: number;
}

export type Answer = "ok" | "held" | "wait" | "no" | "deadlock";

/** One lock. */
export class ModelLock {
  /** Times each (slot, mode) was taken. */
  readonly holds: Map<string, number> = new Map();
  queue: Waiter[] = [];
  /** Who was granted what he waited for, since somebody last emptied this. */
  granted: number[] = [];

  modesOf(slot: number): number[] {
    return [...this.holds.keys()]
      .map((key) => key.split(" ").map(Number))
      .filter(([owner]) => owner === slot)
      .map(([, mode = 0]) => mode)
      .sort();
  }

  isWaiting(slot: number): boolean {
    return this.queue.some((waiter) => waiter.slot === slot);
  }

  acquire(slot: number, mode: number, mayWait: boolean): Answer {
    const key = `${slot} ${mode}`;
    const held = this.holds.get(key) ?? 0;
    if (held > 0) {
      this.holds.set(key, held + 1);
      return "held";
    }
    const others = this.queue.filter((waiter) => waiter.slot !== slot);
    const free =
      !this.#isGrantedAgainst(slot, mode) && !others.some((waiter) => conflict(mode, waiter.mode));
    if (free) {
      this.holds.set(key, 1);
      return "ok";
    }
    return this.#join(slot, mode, mayWait);
  }

  #join(slot: number, mode: number, mayWait: boolean): Answer {
    const mine = this.modesOf(slot);
    const blocked = this.queue.findIndex((waiter) =>
      mine.some((held) => conflict(waiter.mode, held)),
    );
    const first = this.queue[blocked];
    if (first !== undefined) {
      if (this.modesOf(first.slot).some((held) => conflict(mode, held))) return "deadlock";
      const ahead = this.queue.slice(0, blocked);
      const inWay = ahead.some((waiter) => conflict(mode, waiter.mode));
      if (!inWay && !this.#isGrantedAgainst(slot, mode)) {
        this.holds.set(`${slot} ${mode}`, 1);
        return "ok";
      }
    }
    if (!mayWait) return "no";
    this.queue.splice(first === undefined ? this.queue.length : blocked, 0, { slot, mode });
    return "wait";
  }

  #isGrantedAgainst(slot: number, mode: number): boolean {
    return [...this.holds.keys()].some((key) => {
      const [owner, held = 0] = key.split(" ").map(Number);
      return owner !== slot && conflict(mode, held);
    });
  }

  release(slot: number, mode: number): boolean {
    const key = `${slot} ${mode}`;
    const held = this.holds.get(key) ?? 0;
    if (held === 0) return false;
    if (held > 1) this.holds.set(key, held - 1);
    else this.holds.delete(key);
    this.#wake();
    return true;
  }

  /** Everything of a backend, and its place in the queue. */
  leave(slot: number): void {
    for (const mode of this.modesOf(slot)) this.holds.delete(`${slot} ${mode}`);
    this.giveUp(slot);
  }

  giveUp(slot: number): void {
    this.queue = this.queue.filter((waiter) => waiter.slot !== slot);
    this.#wake();
  }

  #grant({ slot, mode }: Waiter): void {
    this.holds.set(`${slot} ${mode}`, 1);
    this.granted.push(slot);
  }

  #wake(): void {
    const left: Waiter[] = [];
    for (const waiter of this.queue) {
      const { slot, mode } = waiter;
      const inWay = left.some((other) => conflict(mode, other.mode));
      if (inWay || this.#isGrantedAgainst(slot, mode)) left.push(waiter);
      else this.#grant(waiter);
    }
    this.queue = left;
  }
}
