// The lock manager in plain TypeScript: who holds what, who waits where, who is granted next. It
// predicts every grant, the order of every queue, every early deadlock, and, with deadlock.ts,
// every verdict of the detector with its details. It is the oracle of
// test/differential/locks.test.ts and shares no code with what it judges: a lock is an object with
// two lists, a backend knows which one it waits for, and nothing has a ticket, a hash or a
// partition. The matrix is written out anew.
//
// The rules whose order decides the outcome:
//
// - a request that conflicts with a waiter's request queues, whatever is held;
// - who holds something on the object goes before the first waiter that waits for it, and is
//   granted at once if neither the requests ahead nor the holders conflict; if that waiter holds
//   what the new request conflicts with, both would wait for each other, and the request fails;
// - that is looked at before a request that must not wait is refused;
// - a release scans the queue from its head; a waiter that is passed over blocks those behind it
//   that conflict with it, and nobody else;
// - who gives up, whatever it was, has the queue scanned;
// - the newest record of a backend and an object is looked at first by the detector.
//
// There are no lock groups and no fast path: neither changes who may hold what.
//
// PostgreSQL: src/backend/storage/lmgr/lock.c, LockAcquireExtended, LockRelease; proc.c,
// JoinWaitQueue, ProcLockWakeup, RemoveFromWaitQueue

/** The matrix of conflicts, a row a mode from AccessShare to AccessExclusive. */
const CONFLICTS: readonly string[] = [
  ".......#",
  "......##",
  "....####",
  "...#####",
  "..##.###",
  "..######",
  ".#######",
  "########",
];

/** Whether two modes, 1 to 8, exclude each other. */
export function conflict(one: number, other: number): boolean {
  return CONFLICTS[one - 1]?.charAt(other - 1) === "#";
}

/** What came of a request. */
export type TwinOutcome = "held" | "granted" | "waiting" | "not available" | "deadlock";

/** A backend that has something to do with an object: it holds modes of it, or waits, or both. */
export interface TwinRecord {
  readonly backend: number;
  /** How often each mode is held. */
  readonly times: Map<number, number>;
}

/** A place in a queue. */
export interface TwinWaiter {
  readonly backend: number;
  readonly mode: number;
}

/** One step of a cycle: a backend that waits, and what for. */
export interface TwinStep extends TwinWaiter {
  readonly tag: string;
}

/** A lockable object that somebody holds or waits for. */
export interface TwinLock {
  readonly tag: string;
  /** The newest first. */
  records: TwinRecord[];
  queue: TwinWaiter[];
}

/** All locks there are. A tag is any text that names an object. */
export class TwinLockManager {
  readonly locks: Map<string, TwinLock> = new Map();
  /** What each waiting backend waits for. */
  readonly waits: Map<number, TwinLock> = new Map();
  /** The cycle of the last deadlock. */
  details: readonly TwinStep[] = [];
  /** Granted by the last call to backends that waited, in this order. */
  granted: number[] = [];

  /** Asks for a mode. @param noWait - whether a request that would wait is refused */
  acquire(backend: number, tag: string, mode: number, noWait = false): TwinOutcome {
    this.granted = [];
    const lock = this.#lock(tag);
    const mine = this.record(lock, backend);
    const times = mine?.times.get(mode) ?? 0;
    if (mine !== undefined && times > 0) {
      mine.times.set(mode, times + 1);
      return "held";
    }
    if (mine === undefined) lock.records.unshift({ backend, times: new Map() });
    const behind = lock.queue.some((waiter) => conflict(waiter.mode, mode));
    if (!behind && !this.isBlocked(lock, backend, mode)) return this.#grant(lock, backend, mode);
    const outcome = this.#join(lock, backend, mode, noWait);
    this.#tidy(lock);
    return outcome;
  }

  /** Gives one hold of a mode back; false if there is none. */
  release(backend: number, tag: string, mode: number): boolean {
    this.granted = [];
    const lock = this.locks.get(tag);
    const times = lock && this.record(lock, backend)?.times;
    const count = times?.get(mode) ?? 0;
    if (lock === undefined || times === undefined || count === 0) return false;
    if (count > 1) times.set(mode, count - 1);
    else {
      times.delete(mode);
      this.wake(lock);
      this.#tidy(lock);
    }
    return true;
  }

  /** Ends a backend's wait without the lock. */
  giveUp(backend: number): void {
    this.granted = [];
    const lock = this.waits.get(backend);
    if (lock === undefined) return;
    lock.queue = lock.queue.filter((waiter) => waiter.backend !== backend);
    this.waits.delete(backend);
    this.wake(lock);
    this.#tidy(lock);
  }

  /** Takes everything from a backend, as its end does. */
  end(backend: number): void {
    this.giveUp(backend);
    for (const lock of [...this.locks.values()]) {
      if (this.record(lock, backend) === undefined) continue;
      lock.records = lock.records.filter((record) => record.backend !== backend);
      this.wake(lock);
      this.#tidy(lock);
    }
  }

  /** Grants what can be granted, from the head of the queue. */
  wake(lock: TwinLock): void {
    const passed: number[] = [];
    for (const { backend, mode } of [...lock.queue]) {
      const blocked = passed.some((other) => conflict(other, mode));
      if (blocked || this.isBlocked(lock, backend, mode)) {
        passed.push(mode);
        continue;
      }
      lock.queue = lock.queue.filter((waiter) => waiter.backend !== backend);
      this.waits.delete(backend);
      this.#grant(lock, backend, mode);
      this.granted.push(backend);
    }
  }

  /** Whether somebody else holds a mode that conflicts. */
  isBlocked(lock: TwinLock, backend: number, mode: number): boolean {
    return lock.records.some(
      (record) => record.backend !== backend && this.holdsConflicting(lock, record.backend, mode),
    );
  }

  /** Whether a backend holds a mode of an object that conflicts with one. */
  holdsConflicting(lock: TwinLock, backend: number, mode: number): boolean {
    const held = this.record(lock, backend)?.times.keys() ?? [];
    return [...held].some((other) => conflict(other, mode));
  }

  record(lock: TwinLock, backend: number): TwinRecord | undefined {
    return lock.records.find((record) => record.backend === backend);
  }

  /** What one backend waits for. */
  waiter(backend: number): TwinStep | undefined {
    const lock = this.waits.get(backend);
    const place = lock?.queue.find((waiter) => waiter.backend === backend);
    return lock === undefined || place === undefined ? undefined : { tag: lock.tag, ...place };
  }

  #lock(tag: string): TwinLock {
    const lock = this.locks.get(tag) ?? { tag, records: [], queue: [] };
    this.locks.set(tag, lock);
    return lock;
  }

  #grant(lock: TwinLock, backend: number, mode: number): TwinOutcome {
    this.record(lock, backend)?.times.set(mode, 1);
    return "granted";
  }

  #join(lock: TwinLock, backend: number, mode: number, noWait: boolean): TwinOutcome {
    const at = lock.queue.findIndex((waiter) => this.holdsConflicting(lock, backend, waiter.mode));
    const waiter = lock.queue[at];
    if (waiter !== undefined) {
      if (this.holdsConflicting(lock, waiter.backend, mode)) {
        this.details = [
          { backend, tag: lock.tag, mode },
          { ...waiter, tag: lock.tag },
        ];
        return "deadlock";
      }
      const behind = lock.queue.slice(0, at).some((ahead) => conflict(ahead.mode, mode));
      if (!behind && !this.isBlocked(lock, backend, mode)) return this.#grant(lock, backend, mode);
    }
    if (noWait) return "not available";
    lock.queue.splice(waiter === undefined ? lock.queue.length : at, 0, { backend, mode });
    this.waits.set(backend, lock);
    return "waiting";
  }

  /** Forgets records of backends that neither hold nor wait, and a lock that nobody wants. */
  #tidy(lock: TwinLock): void {
    lock.records = lock.records.filter(
      ({ backend, times }) =>
        times.size > 0 || lock.queue.some((waiter) => waiter.backend === backend),
    );
    if (lock.records.length === 0) this.locks.delete(lock.tag);
  }
}
