/**
 * Row 4: the life of a small context, driven from JavaScript through the public API, against
 * PostgreSQL's C where it was measured; shown beside it is the twin.
 */

import { ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES } from "../assembly/common/constants.ts";
import { ProcessMemory } from "../bindings/index.ts";
import { TwinMemory } from "../test/twin/aset.ts";
import type { Contender, Row } from "./harness.ts";
import { postgresPeer } from "./postgres-peer.ts";

const MEMORY_BYTES = 64 * 1024 * 1024;
const CONTEXTS_PER_RUN = 1000;
const REQUEST_BYTES = 100;

function pallocLife(): Contender {
  const memory = ProcessMemory.createSync({ maxMemory: MEMORY_BYTES });
  return {
    name: "palloc",
    role: "ours",
    operations: CONTEXTS_PER_RUN,
    run() {
      let sum = 0;
      for (let index = 0; index < CONTEXTS_PER_RUN; index += 1) {
        const request = memory.top.createChild("request");
        sum += request.alloc(REQUEST_BYTES);
        request.delete();
      }
      return sum;
    },
    check() {
      const before = memory.top.memAllocated(true);
      const request = memory.top.createChild("request");
      request.alloc(REQUEST_BYTES);
      request.delete();
      if (!request.closed) throw new Error("a deleted context is open");
      if (memory.top.memAllocated(true) !== before) throw new Error("a context was not deleted");
    },
    dispose: () => memory.dispose(),
  };
}

function twinLife(): Contender {
  const twin = new TwinMemory(MEMORY_BYTES);
  const top = twin.createContext(0, 0, ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES);
  return {
    name: "twin",
    role: "peer",
    operations: CONTEXTS_PER_RUN,
    run() {
      let sum = 0;
      for (let index = 0; index < CONTEXTS_PER_RUN; index += 1) {
        const below = twin.createContext(top, 0, ASET_DEFAULT_INIT_BYTES, ASET_DEFAULT_MAX_BYTES);
        sum += twin.alloc(below, REQUEST_BYTES);
        twin.deleteContext(below);
      }
      return sum;
    },
    check() {
      if (twin.children(top).length !== 0) throw new Error("a context was not deleted");
    },
  };
}

/** Row 4 of the design. */
export const contextRows: readonly Row[] = [
  {
    id: "4.context-life",
    name: "create context, palloc 100 B, delete, from JavaScript",
    unit: "ns a context",
    targets: { PostgreSQL: 1.0 },
    contenders: async () => [pallocLife(), twinLife(), ...postgresPeer("context-life")],
  },
];
