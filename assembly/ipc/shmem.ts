// Carves the memory into named parts at start-up, then closes for good: nothing is allocated in the
// region afterwards, so its size and every address are known before the first backend attaches.
//
//   header · index · slots · locks · partitions · strategy · departed · statistics · descriptors
//   · table · holds · checkpoint · imaged · slot pages · I/O queue · lock records · lock table
//   · lock partitions · strong flags · fast paths · activity · deadlock · LWLocks · conditions
//   · invalidations · catalog cache · blocks · user segments · free tail
//
// Every part begins on a cache line; pages begin on a multiple of their size. The index holds one
// entry a part in the order of PART_, user segments behind; TypeScript writes the names, because
// this module has no data section to keep them in.
//
// PostgreSQL: src/backend/storage/ipc/shmem.c, ShmemInitStruct; ipci.c, CalculateShmemSize

import { ACTIVITY_BYTES } from "../common/activity-constants";
import { Align } from "../common/align";
import { invariant } from "../common/check";
import {
  BACKEND_KINDS,
  BLOCK_BYTES,
  BUFFER_PARTITIONS,
  CACHE_LINE_BYTES,
  COLUMN_HEADER_BYTES,
  COUNTERS_BYTES,
  INDEX_ENTRY_BYTES,
  INDEX_OFFSET_OFFSET,
  INDEX_SIZE_OFFSET,
  MAX_SEGMENTS,
  NAMED_LOCKS,
  PANIC_LAYOUT,
  PART_ACTIVITY,
  PART_BLOCKS,
  PART_CATALOG,
  PART_CHECKPOINT,
  PART_CONDITIONS,
  PART_DEADLOCK,
  PART_DEPARTED,
  PART_DESCRIPTORS,
  PART_FAST_PATH,
  PART_HEADER,
  PART_HOLDS,
  PART_IMAGED,
  PART_INDEX,
  PART_IO_QUEUE,
  PART_LOCK_PARTITIONS,
  PART_LOCK_RECORDS,
  PART_LOCK_TABLE,
  PART_LOCKS,
  PART_LWLOCKS,
  PART_PARTITIONS,
  PART_SINVAL,
  PART_SLOT_PAGES,
  PART_SLOTS,
  PART_STATISTICS,
  PART_STRATEGY,
  PART_STRONG,
  PART_TABLE,
  PARTS,
  REGION_HEADER_BYTES,
  REGION_MAGIC,
  REGION_VERSION,
  SLOT_BYTES,
  STATISTICS_BYTES,
  WASM_PAGE_BYTES,
} from "../common/constants";
import { IO_QUEUE_HEADER_BYTES, IO_REQUEST_BYTES, IO_REQUESTS } from "../common/io-constants";
import { LWLOCK_ROW_OFFSET } from "../common/lock-constants";
import { CacheParts } from "./cache-parts";
import { LockParts } from "./lock-parts";
import { Region } from "./region";

/** Two descriptors are one cache line: it halves what a walk over the pool has to load. */
const DESCRIPTOR_BYTES: u32 = 32;
/** {file, block, buffer, 0} a buffer. */
const CHECKPOINT_ENTRY_BYTES: u32 = 16;
/** Entries of the table of images a buffer: what was evicted is remembered for a while. */
const IMAGED_PER_BUFFER: u32 = 4;
const IMAGED_ENTRY_BYTES: u32 = 16;
/** The shadow page and the scratch page of a backend. */
const PAGES_PER_SLOT: u32 = 2;
/** State words and requests of a backend. */
const REQUESTS_BYTES: u32 = CACHE_LINE_BYTES + IO_REQUESTS * IO_REQUEST_BYTES;
/** Heads of the buffer table a buffer: chains of one half on average. */
const HEADS_PER_BUFFER: u32 = 2;
/** A hold word. */
const HOLD_BYTES: u32 = 2;

export class Shmem {
  /** Bytes that part `part` asks for. */
  private static partBytes(part: u32): u64 {
    if (LockParts.has(part)) return LockParts.bytes(part);
    if (part == PART_SINVAL || part == PART_CATALOG) return CacheParts.bytes(part);
    const region = Region.get();
    const buffers = region.buffers;
    const backends = region.backends;
    switch (part) {
      case PART_HEADER:
        return REGION_HEADER_BYTES;
      case PART_INDEX:
        return (PARTS + MAX_SEGMENTS) * INDEX_ENTRY_BYTES;
      case PART_SLOTS:
        return backends * SLOT_BYTES;
      case PART_LOCKS:
        return NAMED_LOCKS * CACHE_LINE_BYTES;
      case PART_PARTITIONS:
        return BUFFER_PARTITIONS * CACHE_LINE_BYTES;
      case PART_STRATEGY:
        return CACHE_LINE_BYTES;
      case PART_DEPARTED:
        return BACKEND_KINDS * COUNTERS_BYTES;
      case PART_STATISTICS:
        return STATISTICS_BYTES;
      case PART_DESCRIPTORS:
        return buffers * DESCRIPTOR_BYTES;
      case PART_TABLE:
        return Shmem.headCount(buffers) * sizeof<u32>();
      case PART_HOLDS:
        return backends * Shmem.columnBytes(buffers);
      case PART_CHECKPOINT:
        return buffers * CHECKPOINT_ENTRY_BYTES;
      case PART_IMAGED:
        return Shmem.imagedCount(buffers) * IMAGED_ENTRY_BYTES;
      case PART_SLOT_PAGES:
        return backends * PAGES_PER_SLOT * BLOCK_BYTES;
      case PART_IO_QUEUE:
        return region.queued == 0 ? 0 : IO_QUEUE_HEADER_BYTES + backends * REQUESTS_BYTES;
      case PART_ACTIVITY:
        return backends * ACTIVITY_BYTES;
      case PART_LWLOCKS:
        return region.lwlockCount * Shmem.lwlockBytes(backends);
      case PART_CONDITIONS:
        return region.conditionCount * CACHE_LINE_BYTES;
      default:
        return buffers * BLOCK_BYTES;
    }
  }

  @inline static headCount(buffers: u32): u32 {
    return Align.nextPowerOfTwo(buffers * HEADS_PER_BUFFER);
  }

  @inline static imagedCount(buffers: u32): u32 {
    return Align.nextPowerOfTwo(buffers * IMAGED_PER_BUFFER);
  }

  @inline static columnBytes(buffers: u32): u32 {
    return Align.up(COLUMN_HEADER_BYTES + buffers * HOLD_BYTES, CACHE_LINE_BYTES);
  }

  /** A line for the word of a lock, then a byte a backend. */
  @inline static lwlockBytes(backends: u32): u32 {
    return LWLOCK_ROW_OFFSET + Align.up(backends, CACHE_LINE_BYTES);
  }

  /** Parts made of pages are aligned like pages. */
  @inline private static alignment(part: u32): u32 {
    return part == PART_BLOCKS || part == PART_SLOT_PAGES ? BLOCK_BYTES : CACHE_LINE_BYTES;
  }

  /**
   * Wasm pages of the planned region; more than a memory can have if too much is asked for.
   * `segmentBytes` is the sum of the user's segments, each rounded up to a cache line.
   */
  static regionPages(segmentBytes: u32): u32 {
    let bytes: u64 = segmentBytes;
    for (let part: u32 = 0; part < <u32>PARTS; ++part) {
      if (part == PART_BLOCKS) continue;
      bytes += BLOCK_BYTES;
      bytes += Shmem.partBytes(part);
    }
    bytes += <u64>Region.get().buffers * BLOCK_BYTES;
    return <u32>min<u64>((bytes + (WASM_PAGE_BYTES - 1)) / WASM_PAGE_BYTES, u32.MAX_VALUE);
  }

  /** Lays out the planned region over `bytes` zeroed bytes. */
  static create(bytes: u32, checksums: u32): void {
    const region = Region.get();
    const buffers = region.buffers;
    region.version = REGION_VERSION;
    region.bytes = bytes;
    region.checksums = checksums;
    region.headMask = Shmem.headCount(buffers) - 1;
    region.lwlockBytes = Shmem.lwlockBytes(region.backends);
    region.columnBytes = Shmem.columnBytes(buffers);
    region.imagedMask = Shmem.imagedCount(buffers) - 1;
    for (let part: u32 = 0; part < <u32>PARTS; ++part) {
      Shmem.carve(region, <u32>Shmem.partBytes(part), Shmem.alignment(part));
    }
    Shmem.keepAddresses(region);
    if (region.queued != 0) region.ioQueue = Shmem.address(PART_IO_QUEUE);
    if (region.locksPerBackend != 0) Shmem.keepLockAddresses(region);
    if (region.catalogKilobytes == 0) return;
    CacheParts.create(region, Shmem.address(PART_SINVAL), Shmem.address(PART_CATALOG));
  }

  /** Carves a segment of the user's own; returns its address, or 0 if the region is full. */
  static addSegment(size: u32): u32 {
    const region = Region.get();
    if (region.indexEntries == PARTS + MAX_SEGMENTS) return 0;
    const start = Shmem.end(region);
    if (start >= region.bytes || size > region.bytes - start) return 0;
    return Shmem.carve(region, size, CACHE_LINE_BYTES);
  }

  /** Publishes the region: from now on backends may attach. */
  @inline static publish(): void {
    Region.get().magic = REGION_MAGIC;
  }

  @inline private static entry(index: u32): usize {
    return REGION_HEADER_BYTES + index * INDEX_ENTRY_BYTES;
  }

  @inline private static address(part: u32): u32 {
    return load<u32>(Shmem.entry(part), INDEX_OFFSET_OFFSET);
  }

  /** First free cache line behind the last part. */
  private static end(region: Region): u32 {
    if (region.indexEntries == 0) return 0;
    const last = Shmem.entry(region.indexEntries - 1);
    const end = load<u32>(last, INDEX_OFFSET_OFFSET) + load<u32>(last, INDEX_SIZE_OFFSET);
    return Align.up(end, CACHE_LINE_BYTES);
  }

  /** Takes `size` bytes behind the last part and enters them in the index. */
  private static carve(region: Region, size: u32, alignment: u32): u32 {
    const at = Align.up(Shmem.end(region), alignment);
    if (CHECKING) invariant(at + size <= region.bytes, PANIC_LAYOUT);
    const entry = Shmem.entry(region.indexEntries);
    store<u32>(entry, at, INDEX_OFFSET_OFFSET);
    store<u32>(entry, size, INDEX_SIZE_OFFSET);
    region.indexEntries += 1;
    return at;
  }

  private static keepLockAddresses(region: Region): void {
    LockParts.keepSizes(region);
    region.lockRecords = Shmem.address(PART_LOCK_RECORDS);
    region.lockHeads = Shmem.address(PART_LOCK_TABLE);
    region.lockPartitions = Shmem.address(PART_LOCK_PARTITIONS);
    region.strong = Shmem.address(PART_STRONG);
    region.lockStates = Shmem.address(PART_FAST_PATH);
    region.deadlock = Shmem.address(PART_DEADLOCK);
  }

  private static keepAddresses(region: Region): void {
    region.slots = Shmem.address(PART_SLOTS);
    region.locks = Shmem.address(PART_LOCKS);
    region.partitions = Shmem.address(PART_PARTITIONS);
    region.strategy = Shmem.address(PART_STRATEGY);
    region.departed = Shmem.address(PART_DEPARTED);
    region.statistics = Shmem.address(PART_STATISTICS);
    region.descriptors = Shmem.address(PART_DESCRIPTORS);
    region.heads = Shmem.address(PART_TABLE);
    region.holds = Shmem.address(PART_HOLDS);
    region.checkpoint = Shmem.address(PART_CHECKPOINT);
    region.imaged = Shmem.address(PART_IMAGED);
    region.slotPages = Shmem.address(PART_SLOT_PAGES);
    region.lwlocks = Shmem.address(PART_LWLOCKS);
    region.conditions = Shmem.address(PART_CONDITIONS);
    region.blocks = Shmem.address(PART_BLOCKS);
  }
}
