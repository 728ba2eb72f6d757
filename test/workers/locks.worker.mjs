// Takes heavyweight locks as fast as it can until it is told to stop or is terminated. Under an
// exclusive lock it writes its number where nobody else may write then, twice, and looks whether it
// stayed; whoever finds another number there adds one to the mistakes.

import { parentPort, workerData } from "node:worker_threads";
import { Backend } from "../../dist/bindings/index.js";

const { handle, number, seed } = workerData;
const backend = Backend.attachSync(handle);
const { locks } = backend;
const { words } = backend.segment("proof");
const [STOP, MISTAKES, ROUNDS, FIRST] = [0, 1, 2, 3];
let state = seed;

function below(limit) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
}

/** What nobody else may do at the same time. */
function alone(place) {
  words[FIRST + place] = number;
  for (let turn = below(50); turn > 0; turn -= 1) {
    if (words[FIRST + place] !== number) Atomics.add(words, MISTAKES, 1);
  }
}

parentPort.postMessage("ready");
while (Atomics.load(words, STOP) === 0) {
  const place = below(3);
  if (below(3) === 0) {
    locks.lockRelationSync(100 + place, "AccessExclusiveLock");
    alone(3 + place);
    locks.unlockRelationSync(100 + place, "AccessExclusiveLock");
  } else if (below(2) === 0) {
    locks.lockRelationSync(100 + place, "RowExclusiveLock");
    const seen = words[FIRST + 3 + place];
    for (let turn = below(20); turn > 0; turn -= 1) {
      if (words[FIRST + 3 + place] !== seen) Atomics.add(words, MISTAKES, 1);
    }
    locks.unlockRelationSync(100 + place, "RowExclusiveLock");
  } else {
    locks.advisoryLockSync(place);
    alone(place);
    locks.advisoryUnlock(place);
  }
  Atomics.add(words, ROUNDS, 1);
}
backend.detach();
