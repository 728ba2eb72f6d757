// The simulation build can be stopped at any step of a call, others can run, and the call goes on
// to the same end. The harness that tries every order of steps stands on this.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  LIFE_ACTIVE,
  LIFE_CLAIMED,
  LIFE_FREE,
  NEED_READ,
  ST_MISS,
} from "../../assembly/common/constants.ts";
import { instantiate } from "../../bindings/abi/load.ts";
import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import { type WasmMemory, wasm } from "../../bindings/abi/wasm-types.ts";
import { planRegion } from "../../bindings/shared/region-plan.ts";

/** What the Asyncify pass adds. */
interface Asyncify {
  asyncify_get_state(): number;
  asyncify_start_unwind(data: number): void;
  asyncify_stop_unwind(): void;
  asyncify_start_rewind(data: number): void;
  asyncify_stop_rewind(): void;
}

const NORMAL = 0;
const STACK_BYTES = 4096;
const FILE = 16384 << 2;
const BUFFERS = 16;
const BACKENDS = 3;

const module = new wasm.Module(
  readFileSync(new URL("../../dist/wasm/shared-simulation.wasm", import.meta.url)),
);

/** A backend whose calls stop before every shared step. */
class Fiber {
  readonly exports: SharedExports & Asyncify;
  steps = 0;
  /** Stop at steps; otherwise run through. */
  stepping = false;
  readonly #memory: WasmMemory;
  readonly #stack: number;

  constructor(memory: WasmMemory, stack: number) {
    this.#memory = memory;
    this.#stack = stack;
    const nothing = (): undefined => undefined;
    const host = { step: () => this.#step(), blocked: nothing, woken: nothing };
    this.exports = instantiate<SharedExports & Asyncify>(module, memory, host);
  }

  /** Runs a call step by step; yields before each, returns its result. */
  *run(call: () => number): Generator<number, number> {
    this.stepping = true;
    new Uint32Array(this.#memory.buffer, this.#stack, 2).set([
      this.#stack + 8,
      this.#stack + STACK_BYTES,
    ]);
    let result = call();
    while (this.exports.asyncify_get_state() !== NORMAL) {
      this.exports.asyncify_stop_unwind();
      yield this.steps;
      this.exports.asyncify_start_rewind(this.#stack);
      result = call();
    }
    this.stepping = false;
    return result;
  }

  #step(): undefined {
    if (!this.stepping) return undefined;
    if (this.exports.asyncify_get_state() !== NORMAL) {
      this.exports.asyncify_stop_rewind();
      return undefined;
    }
    this.steps += 1;
    this.exports.asyncify_start_unwind(this.#stack);
    return undefined;
  }
}

function region(): readonly [owner: Fiber, one: Fiber, two: Fiber] {
  const stacks = BACKENDS * STACK_BYTES;
  const plan = { buffers: BUFFERS, slots: BACKENDS };
  const probe = new wasm.Memory({ initial: 1, maximum: 1, shared: true });
  const sizing = new Fiber(probe, 0).exports;
  planRegion(sizing, plan);
  const pages = sizing.regionPages(stacks);
  const memory = new wasm.Memory({ initial: pages, maximum: pages, shared: true });
  const end = memory.buffer.byteLength;
  const make = (slot: number): Fiber => new Fiber(memory, end - (slot + 1) * STACK_BYTES);
  const fibers = [make(0), make(1), make(2)] as const;
  const owner = fibers[0].exports;
  planRegion(owner, plan);
  owner.createRegion(end, 0);
  owner.advanceSlot(0, LIFE_FREE, LIFE_ACTIVE);
  owner.enter(0, 0);
  for (const slot of [1, 2] as const) {
    fibers[slot].exports.claimSlot(slot);
    fibers[slot].exports.advanceSlot(slot, LIFE_CLAIMED, LIFE_ACTIVE);
    fibers[slot].exports.enter(slot, 0);
  }
  owner.publishRegion();
  return fibers;
}

/** Runs a call to its end, whatever the number of its steps. */
function finish(fiber: Fiber, call: () => number): number {
  const run = fiber.run(call);
  for (;;) {
    const { done, value } = run.next();
    if (done) return value;
  }
}

describe("the simulation build", () => {
  it("a call stopped before each of its steps ends as one that runs through", () => {
    const [, one, two] = region();
    const frame = finish(one, () => one.exports.victim(0));
    expect(frame).toBe(0);
    expect(finish(one, () => one.exports.install(frame, FILE, 7, 0))).toBe(frame | NEED_READ);
    one.exports.finishRead(frame, 1);
    expect(finish(two, () => two.exports.pin(FILE, 7))).toBe(frame);
    expect(one.steps).toBeGreaterThan(10);
    expect(two.steps).toBeGreaterThan(4);
    expect([one.exports.unpin(frame), two.exports.unpin(frame)]).toEqual([0, 0]);
  });

  it("a page dropped before any one step of a pin is either pinned or gone, never both", () => {
    const seen = new Set<string>();
    for (let stopAt = 1; !seen.has("ran through"); stopAt += 1) {
      const [, one, two] = region();
      const frame = one.exports.victim(0);
      one.exports.install(frame, FILE, 7, 0);
      one.exports.finishRead(frame, 1);
      one.exports.unpin(frame);
      const pin = two.run(() => two.exports.pin(FILE, 7));
      let state = pin.next();
      for (let step = 1; step < stopAt && !state.done; step += 1) state = pin.next();
      if (state.done) seen.add("ran through");
      const dropped = one.exports.dropPages(FILE, 0, 0xffffffff) === 0;
      while (!state.done) state = pin.next();
      expect(state.value).toBe(dropped ? ST_MISS : frame);
      seen.add(dropped ? "dropped" : "kept");
    }
    expect(seen).toEqual(new Set(["dropped", "kept", "ran through"]));
  });
});
