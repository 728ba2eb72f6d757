/**
 * What shared.wasm exports, in the order of assembly/shared.ts. All numbers are 32 bits, but
 * milliseconds and counts of bytes; results below zero are ST_ statuses of
 * assembly/common/constants.ts.
 */
export interface SharedExports {
  planRegion(
    buffers: number,
    backends: number,
    helpers: number,
    queued: number,
    locks: number,
    lwlocks: number,
    conditions: number,
    catalog: number,
  ): void;
  regionPages(segmentBytes: number): number;
  createRegion(bytes: number, checksums: number): void;
  startAt(checkpoint: number, journalled: number): void;
  addSegment(bytes: number): number;
  publishRegion(): void;
  setStatus(status: number): void;
  poison(reason: number): void;
  wakeEverybody(): void;

  /** @param helper - 1 for one of the slots that are kept for helper threads */
  claimSlot(threadId: number, helper?: number): number;
  requestAttach(): void;
  enter(slot: number, mayBlock: number): void;
  advanceSlot(slot: number, from: number, to: number): number;
  slotLife(slot: number): number;
  setKind(kind: number): void;
  slotKind(slot: number): number;
  slotAddress(slot: number): number;
  leave(): number;
  markDead(slot: number): number;
  reap(slot: number): number;
  sleep(milliseconds: number): number;
  interrupt(slot: number, life: number, bits: number): number;
  wakeInterrupted(slot: number, bits: number): number;
  /** @param event - WAIT_ that others see meanwhile; absent is none */
  lockNamed(index: number, event?: number): number;
  unlockNamed(index: number): number;

  pin(file: number, block: number): number;
  pinIn(file: number, block: number, context: number): number;
  lookUp(file: number, block: number): number;
  pinRecent(buffer: number, file: number, block: number, context: number): number;
  unpin(buffer: number): number;
  locate(file: number, block: number, context: number): number;
  pinMapped(file: number, block: number, context: number): number;
  victim(context: number): number;
  reuse(buffer: number, context: number): number;
  companion(first: number, count: number): number;
  evict(buffer: number): number;
  claim(buffer: number, context: number): number;
  dropGuard(buffer: number): void;
  abandonVictim(buffer: number): void;
  install(buffer: number, file: number, block: number, context: number): number;
  ensureValid(buffer: number, context: number): number;
  finishRead(buffer: number, good: number): void;
  verifyRead(buffer: number): number;
  finishWrite(buffer: number, good: number): void;
  finishZeroed(buffer: number): number;
  clearFrame(buffer: number): void;
  frameAddress(buffer: number): number;
  scratchAddress(): number;
  shadowAddress(): number;
  fileOf(buffer: number): number;
  blockOf(buffer: number): number;
  pageChecksum(page: number, block: number): number;
  pageSeal(page: number, block: number): number;
  pageVerdict(page: number, block: number): number;
  pageDigest(page: number): number;

  setLwlockPolicy(lock: number, policy: number): void;
  lwlockPolicy(lock: number): number;
  lwlockShare(lock: number): number;
  lwlockExclusive(lock: number): number;
  lwlockShareNow(lock: number): number;
  lwlockExclusiveNow(lock: number): number;
  lwlockOrWait(lock: number, tenure: number): number;
  lwlockDrain(lock: number): number;
  lwlockRelease(lock: number): number;
  lwlockReleaseAll(): void;
  lwlockMode(lock: number): number;
  lwlockOwner(lock: number): number;
  conditionPrepare(condition: number): number;
  conditionSleep(condition: number, ticket: number): number;
  conditionSignal(condition: number): void;
  conditionBroadcast(condition: number): void;
  conditionForward(condition: number): void;
  latchValue(): number;
  latchSleep(seen: number): number;
  setLatch(slot: number): void;

  beginRequest(file: number, block: number): number;
  addToRequest(request: number, buffer: number): void;
  submitRequest(request: number): number;
  awaitRequest(request: number): number;
  forsakeRequest(request: number): number;
  takeRequest(): number;
  endRequest(request: number, read: number): number;
  awaitWork(): number;
  requestFile(request: number): number;
  requestBlock(request: number): number;
  requestPages(request: number): number;
  requestBuffer(request: number, index: number): number;

  /** @param flags - the level, and 2 for a caller that does not wait */
  lockAcquire(
    field1: number,
    field2: number,
    field3: number,
    rest: number,
    mode: number,
    flags: number,
  ): number;
  lockRelation(relation: number, mode: number, flags: number): number;
  lockCheck(): number;
  lockGiveUp(): number;
  lockCheckDeadlock(): number;
  lockWaitsSince(time: number): void;
  lockRelease(
    field1: number,
    field2: number,
    field3: number,
    rest: number,
    mode: number,
    level: number,
  ): number;
  unlockRelation(relation: number, mode: number, level: number): number;
  lockReleaseAll(levels: number, method: number): number;
  lockTableStill(): number;
  lockTableFree(): void;

  catalogRow(): number;
  catalogJoin(): void;
  catalogNumber(): number;
  catalogFindWords(
    catalog: number,
    count: number,
    one: number,
    two: number,
    three: number,
    four: number,
  ): number;
  catalogFind(catalog: number, keyBytes: number): number;
  catalogRelease(entry: number): number;
  catalogHash(catalog: number, keyBytes: number): number;
  catalogBegin(): number;
  /** @param rowBytes - -1: there is no such row */
  catalogReserve(catalog: number, keyBytes: number, rowBytes: number): number;
  catalogPublish(entry: number, since: number): number;
  catalogDiscard(entry: number): void;
  catalogAnnounce(value: number): void;
  catalogInvalidate(catalog: number, hash: number): number;
  catalogInvalidateAll(catalog: number): number;
  catalogReceive(): number;
  catalogHolders(entry: number): number;
  catalogState(entry: number): number;

  lockShare(buffer: number): number;
  lockExclusive(buffer: number): number;
  lockShareNow(buffer: number): number;
  lockExclusiveNow(buffer: number): number;
  cleanupRefusal(buffer: number): number;
  settleCleanup(buffer: number): number;
  settleCleanupNow(buffer: number): number;
  giveUpCleanup(): void;
  drainShares(buffer: number): number;
  unlock(buffer: number): number;
  beginChange(buffer: number): number;
  endChange(buffer: number): number;
  undoChange(buffer: number): number;
  changeKept(buffer: number, interval: number): void;

  imagesNeeded(buffer: number): number;
  setImaged(file: number, block: number, interval: number): void;
  cut(interval: number): void;
  commitCheckpoint(checkpoint: number): void;

  checkpointCollect(): number;
  checkpointBuffer(index: number): number;
  checkpointBegin(buffer: number, mayWait: number): number;
  flushBegin(buffer: number, mayWait: number): number;
  nextDirty(file: number, first: number): number;
  writerStart(): void;
  writerScan(first: number, count: number, wanted: number): number;
  writerHibernate(): number;
  writerAwake(): void;
  pagesInUse(file: number, firstBlock: number): number;
  dropPages(file: number, firstBlock: number, blocks: number): number;

  countIo(
    context: number,
    counter: number,
    times: number,
    byteCounter: number,
    bytes: number,
  ): void;
  countTime(context: number, counter: number, milliseconds: number): void;
  countShared(statistic: number, times: number): void;
  countSharedTime(statistic: number, milliseconds: number): void;
  pinnedBuffers(): number;
  lockedExclusively(buffer: number): number;
  holdOf(buffer: number): number;
  holders(buffer: number): number;
  stateOf(buffer: number): number;
  clockHand(): number;
  clockPasses(): number;
  allocations(): number;
}
