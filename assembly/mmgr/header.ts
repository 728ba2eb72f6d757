// What the whole process memory knows about itself: one record at a fixed address.
//
// The addresses are literals, so that each field is one load. The page before the blocks is never
// given out; the bytes below the record are never written, so that a null context has kind 0 and a
// null chunk has a header of kind 0, both invalid.
//
//   0        64              256           4096
//   ├────────┼───────────────┼─────────────┼───────────────────────────────┬──────────────┐
//   │ zeroes │ ProcessHeader │ statistics  │ areas of the block provider   │ shadow table │
//   └────────┴───────────────┴─────────────┴───────────────────────────────┴──────────────┘
//                                                                           checked builds
//
// PostgreSQL: none; malloc's own state stands here

import {
  ADMISSION_ADDRESS,
  BLOCK_STATISTICS_ADDRESS,
  PROCESS_HEADER_ADDRESS,
  PROCESS_HEADER_BYTES,
  STATISTICS_ADDRESS,
} from "../common/constants";

@unmanaged
export class ProcessHeader {
  /** Root of the tree of free areas; null when memory is exhausted. Only blocks.ts writes it. */
  freeRoot: usize;
  /** The tag that ends the blocks: always taken, always of size 0. */
  sentinel: usize;
  /** Where the sentinel may be moved by growing, at most. */
  lastSentinel: usize;
  /** Address of the shadow table; 0 in release builds. */
  shadow: usize;

  /** Successful requests, returns and resizes since the beginning. */
  requests: u32;
  returns: u32;
  resizes: u32;
  /** Bytes as requested, and blocks, held now. */
  liveBytes: u32;
  liveBlocks: u32;
  peakLiveBytes: u32;
  /** All that is outside the largest free area; now and at its highest. */
  footprintBytes: u32;
  peakFootprintBytes: u32;

  /** Fault injection: requests that still succeed, and requests that fail after them. */
  faultSkip: u32;
  faultCount: u32;

  /** First of the contexts that have no parent. */
  firstRoot: usize;
  /** Deleted contexts kept for reuse, and how many there are; only kept.ts writes them. */
  keptDefault: usize;
  keptDefaultCount: u32;
  keptSmall: usize;
  keptSmallCount: u32;

  /** Checked builds: the chunk that was last looked at for damage; a panic may be about it. */
  suspect: usize;

  /** The context that asks its host for leave to take a block, and the bytes; 0 is a refusal. */
  asking: usize;
  asked: u32;

  /** The record of this memory. */
  @inline static get(): ProcessHeader {
    return changetype<ProcessHeader>(PROCESS_HEADER_ADDRESS);
  }
}

/** Counters of one context or of a subtree, where the caller outside wasm reads them. */
@unmanaged
export class Statistics {
  blocks: u32;
  totalBytes: u32;
  freeBytes: u32;
  freeChunks: u32;
  /** Contexts counted. */
  contexts: u32;
  /** Chunks cut in the blocks of generation contexts, freed ones included. */
  chunks: u32;
  /** Blocks that slab contexts keep empty. */
  emptyBlocks: u32;

  @inline static get(): Statistics {
    return changetype<Statistics>(STATISTICS_ADDRESS);
  }

  /** Begins a new sum. */
  clear(): void {
    this.blocks = 0;
    this.totalBytes = 0;
    this.freeBytes = 0;
    this.freeChunks = 0;
    this.contexts = 0;
    this.chunks = 0;
    this.emptyBlocks = 0;
  }
}

if (offsetof<ProcessHeader>() > <usize>(STATISTICS_ADDRESS - PROCESS_HEADER_ADDRESS)) {
  ERROR("the header runs into the statistics");
}
if (PROCESS_HEADER_ADDRESS + offsetof<ProcessHeader>("requests") != BLOCK_STATISTICS_ADDRESS) {
  ERROR("the counters lie where the caller reads them");
}
if (PROCESS_HEADER_ADDRESS + offsetof<ProcessHeader>("asking") != ADMISSION_ADDRESS) {
  ERROR("what is asked of the host lies where the host reads it");
}
if (offsetof<Statistics>() > <usize>(PROCESS_HEADER_BYTES - STATISTICS_ADDRESS)) {
  ERROR("the statistics run into the blocks");
}
