// Claims a data directory and keeps it until it is ended. Plain JavaScript, as worker.mjs; runs as
// a thread of its own or as a process. Says "claimed", or the code and message of the error.
//
//   node claimer.mjs MODULE DIRECTORY       new Worker(…, { workerData: { module, directory } })

import { parentPort, workerData } from "node:worker_threads";

const { module, directory } = workerData ?? { module: process.argv[2], directory: process.argv[3] };
const { nodeFiles } = await import(module);

const say = (text) => (parentPort === null ? console.log(text) : parentPort.postMessage(text));

try {
  await nodeFiles(directory).claim();
  // A claim keeps nothing alive by itself.
  setInterval(() => undefined, 1000);
  say("claimed");
} catch (error) {
  say(`${error.code}: ${error.message}`);
}
