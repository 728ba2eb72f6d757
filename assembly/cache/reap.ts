// Giving back what a backend had to do with the catalog cache: one that leaves, or one that is
// dead. Called before its pages and locks are given back (shared.ts): nobody may get a lock of the
// dead one and find an entry that is older than what it changed under that lock.
//
//   its lock of the ring becomes the reaper's · it had announced a change and has not sent all its
//   messages: all entries are killed, everybody is reset · what it was building is freed · the lock
//   is given back · its holds are cleared · it receives no more
//
// Half a message was never sent, half a link never found; what was DEAD and still linked is
// unlinked by whoever frees it. Each step may be repeated.
//
// PostgreSQL: src/backend/storage/ipc/sinvaladt.c, CleanupInvalidationState

import { Atomic } from "../common/atomics";
import { ROW_RECEIVING_OFFSET } from "../common/cache-constants";
import { ST_BUSY, ST_OK } from "../common/constants";
import { Region } from "../ipc/region";
import { Self } from "../ipc/self";
import { Catalog } from "./catalog";
import { Entry } from "./entry";
import { Sinval } from "./sinval";

export class CatalogReap {
  /** ST_BUSY if it must be called again. */
  static backend(dead: u32): i32 {
    if (Region.get().sinval == 0) return ST_OK;
    const lock = Sinval.lock();
    if (!lock.handOver(dead + 1, Self.owner()) && !Sinval.acquire()) return ST_BUSY;
    if (Sinval.isInvalidating(dead)) {
      Catalog.killAll(u32.MAX_VALUE);
      Sinval.resetEverybody();
      Sinval.setInvalidating(dead, 0);
    }
    Catalog.freeBuiltBy(dead + 1);
    lock.release();
    for (let granule = Entry.granules(); granule-- > 0; ) {
      const hold = Entry.holdOf(dead, granule);
      if (Atomic.load8(hold) != 0) Atomic.store8(hold, 0);
    }
    Atomic.store(Sinval.row(dead) + ROW_RECEIVING_OFFSET, 0);
    return ST_OK;
  }
}
