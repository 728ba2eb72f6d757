// What a region is to hold. Its creator says so once in each instance that sizes a region or lays
// one out; the parts' sizes follow from nothing else (shmem.ts, lock-parts.ts, cache-parts.ts).
// These are globals of the instance: later instances learn what they need from the region's header.

export class RegionPlan {
  /** Pages of shared_buffers. */
  static buffers: u32 = 0;
  /** Slots of backends, helpers and owner included. */
  static backends: u32 = 0;
  /** So many of the slots, the topmost, are for helper threads. */
  static helpers: u32 = 0;
  /** 1 with a queue for I/O workers. */
  static queued: u32 = 0;
  /** max_locks_per_transaction; 0: no lock table. */
  static locks: u32 = 0;
  /** Named locks and conditions of the user. */
  static lwlocks: u32 = 0;
  static conditions: u32 = 0;
  /** catalog_cache_size in kB; 0: no catalog cache. */
  static catalog: u32 = 0;
}
