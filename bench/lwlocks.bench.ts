/**
 * Row 11, its half of short locks: taking an LWLock that is free, and giving it back, against
 * PostgreSQL's C measured inside its server. Driven inside wasm, as a module does that has the lock
 * compiled in, and from JavaScript through the public API. Sixteen backends' bytes are looked at by
 * an exclusive taker, as with the default max_connections.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { LIFE_ACTIVE, LIFE_FREE } from "../assembly/common/constants.ts";
import { instantiate } from "../bindings/abi/load.ts";
import type { SharedExports } from "../bindings/abi/shared-exports.ts";
import { type WasmMemory, wasm } from "../bindings/abi/wasm-types.ts";
import { Backend, type LightweightLockMode, SharedMemory } from "../bindings/index.ts";
import { planRegion, regionPages } from "../bindings/shared/region-plan.ts";
import { memoryStorage } from "../bindings/storage/memory.ts";
import type { Contender, Row } from "./harness.ts";
import { packageRoot } from "./machine.ts";
import { postgresPeer } from "./postgres-peer.ts";

const PAIRS = 10_000;
const BACKENDS = 19;
const BUFFERS = 16;

interface LockDriver extends SharedExports {
  lwlockPairs(lock: number, times: number): number;
  lwlockSharedPairs(lock: number, times: number): number;
}

/** A region with one lock, and a module that drives it. */
function openDriver(): LockDriver {
  const bytes = readFileSync(join(packageRoot(), "dist/wasm/shared-bench.wasm"));
  const module = new wasm.Module(bytes);
  const start = (memory: WasmMemory): LockDriver => instantiate<LockDriver>(module, memory);
  const plan = { buffers: BUFFERS, slots: BACKENDS, lwlocks: 1 };
  const pages = regionPages(module, plan);
  const memory = new wasm.Memory({ initial: pages, maximum: pages, shared: true });
  const exports = start(memory);
  planRegion(exports, plan);
  exports.createRegion(memory.buffer.byteLength, 0);
  exports.advanceSlot(1, LIFE_FREE, LIFE_ACTIVE);
  exports.enter(1, 1);
  exports.publishRegion();
  return exports;
}

function inWasm(mode: LightweightLockMode): Contender {
  const driver = openDriver();
  const pairs = mode === "shared" ? driver.lwlockSharedPairs : driver.lwlockPairs;
  return {
    name: "palloc",
    role: "ours",
    operations: PAIRS,
    run: () => pairs(0, PAIRS),
    check() {
      if (pairs(0, PAIRS) !== PAIRS) throw new Error("a lock was not taken or not given back");
      if (driver.lwlockMode(0) !== 0) throw new Error("the lock is held");
    },
  };
}

async function fromJavaScript(): Promise<Contender> {
  const shared = await SharedMemory.create({
    settings: { shared_buffers: "128kB" },
    storage: memoryStorage(),
    locks: { bench: {} },
  });
  const backend = Backend.attachSync(shared.handle);
  const lock = backend.lwlock("bench");
  return {
    name: "palloc",
    role: "ours",
    operations: PAIRS,
    run() {
      let held = 0;
      for (let turn = 0; turn < PAIRS; turn += 1) {
        const scope = lock.acquireSync();
        held += scope.isHeld ? 1 : 0;
        scope[Symbol.dispose]();
      }
      return held;
    },
    check() {
      const scope = lock.acquireSync();
      if (!scope.isHeld || lock.heldAs !== "exclusive") throw new Error("the lock is not held");
      scope[Symbol.dispose]();
      if (lock.heldAs !== undefined) throw new Error("the lock was not given back");
    },
    async dispose() {
      backend.detach();
      await shared.close();
    },
  };
}

/** The LWLock half of row 11 of the design. */
export const lwlockRows: readonly Row[] = [
  {
    id: "11.lwlock-in-wasm",
    name: "LWLock, exclusive: acquire and release, driven inside wasm",
    unit: "ns a pair",
    targets: { PostgreSQL: 1.0 },
    contenders: async () => [inWasm("exclusive"), ...postgresPeer("lwlock")],
  },
  {
    id: "11.lwlock-shared-in-wasm",
    name: "LWLock, shared: acquire and release, driven inside wasm",
    unit: "ns a pair",
    targets: { PostgreSQL: 1.0 },
    contenders: async () => [inWasm("shared"), ...postgresPeer("lwlock-shared")],
  },
  {
    id: "11.lwlock-from-js",
    name: "LWLock, exclusive: acquire and release, from JavaScript",
    unit: "ns a pair",
    targets: { PostgreSQL: 1.5 },
    contenders: async () => [await fromJavaScript(), ...postgresPeer("lwlock")],
  },
];
