/**
 * palloc: PostgreSQL's memory architecture. Process memory (contexts, chunks) and shared memory
 * (a page cache for all threads); storage managers and wasm files have entries of their own, so that
 * a browser's bundle carries no Node code and the reverse.
 */

export * from "./abi/errors.ts";
export type { BufferId, ChunkPtr, ContextPtr, ForkId } from "./abi/pointers.ts";
export type { WasmMemory, WasmModule } from "./abi/wasm-types.ts";
export * from "./process/context.ts";
export * from "./process/memory.ts";
export {
  Backend,
  type BackendOptions,
  type CheckpointOptions,
  type CheckpointResult,
} from "./shared/backend.ts";
export { BufferPool } from "./shared/buffers.ts";
export type { SegmentPlace, SharedMemoryHandle, SharedSegment } from "./shared/handle.ts";
export { type BackendDeath, SharedMemory, type SharedMemoryOptions } from "./shared/memory.ts";
export { initPage } from "./shared/page.ts";
export { PinnedBuffer } from "./shared/pinned-buffer.ts";
export { Relation } from "./shared/relation.ts";
export * from "./shared/settings.ts";
export type {
  BackendRow,
  BufferStatistics,
  ShmemAllocationRow,
  UsageCountRow,
} from "./shared/statistics.ts";
export type { WatchableWorker } from "./shared/threads.ts";
export * from "./storage/manager.ts";
