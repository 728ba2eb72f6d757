// What the creator of a region calls, before anybody attaches and at its end; shared.ts exports it
// all.

import { Region } from "./region";
import { Shmem } from "./shmem";

export function regionPages(
  buffers: u32,
  backends: u32,
  segmentBytes: u32,
  queued: u32,
  locks: u32,
  lwlocks: u32,
  conditions: u32,
  catalog: u32,
): u32 {
  return Shmem.regionPages(
    buffers,
    backends,
    segmentBytes,
    queued,
    locks,
    lwlocks,
    conditions,
    catalog,
  );
}

/**
 * `helpers` of the backends' slots are for helper threads; `queued` is 1 with I/O workers; `locks`
 * is max_locks_per_transaction, or 0 for a region without a lock table; `lwlocks` and `conditions`
 * are those of the user; `catalog` is catalog_cache_size in kB, or 0 for one without a catalog
 * cache.
 */
export function createRegion(
  bytes: u32,
  buffers: u32,
  backends: u32,
  checksums: u32,
  helpers: u32,
  queued: u32,
  locks: u32,
  lwlocks: u32,
  conditions: u32,
  catalog: u32,
): void {
  Shmem.create(
    bytes,
    buffers,
    backends,
    checksums,
    helpers,
    queued,
    locks,
    lwlocks,
    conditions,
    catalog,
  );
}

/** Says, before anybody attaches, which checkpoint storage is at, and whether it has a journal. */
export function startAt(checkpoint: u32, journalled: u32): void {
  const region = Region.get();
  region.journalled = journalled;
  region.setCommitted(checkpoint);
  region.setInterval(checkpoint);
}

export function addSegment(bytes: u32): u32 {
  return Shmem.addSegment(bytes);
}

export function publishRegion(): void {
  Shmem.publish();
}

export function setStatus(status: u32): void {
  Region.get().setStatus(status);
}
