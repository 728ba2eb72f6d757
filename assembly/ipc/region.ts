// The header of the region, at address 0 of the shared memory: sizes, status, and where each part
// begins. Written once by the creator before anybody attaches; afterwards only the words from
// `status` to `journalSynced` change. Addresses sit together in the second and third cache line,
// because every hit needs three of them.
//
//   0 magic · version · bytes · buffers          16 backends · index entries · status · requests
//  32 interval · committed · journal records ×2  48 journal synced ×2 · journalled
//  64 descriptors · heads · head mask · holds    80 column bytes · partitions · slots · slot pages
//  96 blocks · strategy · locks · departed      112 checkpoint · checksums · statistics · imaged
// 128 imaged mask · I/O queue · helpers · closing
// 144 lock records · lock heads · lock head mask · lock partitions
// 160 strong flags · lock states · lock state bytes · records a backend
// 176 fast path mask · deadlock · poisoned · LWLocks
// 192 their number · bytes of one · conditions · their number
// 208 ring of invalidations · with I/O workers · kB of the catalog cache
//
// What the region is to hold stands here before it is laid out, also where only its size is asked
// for: the parts' sizes follow from these words (shmem.ts, lock-parts.ts, cache-parts.ts).
//
// PostgreSQL: src/include/storage/pg_shmem.h, PGShmemHeader

import { Atomic } from "../common/atomics";
import {
  EXTENSION_LOCKS,
  LOCK_EXTENSION,
  LOCK_JOURNAL,
  NAMED_LOCKS,
  REGION_BACKENDS_OFFSET,
  REGION_CLOSING_OFFSET,
  REGION_COMMITTED_OFFSET,
  REGION_HEADER_BYTES,
  REGION_HURRY_OFFSET,
  REGION_INTERVAL_OFFSET,
  REGION_JOURNAL_RECORDS_OFFSET,
  REGION_JOURNAL_SYNCED_OFFSET,
  REGION_JOURNALLED_OFFSET,
  REGION_POISON_OFFSET,
  REGION_REQUESTS_OFFSET,
  REGION_STATUS_OFFSET,
  STATUS_CRASHED,
  STATUS_RUNNING,
} from "../common/constants";

@unmanaged
export class Region {
  /** REGION_MAGIC once everything else stands. */
  magic: u32;
  version: u32;
  /** Size of the whole region. */
  bytes: u32;
  /** Number of buffers, shared_buffers. */
  buffers: u32;
  /** Number of backend slots, the owner's slot 0 included. */
  backends: u32;
  indexEntries: u32;
  /** STATUS_; changed once, from running to something else. */
  private status: u32;
  /** Counts attach requests; the owner sleeps on it. */
  private requests: u32;
  /** Number of the interval that changes belong to now; the cut of a checkpoint adds one. */
  private interval: u32;
  /** Number of the last committed checkpoint. */
  private committed: u32;
  /** Records in the journals of even and odd intervals; changed under LOCK_JOURNAL. */
  private journalRecords0: u32;
  private journalRecords1: u32;
  /** How many of them are durable; a lower bound. */
  private journalSynced0: u32;
  private journalSynced1: u32;
  /** 1 when there are journals. Set before anybody attaches. */
  journalled: u32;
  /** Not 0 while somebody waits for the checkpoint under way to end; changed in TypeScript. */
  private hurry: u32;

  descriptors: usize;
  heads: usize;
  headMask: u32;
  holds: usize;
  columnBytes: u32;
  partitions: usize;
  slots: usize;
  slotPages: usize;
  blocks: usize;
  strategy: usize;
  locks: usize;
  departed: usize;
  checkpoint: usize;
  /** 1 when pages carry checksums. */
  checksums: u32;
  statistics: usize;
  /** Which blocks have images in a journal, and the number of its entries - 1. */
  imaged: usize;
  imagedMask: u32;
  /** Requests to I/O workers; 0 when backends read for themselves. */
  ioQueue: usize;
  /** Topmost slots, which are kept for helper threads. */
  helpers: u32;
  /** Not 0 once nobody may attach any more; changed in TypeScript. */
  private closing: u32;

  /** Records of heavyweight locks, and the heads of the chains they are found by. */
  lockRecords: usize;
  lockHeads: usize;
  lockHeadMask: u32;
  lockPartitions: usize;
  /** Flags that stop the fast path, one word each. */
  strong: usize;
  /** What the lock manager keeps for each backend: a head, then its fast path. */
  lockStates: usize;
  lockStateBytes: u32;
  /** max_locks_per_transaction: records of a backend's own section. 0: there is no lock table. */
  locksPerBackend: u32;
  /** Groups of a fast path - 1. */
  fastPathMask: u32;
  /** Where the deadlock detector works. */
  deadlock: usize;
  /** Why the region was poisoned. Atomic; the first reason stands. */
  private poisoned: u32;
  /** Locks of the user, and their number. */
  lwlocks: usize;
  lwlockCount: u32;
  /** Bytes of one: a line for the word, a byte a backend in further ones. */
  lwlockBytes: u32;
  conditions: usize;
  conditionCount: u32;
  /** Address of the ring of invalidations; 0 without a catalog cache. */
  sinval: u32;
  /** 1 with a queue for I/O workers. */
  queued: u32;
  /** catalog_cache_size; 0: no catalog cache. */
  catalogKilobytes: u32;

  /** The one region of this memory. */
  @inline static get(): Region {
    return changetype<Region>(0);
  }

  /** Whether `buffer` is one of the pool's. */
  @inline static has(buffer: u32): bool {
    const buffers = Region.get().buffers;
    return buffer < buffers;
  }

  /** False once the region was shut down or has crashed: then every call fails. */
  @inline isRunning(): bool {
    return Atomic.load(offsetof<Region>("status")) == STATUS_RUNNING;
  }

  /** Wakes those who let time pass; sleepers on other words are woken by name (reap.ts). */
  @inline setStatus(status: u32): void {
    Atomic.store(offsetof<Region>("status"), status);
    Atomic.notifyAll(offsetof<Region>("status"));
  }

  /** The region ends as after a crash, for a POISON_ reason; its owner is woken. */
  static poison(reason: u32): void {
    const region = Region.get();
    Atomic.swap(offsetof<Region>("poisoned"), 0, reason);
    if (!Atomic.swap(offsetof<Region>("status"), STATUS_RUNNING, STATUS_CRASHED)) return;
    Atomic.notifyAll(offsetof<Region>("status"));
    region.requestAttach();
  }

  @inline getInterval(): u32 {
    return Atomic.load(offsetof<Region>("interval"));
  }

  /** The cut of a checkpoint: what is committed from now on belongs to the next interval. */
  @inline setInterval(interval: u32): void {
    Atomic.store(offsetof<Region>("interval"), interval);
  }

  @inline getCommitted(): u32 {
    return Atomic.load(offsetof<Region>("committed"));
  }

  @inline setCommitted(checkpoint: u32): void {
    Atomic.store(offsetof<Region>("committed"), checkpoint);
  }

  /** Tells the owner that a slot was claimed. */
  @inline requestAttach(): void {
    Atomic.add(offsetof<Region>("requests"), 1);
    Atomic.notifyAll(offsetof<Region>("requests"));
  }
}

if (offsetof<Region>() > <usize>REGION_HEADER_BYTES) ERROR("the header outgrew its part");
if (offsetof<Region>("descriptors") != 64) ERROR("addresses must begin a cache line");
if (offsetof<Region>("backends") != REGION_BACKENDS_OFFSET) ERROR("backends moved");
if (offsetof<Region>("status") != REGION_STATUS_OFFSET) ERROR("status moved");
if (offsetof<Region>("requests") != REGION_REQUESTS_OFFSET) ERROR("requests moved");
if (offsetof<Region>("interval") != REGION_INTERVAL_OFFSET) ERROR("interval moved");
if (offsetof<Region>("committed") != REGION_COMMITTED_OFFSET) ERROR("committed moved");
if (offsetof<Region>("journalRecords0") != REGION_JOURNAL_RECORDS_OFFSET) ERROR("records moved");
if (offsetof<Region>("journalSynced0") != REGION_JOURNAL_SYNCED_OFFSET) ERROR("synced moved");
if (offsetof<Region>("journalled") != REGION_JOURNALLED_OFFSET) ERROR("journalled moved");
if (offsetof<Region>("hurry") != REGION_HURRY_OFFSET) ERROR("hurry moved");
if (offsetof<Region>("closing") != REGION_CLOSING_OFFSET) ERROR("closing moved");
if (offsetof<Region>("poisoned") != REGION_POISON_OFFSET) ERROR("poisoned moved");
if (LOCK_EXTENSION + EXTENSION_LOCKS != LOCK_JOURNAL) ERROR("extension locks do not add up");
if (LOCK_JOURNAL + 1 != NAMED_LOCKS) ERROR("named locks do not add up");
