// Local buffers against a model written separately: random histories of pins, changes, flushes and
// drops, with reads and writes that fail, must take the very buffer the model predicts, write and
// evict the same pages, and leave the same uses, on memory and on files. Pages carry the number of
// their last change, so that one that was lost or mixed up shows as well.
//
// A failing history is printed shrunk, with its seed.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { PallocError } from "../../bindings/abi/errors.ts";
import type { BufferId } from "../../bindings/abi/pointers.ts";
import { initPage } from "../../bindings/shared/page.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import { forkOf, type Local, openLocal, pageAt } from "../support/local.ts";
import { seed } from "../support/random.ts";
import { builds } from "../support/region.ts";
import { TwinLocalBuffers, type TwinLocalPin } from "../twin/local-buffers.ts";

const SIZE = 8;
const BLOCKS = 14;
const RUNS = 120;
const LIMIT_MS = 30_000;
const STAMP_OFFSET = 4000;

const directory = mkdtempSync(join(tmpdir(), "palloc-local-"));
afterAll(() => rmSync(directory, { recursive: true }));

const storages: readonly (readonly [name: string, make: () => StorageManager])[] = [
  ["memory", () => memoryStorage({ maxBytes: 4 << 20 })],
  ["files", () => nodeFiles(mkdtempSync(join(directory, "data-")))],
];

/** One step of a history. */
type Step =
  | { readonly kind: "pin" | "zero"; readonly relation: 0 | 1; readonly block: number }
  | { readonly kind: "unpin" | "change"; readonly which: number }
  | { readonly kind: "flush"; readonly relation: 0 | 1 }
  | { readonly kind: "drop"; readonly relation: 0 | 1; readonly block: number }
  | { readonly kind: "break"; readonly reads: boolean; readonly writes: boolean };

const relation = fc.constantFrom(0 as const, 1 as const);
const block = fc.nat(BLOCKS - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: fc.record({ kind: fc.constant("pin" as const), relation, block }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("zero" as const), relation, block }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("unpin" as const), which: fc.nat(9) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("change" as const), which: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("flush" as const), relation }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("drop" as const), relation, block }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("break" as const),
      reads: fc.constantFrom(false, false, true),
      writes: fc.constantFrom(false, false, true),
    }),
  },
);

/** Local buffers and their model, which take the same steps. */
class Pair {
  readonly local: Local;
  /** What pins have come to, over all histories of a test. */
  readonly #outcomes: Set<string>;
  readonly twin = new TwinLocalBuffers(SIZE);
  readonly #relations: readonly [number, number];
  readonly #pinned: number[] = [];
  /** Number of the last change of each page, as a reader must find it; absent is never changed. */
  readonly #newest = new Map<string, number>();
  /** The same as storage has it. */
  readonly #stored = new Map<string, number>();
  #changes = 0;

  constructor(storage: StorageManager, checked: boolean, outcomes: Set<string>) {
    this.#outcomes = outcomes;
    this.local = openLocal({ storage, checked, pages: SIZE, memory: { maxMemory: "2MB" } });
    const { relations, buffers } = this.local;
    this.#relations = [relations.create("a"), relations.create("b")];
    for (const number of this.#relations) buffers.extend(forkOf(number), BLOCKS);
  }

  do(step: Step): void {
    const { fault } = this.local;
    if ("which" in step) this.#useBuffer(step.kind, step.which);
    else if (step.kind === "break")
      Object.assign(fault, { reads: step.reads, writes: step.writes });
    else if (step.kind === "flush") this.#flush(this.#relations[step.relation]);
    else if (step.kind === "drop") this.#drop(this.#relations[step.relation], step.block);
    else this.#pin(step.kind, step.relation, step.block);
    this.#compare();
  }

  /** Everything given back, every page must be found as last changed. */
  finish(): void {
    Object.assign(this.local.fault, { reads: false, writes: false });
    while (this.#pinned.length > 0) this.#useBuffer("unpin", 0);
    for (const relation of [0, 1] as const) {
      for (let block = 0; block < BLOCKS; block += 1) {
        this.#pin("pin", relation, block);
        this.#useBuffer("unpin", 0);
      }
    }
    this.#compare();
    expect(this.local.buffers.pinnedBuffers).toBe(0);
  }

  /** Gives back or changes one of the pinned buffers, if there is any. */
  #useBuffer(kind: "unpin" | "change", which: number): void {
    const at = which % Math.max(1, this.#pinned.length);
    const buffer = this.#pinned[at];
    if (buffer === undefined) return;
    if (kind === "change") {
      this.#change(buffer as BufferId);
      return;
    }
    this.#pinned.splice(at, 1);
    this.local.buffers.unpin(buffer as BufferId);
    this.twin.unpin(buffer);
  }

  #pin(kind: "pin" | "zero", relation: 0 | 1, block: number): void {
    const { buffers, fault, log } = this.local;
    const number = this.#relations[relation];
    const page = pageAt(number, block);
    const fill = kind === "zero" ? "zero" : fault.reads ? "fail" : "read";
    const expected = this.twin.pin(page, fill, fault.writes);
    this.#outcomes.add(expected.outcome);
    log.length = 0;
    const call = kind === "zero" ? "pinZeroed" : "pin";
    const pin = (): number => buffers[call](forkOf(number), block);
    const got = attempt(pin);
    expect(got.code).toBe(codeOf(expected));
    expect(got.value).toBe(expected.buffer);
    expect(log).toEqual(trafficOf(expected, page));
    if (expected.written !== undefined) this.#written(expected.written);
    if (expected.buffer === undefined) return;
    this.#pinned.push(expected.buffer);
    if (expected.outcome === "zeroed") this.#newest.set(page, 0);
    else if (expected.outcome === "read") this.#newest.set(page, this.#stored.get(page) ?? 0);
    const bytes = buffers.bytes(expected.buffer as BufferId);
    expect(stampOf(bytes)).toBe(this.#newest.get(page) ?? 0);
  }

  #change(buffer: BufferId): void {
    const { buffers } = this.local;
    const bytes = buffers.bytes(buffer);
    this.#changes += 1;
    buffers.markDirty(buffer);
    initPage(bytes);
    stampView(bytes).setUint32(STAMP_OFFSET, this.#changes, true);
    this.twin.dirty(buffer);
    this.#newest.set(this.twin.frame(buffer).page ?? "", this.#changes);
  }

  #flush(number: number): void {
    const { buffers, fault, log } = this.local;
    if (fault.writes) return;
    log.length = 0;
    const expected = this.twin.flush((page) => page.startsWith(`${number}/`));
    buffers.flushRelation(forkOf(number));
    expect(log).toEqual(expected.map((page) => `write ${page}`));
    for (const page of expected) this.#written(page);
  }

  #drop(number: number, first: number): void {
    const { buffers } = this.local;
    const done = this.twin.drop((page) => {
      const [relation, block] = page.split("/").map(Number);
      return relation === number && (block ?? 0) >= first;
    });
    const got = attempt(() => buffers.dropRelation(forkOf(number), first));
    expect(got.code).toBe(done ? undefined : "55006");
  }

  #written(page: string): void {
    this.#stored.set(page, this.#newest.get(page) ?? 0);
  }

  #compare(): void {
    const rows = this.local.buffers.rows().map((row) => ({
      buffer: row.buffer as number,
      page: pageAt(row.relation, row.block),
      valid: row.valid,
      dirty: row.dirty,
      usage: row.usage,
      pins: row.pins,
    }));
    const expected = this.twin.frames
      .map((frame, index) => ({ buffer: -1 - index, ...frame }))
      .filter(({ page }) => page !== undefined);
    expect(rows).toEqual(expected);
    const pinned = expected.filter(({ pins }) => pins > 0).length;
    expect(this.local.buffers.pinnedBuffers).toBe(pinned);
  }
}

function attempt<Value>(work: () => Value): { value?: Value; code?: string } {
  try {
    return { value: work() };
  } catch (error) {
    if (error instanceof PallocError) return { code: error.code };
    throw error;
  }
}

const CODES: Readonly<Record<string, string>> = {
  "no buffer": "53000",
  "read failed": "58030",
  "write failed": "58030",
};

function codeOf({ outcome }: TwinLocalPin): string | undefined {
  return CODES[outcome];
}

function trafficOf({ outcome, written, evicted }: TwinLocalPin, page: string): string[] {
  return [
    ...(written === undefined ? [] : [`write ${written}`]),
    ...(evicted ? ["evict"] : []),
    ...(outcome === "hit" ? ["hit"] : []),
    ...(outcome === "read" ? [`read ${page}`] : []),
  ];
}

function stampView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function stampOf(bytes: Uint8Array): number {
  return stampView(bytes).getUint32(STAMP_OFFSET, true);
}

describe.each(builds)("%s build", (_, checked) => {
  it.each(storages)(
    "on %s they take the buffer, write and evict what the model says",
    (_n, make) => {
      const outcomes = new Set<string>();
      fc.assert(
        fc.property(fc.array(step, { maxLength: 120, size: "max" }), (history) => {
          const pair = new Pair(make(), checked, outcomes);
          try {
            for (const each of history) pair.do(each);
            pair.finish();
          } finally {
            pair.local.close();
          }
        }),
        { numRuns: RUNS, seed, interruptAfterTimeLimit: LIMIT_MS },
      );
      const all = ["hit", "no buffer", "read", "read failed", "write failed", "zeroed"];
      expect([...outcomes].sort()).toEqual(all);
    },
    60_000,
  );
});
