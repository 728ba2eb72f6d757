// Reads a row of a catalog under a share lock, and compares it with its page; or changes it under
// an exclusive one, and may die before anybody was told.

import { parentPort, workerData } from "node:worker_threads";
import { Backend, CatalogRelation } from "../../dist/bindings/index.js";

const { handle, role, times } = workerData;
const backend = Backend.attachSync(handle);
const { locks } = backend;
const rows = new CatalogRelation(backend.buffers, backend.openRelationSync("rows"));
const { number } = rows.relation;
let reads = 0;
const catalog = backend.catalog.register("rows", {
  keys: ["string", "number"],
  loadSync: (...keys) => {
    reads += 1;
    return rows.readSync(...keys);
  },
  decode: (row) => row[0] | (row[1] << 8),
});

/** The row as the catalog knows it; 0 is none. */
function known() {
  const reference = catalog.findSync("row", 1);
  const value = reference?.value ?? 0;
  reference?.release();
  return value;
}

function onPage() {
  const [low = 0, high = 0] = rows.readSync("row", 1) ?? [];
  return low | (high << 8);
}

function write(value) {
  rows.writeSync(["row", 1], Uint8Array.of(value & 255, value >> 8));
}

const roles = {
  read: () => {
    let stale = 0;
    let last = 0;
    while (last < times) {
      locks.lockRelationSync(number, "AccessShareLock");
      for (let turn = 0; turn < 4; turn += 1) {
        last = known();
        if (last !== onPage()) stale += 1;
      }
      locks.unlockRelationSync(number, "AccessShareLock");
    }
    return { stale, reads };
  },
  change: () => {
    for (let value = 1; value <= times; value += 1) {
      locks.lockRelationSync(number, "AccessExclusiveLock");
      if (known() !== value - 1) throw new Error("the writer has found a stale row");
      catalog.changeSync(["row", 1], () => write(value));
      locks.unlockRelationSync(number, "AccessExclusiveLock");
    }
    return { stale: 0, reads };
  },
  die: () => {
    locks.lockRelationSync(number, "AccessExclusiveLock");
    catalog.changeSync(["row", 1], () => {
      write(times);
      parentPort.postMessage("changed");
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });
  },
};

const outcome = roles[role]();
backend.detach();
parentPort.postMessage(outcome);
