/**
 * palloc: PostgreSQL's memory architecture. Process memory (contexts, chunks) and shared memory (a
 * page cache for all threads); storage managers and wasm files have entries of their own, so that a
 * browser's bundle carries no Node code and the reverse.
 */

export * from "./abi/errors.ts";
export type { BufferId, ChunkPtr, ContextPtr, ForkId } from "./abi/pointers.ts";
export type { WasmMemory, WasmModule } from "./abi/wasm-types.ts";
export { ALLOC_HUGE, ALLOC_NO_OOM, ALLOC_ZERO, MemoryContext } from "./process/context.ts";
export type { ContextStatistics } from "./process/core.ts";
export {
  type BlockStatistics,
  ProcessMemory,
  type ProcessMemoryOptions,
} from "./process/memory.ts";
export {
  ALLOCSET_DEFAULT_SIZES,
  ALLOCSET_SMALL_SIZES,
  ALLOCSET_START_SMALL_SIZES,
  type ContextSizes,
} from "./process/sizes.ts";
export type { StatsTextLimits } from "./process/stats-text.ts";
export {
  Backend,
  type BackendOptions,
  type CheckpointOptions,
  type CheckpointResult,
} from "./shared/backend.ts";
export { BufferPool } from "./shared/buffers.ts";
export type { SegmentPlace, SharedMemoryHandle, SharedSegment } from "./shared/handle.ts";
export { type BackendDeath, SharedMemory, type SharedMemoryOptions } from "./shared/memory.ts";
export {
  BLOCK_BYTES,
  initPage,
  PAGE_HEADER_BYTES,
  PAGE_LOWER_OFFSET,
  PAGE_SPECIAL_OFFSET,
  PAGE_UPPER_OFFSET,
} from "./shared/page.ts";
export { PinnedBuffer } from "./shared/pinned-buffer.ts";
export { Relation } from "./shared/relation.ts";
export {
  type BoolParameter,
  findParameter,
  type IntegerParameter,
  type Parameter,
  type ParameterContext,
  type ParameterName,
  parameters,
  parseParameter,
  type RealParameter,
  ResolvedSettings,
  resolveSettings,
  type Settings,
  type SettingValues,
} from "./shared/settings.ts";
export type {
  BackendRow,
  BufferStatistics,
  ShmemAllocationRow,
  UsageCountRow,
} from "./shared/statistics.ts";
export type { WatchableWorker } from "./shared/threads.ts";
export {
  type Fork,
  type StorageCapabilities,
  StorageError,
  type StorageHandle,
  type StorageManager,
  type StorageOpener,
} from "./storage/manager.ts";
