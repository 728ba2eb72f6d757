/**
 * Rows about memory contexts: palloc driven from JavaScript through the public API, against the
 * same algorithm in plain TypeScript (the twin), AssemblyScript's TLSF, and @thi.ng/malloc.
 *
 * Every contender is written out: a loop that two of them shared would share what the engine learns
 * at its calls (harness.ts).
 */

import { MemPool } from "@thi.ng/malloc/pool";
import { ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES } from "../assembly/common/constants.ts";
import { ProcessMemory } from "../bindings/index.ts";
import { TwinMemory } from "../test/twin/aset.ts";
import { checkReuse } from "./allocators.ts";
import type { Contender, Row } from "./harness.ts";
import { instantiateTlsf } from "./tlsf.ts";
import { PAIRS_PER_RUN, RECORD_BYTES, RECORDS_PER_RESET } from "./workloads.ts";

/** Room for a few times what any row holds at once. */
const POOL_BYTES = 4 * 1024 * 1024;
const MEMORY_BYTES = 64 * 1024 * 1024;

/** A memory of the twin with one context below its top, as ours has. */
function openTwin(): { twin: TwinMemory; set: number } {
  const twin = new TwinMemory(MEMORY_BYTES);
  const top = twin.createContext(0, 0, ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES);
  const set = twin.createContext(top, 0, ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES);
  return { twin, set };
}

function pallocPairs(): Contender {
  const memory = ProcessMemory.createSync({ maxMemory: MEMORY_BYTES });
  const context = memory.top.createChild("records");
  return {
    name: "palloc",
    role: "ours",
    operations: PAIRS_PER_RUN,
    run() {
      let sum = 0;
      for (let pair = 0; pair < PAIRS_PER_RUN; pair += 1) {
        const chunk = context.alloc(RECORD_BYTES);
        sum += chunk;
        memory.free(chunk);
      }
      return sum;
    },
    check() {
      checkReuse(
        RECORDS_PER_RESET,
        () => context.alloc(RECORD_BYTES),
        (chunks) => {
          for (const chunk of chunks) memory.free(chunk);
        },
      );
    },
    dispose: () => memory.dispose(),
  };
}

function twinPairs(): Contender {
  const { twin, set } = openTwin();
  return {
    name: "twin",
    role: "peer",
    operations: PAIRS_PER_RUN,
    run() {
      let checksum = 0;
      for (let count = 0; count < PAIRS_PER_RUN; count += 1) {
        const at = twin.alloc(set, RECORD_BYTES);
        checksum += at;
        twin.free(at);
      }
      return checksum;
    },
    check() {
      checkReuse(
        RECORDS_PER_RESET,
        () => twin.alloc(set, RECORD_BYTES),
        (all) => {
          if (all.some((at) => twin.free(at) !== 0)) throw new Error("a chunk was not freed");
        },
      );
    },
  };
}

async function tlsfPairs(): Promise<Contender> {
  const tlsf = await instantiateTlsf();
  return {
    name: "TLSF",
    role: "peer",
    operations: PAIRS_PER_RUN,
    run() {
      let addresses = 0;
      for (let index = 0; index < PAIRS_PER_RUN; index += 1) {
        const address = tlsf.alloc(RECORD_BYTES);
        addresses += address;
        tlsf.free(address);
      }
      return addresses;
    },
    check() {
      checkReuse(
        RECORDS_PER_RESET,
        () => tlsf.alloc(RECORD_BYTES),
        (addresses) => {
          for (const address of addresses) tlsf.free(address);
        },
      );
    },
  };
}

function thingPairs(): Contender {
  const pool = new MemPool({ size: POOL_BYTES });
  return {
    name: "thi.ng",
    role: "peer",
    operations: PAIRS_PER_RUN,
    run() {
      let total = 0;
      for (let turn = 0; turn < PAIRS_PER_RUN; turn += 1) {
        const block = pool.malloc(RECORD_BYTES);
        total += block;
        pool.free(block);
      }
      return total;
    },
    check() {
      checkReuse(
        RECORDS_PER_RESET,
        () => pool.malloc(RECORD_BYTES),
        (blocks) => {
          if (!blocks.every((block) => pool.free(block))) throw new Error("a block was not freed");
        },
      );
    },
  };
}

function pallocReset(): Contender {
  const memory = ProcessMemory.createSync({ maxMemory: MEMORY_BYTES });
  const context = memory.top.createChild("request");
  return {
    name: "palloc",
    role: "ours",
    operations: RECORDS_PER_RESET,
    run() {
      let sum = 0;
      for (let record = 0; record < RECORDS_PER_RESET; record += 1) {
        sum += context.alloc(RECORD_BYTES);
      }
      context.reset();
      return sum;
    },
    check() {
      checkReuse(
        RECORDS_PER_RESET,
        () => context.alloc(RECORD_BYTES),
        () => context.reset(),
      );
    },
    dispose: () => memory.dispose(),
  };
}

function twinReset(): Contender {
  const { twin, set } = openTwin();
  return {
    name: "twin",
    role: "peer",
    operations: RECORDS_PER_RESET,
    run() {
      let checksum = 0;
      for (let count = 0; count < RECORDS_PER_RESET; count += 1) {
        checksum += twin.alloc(set, RECORD_BYTES);
      }
      twin.reset(set);
      return checksum;
    },
    check() {
      checkReuse(
        RECORDS_PER_RESET,
        () => twin.alloc(set, RECORD_BYTES),
        () => twin.reset(set),
      );
    },
  };
}

async function tlsfReset(): Promise<Contender> {
  const tlsf = await instantiateTlsf();
  const held = new Int32Array(RECORDS_PER_RESET);
  return {
    name: "TLSF",
    role: "peer",
    operations: RECORDS_PER_RESET,
    run() {
      let addresses = 0;
      for (let index = 0; index < held.length; index += 1) {
        const address = tlsf.alloc(RECORD_BYTES);
        held[index] = address;
        addresses += address;
      }
      for (let index = 0; index < held.length; index += 1) tlsf.free(held[index] ?? 0);
      return addresses;
    },
    check() {
      checkReuse(
        RECORDS_PER_RESET,
        () => tlsf.alloc(RECORD_BYTES),
        (addresses) => {
          for (const address of addresses) tlsf.free(address);
        },
      );
    },
  };
}

function thingReset(): Contender {
  const pool = new MemPool({ size: POOL_BYTES });
  return {
    name: "thi.ng",
    role: "peer",
    operations: RECORDS_PER_RESET,
    run() {
      let total = 0;
      for (let turn = 0; turn < RECORDS_PER_RESET; turn += 1) total += pool.malloc(RECORD_BYTES);
      pool.freeAll();
      return total;
    },
    check() {
      checkReuse(
        RECORDS_PER_RESET,
        () => pool.malloc(RECORD_BYTES),
        () => pool.freeAll(),
      );
    },
  };
}

/** Rows 1 and 2 of the design. */
export const mmgrRows: readonly Row[] = [
  {
    id: "1.palloc-free-64",
    name: "palloc 64 B + pfree, from JavaScript",
    unit: "ns a pair",
    targets: { twin: 1.3, TLSF: 0.3, "thi.ng": 0.5 },
    contenders: async () => [pallocPairs(), twinPairs(), await tlsfPairs(), thingPairs()],
  },
  {
    id: "2.palloc-1000-reset",
    name: "1,000 × palloc 64 B + reset, from JavaScript (TLSF: 1,000 frees; thi.ng: freeAll)",
    unit: "ns an allocation",
    targets: { twin: 1.0, TLSF: 0.25, "thi.ng": 1.0 },
    contenders: async () => [pallocReset(), twinReset(), await tlsfReset(), thingReset()],
  },
];
