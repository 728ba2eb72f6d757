// What has to be synced is synced, whoever else changes or syncs at whatever moment, and whoever
// ends. A relation is a flag here, which a change sets and a sync clears.

import { describe, expect, test } from "vitest";
import { prepareUnsynced, UNSYNCED_BYTES, Unsynced } from "../../bindings/storage/unsynced.ts";
import { dieAt, everywhere, stopAt } from "./atomics.ts";

const RELATION = 16384;

/** A table with a relation that is not durable, as two threads have it. */
class Subject {
  readonly one: Unsynced;
  readonly two: Unsynced;
  isDurable = false;
  syncs = 0;

  constructor() {
    const words = new Int32Array(new SharedArrayBuffer(UNSYNCED_BYTES));
    prepareUnsynced(words);
    this.one = new Unsynced(words);
    this.two = new Unsynced(words);
  }

  readonly work = (): void => {
    this.isDurable = false;
  };

  readonly make = (): void => {
    this.isDurable = true;
    this.syncs += 1;
  };

  change(thread: Unsynced = this.one): void {
    thread.change(RELATION, this.work);
  }

  sync(thread: Unsynced = this.two): void {
    thread.sync(RELATION, this.make);
  }
}

test("a relation is synced when it was changed, by whatever thread, and else not", () => {
  const subject = new Subject();
  const syncsAfter: number[] = [];
  for (const step of ["sync", "sync", "change", "change", "sync", "sync"] as const) {
    subject[step]();
    syncsAfter.push(subject.syncs);
  }
  expect(syncsAfter).toEqual([1, 1, 1, 1, 2, 2]);
  subject.change(subject.two);
  subject.sync(subject.one);
  expect(subject.syncs).toBe(3);
});

test("a relation whose place another one has is synced each time", () => {
  const subject = new Subject();
  subject.one.change(RELATION + 4096, () => {});
  for (let turn = 0; turn < 3; turn += 1) subject.sync();
  expect(subject.syncs).toBe(3);
});

test("a sync, or a change, that fails leaves something to be synced", () => {
  const subject = new Subject();
  const fails = (): never => {
    throw new Error("Input/output error");
  };
  expect(() => subject.one.sync(RELATION, fails)).toThrow("Input/output error");
  subject.sync();
  expect(() => subject.one.change(RELATION, fails)).toThrow("Input/output error");
  subject.sync();
  expect(subject.syncs).toBe(2);
});

describe.each([
  ["never synced", () => new Subject()],
  ["clean", cleanSubject],
] as const)("of a relation that was %s nothing is lost", (_state, make) => {
  test("whenever another thread syncs while it is changed", () => {
    everywhere((operation) => {
      const subject = make();
      const got = stopAt(
        operation,
        () => subject.sync(),
        () => subject.change(),
      );
      subject.sync();
      expect(subject.isDurable).toBe(true);
      return got;
    });
  });

  test("when another thread syncs in the middle of a change", () => {
    const subject = make();
    subject.one.change(RELATION, () => {
      subject.sync();
      subject.work();
    });
    subject.sync();
    expect(subject.isDurable).toBe(true);
  });

  test("whenever another thread changes, or syncs, while it is synced", () => {
    for (const other of ["change", "sync"] as const) {
      everywhere((operation) => {
        const subject = make();
        const got = stopAt(
          operation,
          () => subject[other](subject.one),
          () => subject.sync(),
        );
        subject.sync();
        expect(subject.isDurable).toBe(true);
        return got;
      });
    }
  });

  test("when another thread changes in the middle of a sync", () => {
    const subject = make();
    subject.change();
    subject.two.sync(RELATION, () => {
      subject.make();
      subject.change();
    });
    subject.sync();
    expect(subject.isDurable).toBe(true);
  });

  test("wherever the thread that changes ends, before and after another one syncs", () => {
    for (const syncsBetween of [false, true]) {
      everywhere((operation) => {
        const subject = make();
        const work = (): void => {
          if (syncsBetween) subject.sync();
          subject.work();
        };
        const died = dieAt(operation, () => subject.one.change(RELATION, work));
        subject.sync();
        expect(subject.isDurable).toBe(true);
        return died;
      });
    }
  });
});

function cleanSubject(): Subject {
  const subject = new Subject();
  subject.sync();
  return subject;
}
