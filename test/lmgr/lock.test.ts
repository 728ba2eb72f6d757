// Heavyweight locks, one step at a time: random histories against a small model (who holds what,
// who waits in which order), then one test a mechanism. Several backends on one thread; who has to
// wait only stands in the queue, so that every state can be looked at.

import { describe, expect, it } from "vitest";
import {
  ST_ALREADY_HELD,
  ST_DEADLOCK,
  ST_LOCKS_FULL,
  ST_NOT_AVAILABLE,
  ST_NOT_OWNED,
  ST_OK,
  ST_WAIT,
} from "../../assembly/common/constants.ts";
import { Random, seed } from "../support/random.ts";
import { builds } from "../support/region.ts";
import { type Answer, ModelLock } from "./lock-model.ts";
import { LockRegion } from "./lock-region.ts";

type Tag = readonly [number, number, number, number];

const RELATION_REST = 1 << 24;
const ADVISORY_REST = (2 << 24) | (10 << 16) | 1;
const relation = (number: number): Tag => [1, number, 0, RELATION_REST];
const advisory = (key: number): Tag => [1, key, 0, ADVISORY_REST];

const SESSION = 0;
const TRANSACTION = 1;
const NO_WAIT = 2;
const ANSWERS: Readonly<Record<Answer, number>> = {
  ok: ST_OK,
  held: ST_ALREADY_HELD,
  wait: ST_WAIT,
  no: ST_NOT_AVAILABLE,
  deadlock: ST_DEADLOCK,
};

function take(region: LockRegion, slot: number, tag: Tag, mode: number, flags = 0): number {
  return region.backend(slot).lockAcquire(...tag, mode, flags);
}

function give(region: LockRegion, slot: number, tag: Tag, mode: number, level = SESSION): number {
  return region.backend(slot).lockRelease(...tag, mode, level);
}

function holds(region: LockRegion, slot: number, [, field2]: Tag): number[] {
  const fast = region.entries(slot).filter((entry) => entry.relation === field2 && !entry.moved);
  const modes = [...region.held(slot, field2), ...fast.flatMap((entry) => entry.modes)];
  return [...new Set(modes)].sort();
}

/** One random step in both, and what must agree afterwards. */
function step(region: LockRegion, model: ModelLock, tag: Tag, random: Random): string {
  const slot = random.between(1, 4);
  const backend = region.backend(slot);
  const mode = random.between(1, 8);
  const what = random.below(10);
  if (what < 5 && !model.isWaiting(slot)) {
    const mayWait = random.below(4) !== 0;
    const answer = model.acquire(slot, mode, mayWait);
    const found = take(region, slot, tag, mode, mayWait ? 0 : NO_WAIT);
    expect(found, `slot ${slot} mode ${mode}`).toBe(ANSWERS[answer]);
    return `${slot} takes ${mode}: ${answer}`;
  }
  if (what === 9) {
    model.leave(slot);
    if (random.below(2) === 0) {
      region.kill(slot);
    } else {
      expect(backend.leave()).toBe(ST_OK);
    }
    region.attach(slot);
    return `${slot} leaves`;
  }
  if (model.isWaiting(slot) && what % 2 === 0) {
    model.giveUp(slot);
    expect(backend.lockGiveUp()).toBe(ST_NOT_AVAILABLE);
    return `${slot} gives up`;
  }
  const status = give(region, slot, tag, mode);
  expect(status).toBe(model.release(slot, mode) ? ST_OK : ST_NOT_OWNED);
  return `${slot} gives ${mode}`;
}

function play(region: LockRegion, tag: Tag, random: Random, steps: number): void {
  const model = new ModelLock();
  const history: string[] = [];
  for (let index = 0; index < steps; index += 1) {
    history.push(step(region, model, tag, random));
    const text = history.join(", ");
    expect(region.queue(tag[1]), text).toEqual(model.queue);
    for (let slot = 1; slot <= 4; slot += 1) {
      expect(holds(region, slot, tag), `${text}: slot ${slot}`).toEqual(model.modesOf(slot));
    }
    for (const slot of model.granted.splice(0))
      expect(region.backend(slot).lockCheck()).toBe(ST_OK);
  }
  for (let slot = 1; slot <= 4; slot += 1) region.kill(slot);
  expect(region.leftovers(), history.join(", ")).toEqual([]);
}

describe.each(builds)("heavyweight locks, %s build", (_, checked) => {
  const region = (backends = 4): LockRegion => new LockRegion({ checked, backends });

  it.each([
    ["an advisory lock", advisory(7)],
    ["a relation", relation(9)],
  ])("random histories on %s are those of the model", (_name, tag) => {
    for (let round = 0; round < 20; round += 1) play(region(), tag, new Random(seed + round), 60);
  });

  it("a stream of readers does not starve a writer", () => {
    const r = region();
    take(r, 1, advisory(1), 5);
    expect(take(r, 2, advisory(1), 7)).toBe(ST_WAIT);
    expect(take(r, 3, advisory(1), 5)).toBe(ST_WAIT);
    give(r, 1, advisory(1), 5);
    expect(r.queue(1)).toEqual([{ slot: 3, mode: 5 }]);
    expect(r.held(2, 1)).toEqual([7]);
  });

  it("a holder who asks for more stands before the first whom he blocks", () => {
    const r = region();
    take(r, 1, advisory(1), 1);
    take(r, 2, advisory(1), 2);
    expect(take(r, 3, advisory(1), 8)).toBe(ST_WAIT);
    expect(take(r, 1, advisory(1), 7)).toBe(ST_WAIT);
    expect(r.queue(1)).toEqual([
      { slot: 1, mode: 7 },
      { slot: 3, mode: 8 },
    ]);
  });

  it("places before one waiter never run out, and the order stays", () => {
    const r = new LockRegion({ checked, backends: 40 });
    take(r, 40, advisory(1), 6);
    for (let slot = 1; slot <= 30; slot += 1) take(r, slot, advisory(1), 1);
    expect(take(r, 39, advisory(1), 8)).toBe(ST_WAIT);
    for (let slot = 1; slot <= 30; slot += 1) {
      expect(take(r, slot, advisory(1), 4)).toBe(ST_WAIT);
    }
    const order = [...Array.from({ length: 30 }, (_v, index) => index + 1), 39];
    expect(r.queue(1).map(({ slot }) => slot)).toEqual(order);
  });

  it("an upgrade of two holders is a deadlock, told at once with both edges", () => {
    const r = region();
    take(r, 1, advisory(1), 5);
    take(r, 2, advisory(1), 5);
    expect(take(r, 1, advisory(1), 7)).toBe(ST_WAIT);
    expect(take(r, 2, advisory(1), 7)).toBe(ST_DEADLOCK);
    const at = (r.backend(2).scratchAddress() >>> 0) / 4;
    const edges = [...new Uint32Array(r.memory.buffer).subarray(at, at + 16)];
    expect(edges).toEqual([2, 7, 1, 0, ...advisory(1), 1, 7, 2, 0, ...advisory(1)]);
    expect(r.queue(1)).toEqual([{ slot: 1, mode: 7 }]);
  });

  it("own locks never conflict, and a waiter who holds the mode released is woken", () => {
    const r = region();
    take(r, 1, advisory(1), 5);
    expect(take(r, 1, advisory(1), 5, TRANSACTION)).toBe(ST_ALREADY_HELD);
    expect(take(r, 1, advisory(1), 8)).toBe(ST_OK);
    give(r, 1, advisory(1), 8);
    take(r, 2, advisory(1), 5);
    expect(take(r, 1, advisory(1), 7)).toBe(ST_WAIT);
    give(r, 2, advisory(1), 5);
    expect(r.backend(1).lockCheck()).toBe(ST_OK);
  });

  it("who gives up lets those behind him pass", () => {
    const r = region();
    take(r, 1, advisory(1), 5);
    take(r, 2, advisory(1), 7);
    take(r, 3, advisory(1), 5);
    expect(r.backend(2).lockGiveUp()).toBe(ST_NOT_AVAILABLE);
    expect(r.held(3, 1)).toEqual([5]);
    expect(r.queue(1)).toEqual([]);
  });

  it("a lock granted while its waiter gives up is held, once", () => {
    const r = region();
    take(r, 1, advisory(1), 7);
    take(r, 2, advisory(1), 7);
    give(r, 1, advisory(1), 7);
    expect(r.backend(2).lockGiveUp()).toBe(ST_OK);
    expect(give(r, 2, advisory(1), 7)).toBe(ST_OK);
    expect(r.leftovers()).toEqual([]);
  });

  it("session and transaction are counted apart, and each gives back its own", () => {
    const r = region();
    take(r, 1, advisory(1), 7, TRANSACTION);
    expect(give(r, 1, advisory(1), 7, SESSION)).toBe(ST_NOT_OWNED);
    take(r, 1, advisory(1), 7, SESSION);
    take(r, 1, relation(5), 1, SESSION);
    take(r, 1, relation(5), 1, TRANSACTION);
    r.backend(1).lockReleaseAll(1 << TRANSACTION, 0);
    expect(r.held(1, 1)).toEqual([7]);
    expect(holds(r, 1, relation(5))).toEqual([1]);
    r.backend(1).lockReleaseAll(1 << SESSION, 2);
    expect(r.held(1, 1)).toEqual([]);
    expect(holds(r, 1, relation(5))).toEqual([1]);
    r.backend(1).lockReleaseAll(3, 0);
    expect(r.leftovers()).toEqual([]);
  });

  it("a full table refuses one more lock, and nothing is stuck", () => {
    const r = new LockRegion({ checked, backends: 2 });
    for (let key = 0; key < 30; key += 1) expect(take(r, 1, advisory(key), 7)).toBe(ST_OK);
    expect(take(r, 2, advisory(100), 7)).toBe(ST_LOCKS_FULL);
    expect(take(r, 2, advisory(0), 7)).toBe(ST_LOCKS_FULL);
    expect(take(r, 2, relation(1), 8)).toBe(ST_LOCKS_FULL);
    expect(take(r, 2, relation(1), 1)).toBe(ST_OK);
    give(r, 1, advisory(3), 7);
    expect(take(r, 2, relation(2), 1)).toBe(ST_OK);
    expect(take(r, 1, relation(2), 8, NO_WAIT)).toBe(ST_LOCKS_FULL);
    expect(r.strongFlags()).toBe(0);
    for (const slot of [1, 2]) r.backend(slot).lockReleaseAll(3, 0);
    expect(r.leftovers()).toEqual([]);
  });
});

describe.each(builds)("the fast path, %s build", (_, checked) => {
  const region = (): LockRegion => new LockRegion({ checked, backends: 3 });

  it("weak locks on relations are beside the table, up to sixteen of a group", () => {
    const r = region();
    for (let number = 1; number <= 17; number += 1) take(r, 1, relation(number), 1);
    expect(r.entries(1)).toHaveLength(16);
    expect(r.records()).toHaveLength(1);
    take(r, 2, relation(1), 4);
    take(r, 2, [0, 1, 0, RELATION_REST], 1);
    expect(r.entries(2)).toEqual([]);
  });

  it("a strong lock moves everybody's entries to the table, with their counts", () => {
    const r = region();
    take(r, 1, relation(4), 1);
    take(r, 1, relation(4), 1);
    take(r, 1, relation(4), 3, TRANSACTION);
    expect(take(r, 2, relation(4), 8)).toBe(ST_WAIT);
    expect(r.entries(1)).toEqual([{ relation: 4, modes: [1, 3], moved: true }]);
    expect(r.held(1, 4)).toEqual([1, 3]);
    expect(give(r, 1, relation(4), 1)).toBe(ST_OK);
    expect(give(r, 1, relation(4), 1)).toBe(ST_OK);
    expect(r.entries(1)).toEqual([]);
    expect(give(r, 1, relation(4), 1)).toBe(ST_NOT_OWNED);
    expect(give(r, 1, relation(4), 3, TRANSACTION)).toBe(ST_OK);
    expect(r.backend(2).lockCheck()).toBe(ST_OK);
    give(r, 2, relation(4), 8);
    expect(r.leftovers()).toEqual([]);
  });

  it("a transaction's end finds what was moved", () => {
    const r = region();
    take(r, 1, relation(4), 1, TRANSACTION);
    take(r, 2, relation(4), 8);
    r.backend(1).lockReleaseAll(1 << TRANSACTION, 0);
    expect(r.backend(2).lockCheck()).toBe(ST_OK);
    expect(r.entries(1)).toEqual([]);
  });

  it("is closed while anybody holds or wants a strong lock, and no longer", () => {
    const r = region();
    take(r, 1, relation(4), 5);
    expect(take(r, 2, relation(4), 1)).toBe(ST_OK);
    expect(take(r, 2, relation(4), 3, NO_WAIT)).toBe(ST_NOT_AVAILABLE);
    expect(r.entries(2)).toEqual([]);
    give(r, 1, relation(4), 5);
    expect(r.strongFlags()).toBe(0);
    take(r, 3, relation(4), 1);
    expect(r.entries(3)).toHaveLength(1);
  });

  it("a backend that dies gives back its fast path, its records and its place in a queue", () => {
    const r = region();
    take(r, 1, relation(4), 1);
    take(r, 1, advisory(1), 7);
    take(r, 2, advisory(1), 7);
    take(r, 3, advisory(1), 7);
    r.kill(2);
    expect(r.queue(1)).toEqual([{ slot: 3, mode: 7 }]);
    r.kill(1);
    expect(r.backend(3).lockCheck()).toBe(ST_OK);
    expect(take(r, 3, relation(4), 8)).toBe(ST_OK);
    r.kill(3);
    expect(r.leftovers()).toEqual([]);
  });
});
