// A thread that opens storage from nothing but its handle. Plain JavaScript, since threads run
// no TypeScript; threads.ts starts it.
//
//   { handle, calls }   makes each call [method, ...arguments], and posts the results; with `gate`,
//                       a word that starts with the number of threads, all of them begin at once
//   { handle, churn }   makes, extends and removes forks of relation `churn` until terminated

import { parentPort, workerData } from "node:worker_threads";

const { handle, calls, gate, churn } = workerData;
const { openStorage } = await import(handle.module);
const storage = openStorage(handle);

if (churn === undefined) {
  if (gate !== undefined) Atomics.sub(gate, 0, 1);
  while (gate !== undefined && Atomics.load(gate, 0) > 0);
  const results = calls.map(([method, ...values]) => storage[method](...values));
  storage.closeSync();
  parentPort.postMessage(results);
} else {
  const page = new Uint8Array(8192).fill(255);
  parentPort.postMessage("ready");
  for (let turn = 0; ; turn++) {
    const fork = turn % 4;
    storage.createSync(churn, fork);
    for (let block = 0; block < 9; block += 3) {
      storage.extendSync(churn, fork, block + 3);
      storage.writeSync(churn, fork, block + 1, page);
    }
    storage.writeControlSync(page);
    storage.unlinkSync(churn, fork);
  }
}
