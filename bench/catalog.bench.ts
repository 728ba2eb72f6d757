/**
 * Row about the catalog cache: finding a row that is there and giving it back, from JavaScript,
 * against PostgreSQL's own C, measured inside its server (11).
 *
 * PostgreSQL calls SearchSysCache1 and ReleaseSysCache on one key of one integer. Ours asks for the
 * value, which needs no release because the engine collects it; beside it references that are
 * released, and shared entries that are held: what a backend's own entries save.
 */

import { Backend, type Catalog, SharedMemory } from "../bindings/index.ts";
import { memoryStorage } from "../bindings/storage/memory.ts";
import type { Contender, Row } from "./harness.ts";
import { postgresPeer } from "./postgres-peer.ts";

const HITS = 1000;
const KEY = 23;
const ROWS = 200;

/** A catalog of some rows, all read, and how to end its region. */
async function openCatalog(): Promise<Opened> {
  const settings = { shared_buffers: 16 };
  const shared = await SharedMemory.create({ settings, storage: memoryStorage() });
  const backend = await Backend.attach(shared.handle);
  const catalog = backend.catalog.register("types", {
    keys: ["number"],
    loadSync: (key) => Uint8Array.of(Number(key)),
    decode: ([first = 0]) => first,
  });
  for (let key = 0; key < ROWS; key += 1) catalog.findSync(key)?.release();
  const close = async (): Promise<void> => {
    backend.detach();
    await shared.close();
  };
  return { catalog, close };
}

interface Opened {
  readonly catalog: Catalog<number>;
  close(): Promise<void>;
}

/** The value, which stays as it is: nothing has to be given back. */
function byValue({ catalog, close }: Opened): Contender {
  return {
    name: "palloc",
    role: "ours",
    operations: HITS,
    run() {
      let sum = 0;
      for (let hit = 0; hit < HITS; hit += 1) sum += catalog.valueSync(KEY) ?? 0;
      return sum;
    },
    check() {
      for (const key of [KEY, KEY + 1, KEY]) {
        if (catalog.valueSync(key) !== key) throw new Error("another row was found");
      }
    },
    dispose: close,
  };
}

/** A reference that is given back. */
function byReference({ catalog }: Opened): Contender {
  return {
    name: "palloc, references",
    role: "also",
    operations: HITS,
    run() {
      let sum = 0;
      for (let hit = 0; hit < HITS; hit += 1) {
        const reference = catalog.findSync(KEY);
        sum += reference?.value ?? 0;
        reference?.release();
      }
      return sum;
    },
    check() {
      using reference = catalog.findSync(KEY);
      if (reference?.value !== KEY) throw new Error("another row was found");
    },
  };
}

/** A shared entry, held and given back: two calls into wasm. */
function byNumber({ catalog }: Opened): Contender {
  const entry = catalog.holdShared(KEY);
  catalog.releaseShared(entry);
  return {
    name: "palloc, shared entries",
    role: "also",
    operations: HITS,
    run() {
      let sum = 0;
      for (let hit = 0; hit < HITS; hit += 1) {
        const held = catalog.holdShared(KEY);
        sum += held;
        catalog.releaseShared(held);
      }
      return sum;
    },
    check() {
      const held = catalog.holdShared(KEY);
      if (held < 0 || held !== entry) throw new Error("no shared entry was found");
      catalog.releaseShared(held);
    },
  };
}

async function contenders(): Promise<Contender[]> {
  const opened = await openCatalog();
  const ours = [byValue(opened), byReference(opened), byNumber(opened)];
  return [...ours, ...postgresPeer("catalog-hit")];
}

/** The catalog half of row 11 of the design. */
export const catalogRows: readonly Row[] = [
  {
    id: "11.catalog-hit",
    name: "a catalog row found and given back, from JavaScript",
    unit: "ns a pair",
    targets: { PostgreSQL: 1.0 },
    contenders,
  },
];
