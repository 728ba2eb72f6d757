// Entry of shared-bench.wasm, which only the benchmark uses: shared.wasm with loops that take and
// give back locks inside wasm, so that no call from JavaScript is in what is measured. A wasm
// program does so that has the locks compiled in.
//
// PostgreSQL: none

import { LwLock } from "./lmgr/lwlock";

export * from "./shared";

/** Takes a lock exclusively and gives it back, so often; answers how often that worked. */
export function lwlockPairs(lock: u32, times: u32): u32 {
  let done: u32 = 0;
  for (let turn: u32 = 0; turn < times; turn += 1) {
    if (LwLock.at(lock).exclusive() == 0 && LwLock.at(lock).release() == 0) done += 1;
  }
  return done;
}

/** As `lwlockPairs`, shared. */
export function lwlockSharedPairs(lock: u32, times: u32): u32 {
  let done: u32 = 0;
  for (let turn: u32 = 0; turn < times; turn += 1) {
    if (LwLock.at(lock).share() == 0 && LwLock.at(lock).release() == 0) done += 1;
  }
  return done;
}
