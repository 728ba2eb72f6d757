/**
 * The functions process.wasm exports. Sizes and addresses are unsigned in wasm and arrive here as
 * signed 32-bit numbers: make them unsigned before they are compared or shown.
 *
 * @see assembly/process.ts, which says what each one does
 */
export interface ProcessExports {
  initialize(pages: number, maximumPages: number, shadow: number): void;
  alloc(context: number, bytes: number): number;
  free(chunk: number): number;
  allocZero(context: number, bytes: number): number;
  allocExtended(context: number, bytes: number, flags: number): number;
  realloc(chunk: number, bytes: number, flags: number): number;
  chunkContext(chunk: number): number;
  chunkSpace(chunk: number): number;
  createContext(
    parent: number,
    minSize: number,
    initSize: number,
    maxSize: number,
    handle: number,
  ): number;
  createGeneration(
    parent: number,
    minSize: number,
    initSize: number,
    maxSize: number,
    handle: number,
  ): number;
  createBump(
    parent: number,
    minSize: number,
    initSize: number,
    maxSize: number,
    handle: number,
  ): number;
  createSlab(parent: number, blockSize: number, chunkSize: number, handle: number): number;
  slabChunksPerBlock(blockSize: number, chunkSize: number): number;
  allocAligned(context: number, bytes: number, alignment: number, flags: number): number;
  expectCallbacks(context: number): void;
  reset(context: number): void;
  resetOnly(context: number): void;
  resetChildren(context: number): void;
  deleteContext(context: number): void;
  deleteChildren(context: number): void;
  setParent(context: number, parent: number): void;
  isEmpty(context: number): number;
  memAllocated(context: number, recurse: number): number;
  statistics(context: number, recurse: number): void;
  injectFaults(skip: number, count: number): void;
  switchContext(context: number): number;
  palloc(bytes: number): number;
  pallocIn(context: number, bytes: number): number;
  palloc0(bytes: number): number;
  repalloc(chunk: number, bytes: number): number;
  pfree(chunk: number): void;
  liveChunks(context: number): number;
  formerContext(chunk: number): number;
  enclosingChunk(address: number): number;
  suspect(): number;
  checkHeap(): number;
}
