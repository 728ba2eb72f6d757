/**
 * palloc: PostgreSQL's memory architecture. Process memory (contexts, chunks) and shared memory (a
 * page cache for all threads); storage managers and wasm files have entries of their own, so that a
 * browser's bundle carries no Node code and the reverse.
 */

export type { CancelSignal } from "./abi/cancel-signal.ts";
export * from "./abi/errors.ts";
export type { BufferId, ChunkPtr, ContextPtr, ForkId } from "./abi/pointers.ts";
export type { WasmMemory, WasmModule } from "./abi/wasm-types.ts";
export type { Adoptable } from "./process/adopt.ts";
export { addSize, mulSize, SizeOverflowError } from "./process/arrays.ts";
export type { ContextCeiling } from "./process/ceiling.ts";
export type { LastingView, ViewType } from "./process/chunk-views.ts";
export type { CollectedContext } from "./process/collected.ts";
export { ALLOC_HUGE, ALLOC_NO_OOM, ALLOC_ZERO, MemoryContext } from "./process/context.ts";
export type { ContextStatistics, ContextType } from "./process/core.ts";
export type {
  ImportedFunctions,
  PlacedImports,
  PlacementOptions,
  WasmImports,
} from "./process/imports.ts";
export {
  SLAB_DEFAULT_BLOCK_SIZE,
  SLAB_LARGE_BLOCK_SIZE,
  type SlabSizes,
} from "./process/kinds.ts";
export {
  type BlockStatistics,
  ProcessMemory,
  type ProcessMemoryOptions,
} from "./process/memory.ts";
export type {
  FieldType,
  FieldValue,
  RecordColumn,
  RecordField,
  RecordMemory,
} from "./process/record-fields.ts";
export {
  defineRecord,
  type RecordArray,
  type RecordColumns,
  type RecordCursor,
  type RecordFields,
  type RecordShape,
  type RecordType,
  type RecordValues,
} from "./process/records.ts";
export {
  type RemoteRows,
  type RequestRowsOptions,
  type RowsPort,
  type RowsServer,
  requestRows,
  serveRows,
} from "./process/remote-rows.ts";
export type { ContextTree, MemoryContextRow } from "./process/rows.ts";
export type { AllocationSite, AllocationSiteOptions } from "./process/sites.ts";
export {
  ALLOCSET_DEFAULT_SIZES,
  ALLOCSET_SMALL_SIZES,
  ALLOCSET_START_SMALL_SIZES,
  type ContextSizes,
} from "./process/sizes.ts";
export {
  diff,
  type LeakReport,
  type MemorySnapshot,
  type SnapshotDiff,
  type SnapshotGroup,
} from "./process/snapshot.ts";
export type { StatsTextLimits } from "./process/stats-text.ts";
export type { QueryOptions } from "./session/command-loop.ts";
export type { Cursor, CursorOptions, RowSource } from "./session/cursor.ts";
export type { MemoryLimit, MemoryUse } from "./session/memory-limit.ts";
export type { SessionMessage } from "./session/messages.ts";
export type { Query } from "./session/query.ts";
export {
  RELEASE_PRIORITY,
  type ReleasePhase,
  type ResourceKind,
  type ResourceOwner,
} from "./session/resource-owner.ts";
export { type ConnectOptions, Session, type SessionOptions } from "./session/session.ts";
export type { SettingRow } from "./session/setting-rows.ts";
export type { CommandTag, Transaction } from "./session/transaction.ts";
export type { TransactionEvent, TransactionListener } from "./session/transactions.ts";
export type { VariableSource } from "./session/variable-stack.ts";
export type { SetOptions } from "./session/variables.ts";
export type { ActivityRow, ActivityState } from "./shared/activity.ts";
export { type AdvisoryKey, AdvisoryLocks } from "./shared/advisory-locks.ts";
export { Backend } from "./shared/backend.ts";
export type { BackendOptions, CreateOptions } from "./shared/backend-options.ts";
export { BufferPool, type LeakedPin } from "./shared/buffers.ts";
export {
  Catalog,
  CatalogCache,
  type CatalogDefinition,
  type CatalogStatistics,
} from "./shared/catalog.ts";
export type { CatalogKey } from "./shared/catalog-keys.ts";
export { CacheReference } from "./shared/catalog-reference.ts";
export { CatalogRelation, type CatalogRow } from "./shared/catalog-relation.ts";
export type { CheckpointOptions, CheckpointResult } from "./shared/checkpoint.ts";
export {
  type AsyncWaitOptions,
  ConditionVariable,
  Latch,
  PreparedWait,
  type WaitOptions,
} from "./shared/condition-variable.ts";
export { type WorkersWatch, watchWorkers } from "./shared/forwarding.ts";
export type { SegmentPlace, SharedMemoryHandle, SharedSegment } from "./shared/handle.ts";
export type { HelperError, ScriptAddress } from "./shared/helper-threads.ts";
export type { BackendTarget } from "./shared/interrupts.ts";
export {
  HeldLightweightLock,
  LightweightLock,
  type LightweightLockMode,
  type LightweightLockOptions,
  type LockWaitOptions,
  type OnOwnerDeath,
} from "./shared/lightweight-lock.ts";
export type { LockDeathListener, LockOwnerDeath } from "./shared/lock-deaths.ts";
export {
  type AsyncLockOptions,
  HeldLock,
  type LockLevel,
  LockManager,
  type LockOptions,
} from "./shared/lock-manager.ts";
export type { AdvisoryTag, LockMode, LockTag } from "./shared/lock-tags.ts";
export type { LockRow } from "./shared/lock-views.ts";
export { SharedMemory } from "./shared/memory.ts";
export type {
  BackendDeath,
  SharedMemoryOptions,
  WriterThreadOptions,
} from "./shared/memory-options.ts";
export type { WaitNames } from "./shared/named-waits.ts";
export type { AsyncReadOptions, ReadMode, ReadOptions } from "./shared/number-pool.ts";
export {
  BLOCK_BYTES,
  initPage,
  PAGE_HEADER_BYTES,
  PAGE_LOWER_OFFSET,
  PAGE_SPECIAL_OFFSET,
  PAGE_UPPER_OFFSET,
} from "./shared/page.ts";
export type { ParameterValue } from "./shared/parameter-texts.ts";
export {
  type BoolParameter,
  type EnumParameter,
  type IntegerParameter,
  type Parameter,
  type ParameterContext,
  type ParameterName,
  type ParameterUnit,
  parameters,
  type RealParameter,
  type StringParameter,
} from "./shared/parameters.ts";
export { PinnedBuffer } from "./shared/pinned-buffer.ts";
export type { PrewarmMode, PrewarmOptions } from "./shared/prewarm.ts";
export {
  type BlockRange,
  type BlockSource,
  ReadStream,
  type ReadStreamOptions,
} from "./shared/read-stream.ts";
export { Relation } from "./shared/relation.ts";
export type { EvictManyResult, EvictResult } from "./shared/relation-pages.ts";
export type { RegionDown, RegionRestart } from "./shared/restart.ts";
export {
  findParameter,
  type MessageLevel,
  parseParameter,
  ResolvedSettings,
  resolveSettings,
  type Settings,
  type SettingValues,
} from "./shared/settings.ts";
export type { ShutdownMode, ShutdownOptions } from "./shared/shutdown.ts";
export type {
  BackendRow,
  BufferStatistics,
  ShmemAllocationRow,
  UsageCountRow,
} from "./shared/statistics.ts";
export { ringSize, Strategy, type StrategyKind } from "./shared/strategy.ts";
export { TemporaryFile } from "./shared/temporary-file.ts";
export type { WatchableWorker } from "./shared/threads.ts";
export {
  type StorageProblem,
  type VerifyProgress,
  type VerifyResult,
  verifyStorage,
} from "./shared/verify.ts";
export type {
  BgwriterRow,
  BuffercacheRow,
  BuffercacheSummaryRow,
  CheckpointerRow,
  DatabaseRow,
  IoRow,
  SharedViews,
} from "./shared/views.ts";
export type { WaitEvent, WaitEventType } from "./shared/wait-events.ts";
export { type RunWritersOptions, runWriters } from "./shared/writer-thread.ts";
export {
  BackgroundWriter,
  Checkpointer,
  type WriterOptions,
  type WriterRound,
} from "./shared/writers.ts";
export {
  type Fork,
  type StorageCapabilities,
  StorageError,
  type StorageHandle,
  type StorageManager,
  type StorageOpener,
} from "./storage/manager.ts";
