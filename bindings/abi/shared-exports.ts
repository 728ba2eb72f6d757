/**
 * What shared.wasm exports, in the order of assembly/shared.ts. All numbers are 32 bits; results
 * below zero are ST_ statuses of assembly/common/constants.ts.
 */
export interface SharedExports {
  regionPages(buffers: number, backends: number, segmentBytes: number): number;
  createRegion(bytes: number, buffers: number, backends: number, checksums: number): void;
  addSegment(bytes: number): number;
  publishRegion(): void;
  setStatus(status: number): void;
  wakeEverybody(): void;

  claimSlot(threadId: number): number;
  requestAttach(): void;
  enter(slot: number, mayBlock: number): void;
  advanceSlot(slot: number, from: number, to: number): number;
  slotLife(slot: number): number;
  slotAddress(slot: number): number;
  leave(): number;
  markDead(slot: number): number;
  reap(slot: number): number;
  sleep(milliseconds: number): number;
  lockNamed(index: number): number;
  unlockNamed(index: number): number;

  pin(file: number, block: number): number;
  unpin(buffer: number): number;
  pinMapped(file: number, block: number): number;
  victim(): number;
  claim(buffer: number): number;
  dropGuard(buffer: number): void;
  install(buffer: number, file: number, block: number): number;
  ensureValid(buffer: number): number;
  finishRead(buffer: number, good: number): void;
  finishWrite(buffer: number, good: number): void;
  finishZeroed(buffer: number): number;
  verifyFrame(buffer: number): number;
  frameAddress(buffer: number): number;
  writePageAddress(): number;
  fileOf(buffer: number): number;
  blockOf(buffer: number): number;
  pageChecksum(page: number, block: number): number;
  sealPage(page: number, block: number): void;
  verifyPage(page: number, block: number): number;

  lockShare(buffer: number): number;
  lockExclusive(buffer: number): number;
  drainShares(buffer: number): number;
  unlock(buffer: number): number;
  beginChange(buffer: number): number;
  endChange(buffer: number): number;
  undoChange(buffer: number): number;

  checkpointCollect(): number;
  checkpointBuffer(index: number): number;
  checkpointBegin(buffer: number): number;
  pagesInUse(file: number): number;
  dropPages(file: number, firstBlock: number): number;
  countExtends(blocks: number): void;

  pinnedBuffers(): number;
  holdOf(buffer: number): number;
  holders(buffer: number): number;
  stateOf(buffer: number): number;
  clockHand(): number;
  clockPasses(): number;
  allocations(): number;
}
