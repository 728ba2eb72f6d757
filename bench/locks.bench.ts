/**
 * Rows about heavyweight locks that nobody else wants, taken and given back from JavaScript,
 * against PostgreSQL's own C, measured inside its server (10).
 *
 * PostgreSQL calls LockAcquire and LockRelease on one tag, with the statement's own locks held;
 * ours is the form that takes numbers: one call into wasm for each.
 */

import { Backend, SharedMemory } from "../bindings/index.ts";
import { memoryStorage } from "../bindings/storage/memory.ts";
import type { Contender, Row } from "./harness.ts";
import { postgresPeer } from "./postgres-peer.ts";

const PAIRS = 1000;
const RELATION = 16384;
const KEY = 20260727;

/** A backend of this thread, and how to end its region. */
async function openBackend(): Promise<{ backend: Backend; close(): Promise<void> }> {
  const settings = { shared_buffers: 16 };
  const shared = await SharedMemory.create({ settings, storage: memoryStorage() });
  const backend = await Backend.attach(shared.handle);
  const close = async (): Promise<void> => {
    backend.detach();
    await shared.close();
  };
  return { backend, close };
}

async function advisoryContenders(): Promise<Contender[]> {
  const { backend, close } = await openBackend();
  const { locks } = backend;
  const ours: Contender = {
    name: "palloc",
    role: "ours",
    operations: PAIRS,
    run() {
      let released = 0;
      for (let turn = 0; turn < PAIRS; turn += 1) {
        locks.advisoryLockSync(KEY);
        if (locks.advisoryUnlock(KEY)) released += 1;
      }
      return released;
    },
    check() {
      locks.advisoryLockSync(KEY);
      const [row] = locks.rows();
      if (row?.locktype !== "advisory" || row.objid !== KEY) throw new Error("nothing was locked");
      if (!locks.advisoryUnlock(KEY) || locks.rows().length > 0) throw new Error("a lock is left");
    },
    dispose: close,
  };
  return [ours, ...postgresPeer("advisory-lock")];
}

async function relationContenders(): Promise<Contender[]> {
  const { backend, close } = await openBackend();
  const { locks } = backend;
  const mode = "AccessShareLock";
  const ours: Contender = {
    name: "palloc",
    role: "ours",
    operations: PAIRS,
    run() {
      let given = 0;
      for (let pair = 0; pair < PAIRS; pair += 1) {
        locks.lockRelationSync(RELATION, mode);
        if (locks.unlockRelationSync(RELATION, mode)) given += 1;
      }
      return given;
    },
    check() {
      locks.lockRelationSync(RELATION, mode);
      const [row] = locks.rows();
      if (row?.fastpath !== true || row.relation !== RELATION) throw new Error("no fast path");
      if (!locks.unlockRelationSync(RELATION, mode)) throw new Error("a lock was not held");
    },
    dispose: close,
  };
  return [ours, ...postgresPeer("relation-lock")];
}

/** Row 10 of the design. */
export const lockRows: readonly Row[] = [
  {
    id: "10.advisory-lock",
    name: "advisory lock and unlock, nobody else there, from JavaScript",
    unit: "ns a pair",
    targets: { PostgreSQL: 0.5 },
    contenders: advisoryContenders,
  },
  {
    id: "10.fast-path-relation",
    name: "AccessShareLock on a relation and back, by the fast path, from JavaScript",
    unit: "ns a pair",
    targets: { PostgreSQL: 0.5 },
    contenders: relationContenders,
  },
];
