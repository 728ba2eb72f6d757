// The header of the region, at address 0 of the shared memory: sizes, status, and where each part
// begins. Written once by the creator before anybody attaches; afterwards only `status` and
// `requests` change. Addresses sit together in the second and third cache line, because every hit
// needs three of them.
//
//   0 magic · version · bytes · buffers          16 backends · index entries · status · requests
//  64 descriptors · heads · head mask · holds    80 column bytes · partitions · slots · slot pages
//  96 blocks · strategy · locks · departed      112 checkpoint · checksums · statistics
//
// PostgreSQL: src/include/storage/pg_shmem.h, PGShmemHeader

import { Atomic } from "../common/atomics";
import {
  EXTENSION_LOCKS,
  LOCK_EXTENSION,
  NAMED_LOCKS,
  REGION_HEADER_BYTES,
  REGION_REQUESTS_OFFSET,
  REGION_STATUS_OFFSET,
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
  private spare0: u64;
  private spare1: u64;
  private spare2: u64;
  private spare3: u64;

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

  @inline setStatus(status: u32): void {
    Atomic.store(offsetof<Region>("status"), status);
  }

  /** Tells the owner that a slot was claimed. */
  @inline requestAttach(): void {
    Atomic.add(offsetof<Region>("requests"), 1);
    Atomic.notifyAll(offsetof<Region>("requests"));
  }
}

if (offsetof<Region>() > <usize>REGION_HEADER_BYTES) ERROR("the header outgrew its part");
if (offsetof<Region>("descriptors") != 64) ERROR("addresses must begin a cache line");
if (offsetof<Region>("status") != REGION_STATUS_OFFSET) ERROR("status moved");
if (offsetof<Region>("requests") != REGION_REQUESTS_OFFSET) ERROR("requests moved");
if (LOCK_EXTENSION + EXTENSION_LOCKS != NAMED_LOCKS) ERROR("named locks do not add up");
