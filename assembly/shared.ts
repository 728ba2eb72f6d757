// Entry of shared.wasm: what TypeScript calls. One instance a backend, all over one shared memory.
//
// Every function is one crossing and takes and returns plain 32-bit numbers; times and counts of
// bytes are f64. Results below zero are ST_ statuses; buffers may carry NEED_READ, NEED_WRITE or
// IN_PROGRESS (common/constants.ts). No function calls out, so none can be torn by an exception
// while it holds something.

import { Change } from "./buffer/change";
import { Checkpoint } from "./buffer/checkpoint";
import { Cleanup } from "./buffer/cleanup";
import { ClockSweep } from "./buffer/clocksweep";
import { ContentLock } from "./buffer/content";
import { Counters } from "./buffer/counters";
import { BufferDesc } from "./buffer/desc";
import { Drop } from "./buffer/drop";
import { Evict } from "./buffer/evict";
import { Hold } from "./buffer/hold";
import { Imaged } from "./buffer/imaged";
import { BufferIo } from "./buffer/io";
import { Page } from "./buffer/page";
import { Pin } from "./buffer/pin";
import { Pool } from "./buffer/pool";
import { Reap } from "./buffer/reap";
import { CatalogReap } from "./cache/reap";
import {
  BLOCK_BYTES,
  CACHE_LINE_BYTES,
  LIFE_ACTIVE,
  LIFE_DEAD,
  LIFE_EXITING,
  LIFE_STATE_MASK,
  PAGE_GOOD,
  ST_BAD_BUFFER,
  ST_BUSY,
  ST_MISS,
  ST_OK,
  STATE_CHECKPOINT_NEEDED,
  STATE_DIRTY,
} from "./common/constants";
import { Region } from "./ipc/region";
import { me, Self } from "./ipc/self";
import { Sleep } from "./ipc/sleep";
import { Slot } from "./ipc/slots";
import { OwnerLock } from "./lmgr/owner";

export * from "./buffer/bgwriter-calls";
export * from "./buffer/ioqueue-calls";
export * from "./cache/catalog-calls";
export * from "./ipc/interrupt-calls";
export * from "./ipc/region-calls";
export * from "./lmgr/lock-calls";
export * from "./lmgr/lwlock-calls";

// ── Backends ─────────────────────────────────────────────────────────────────────────────────────

/** Ends the region as after a crash, for a POISON_ reason, and wakes everybody. */
export function poison(reason: u32): void {
  Region.poison(reason);
  Reap.wakeEverybody();
}

/** Wakes every sleeper, so that it looks at the region's status. */
export function wakeEverybody(): void {
  Reap.wakeEverybody();
}

export function claimSlot(threadId: u32, helper: u32): i32 {
  return Slot.claim(threadId, helper != 0);
}

/** Tells the owner of the region that a slot was claimed. */
export function requestAttach(): void {
  Region.get().requestAttach();
}

/** Makes this instance act for a slot; `mayBlock` is 0 on a thread that must not sleep. */
export function enter(slot: u32, mayBlock: u32): void {
  Self.become(slot);
  Slot.mine().mayBlock = mayBlock;
}

/** Moves a slot from one LIFE_ state to another; 0 if it was not in the first. */
export function advanceSlot(slot: u32, from: u32, to: u32): u32 {
  return Slot.at(slot).advance(from, to) ? 1 : 0;
}

export function slotLife(slot: u32): u32 {
  return Slot.at(slot).getLife();
}

/** Says what this backend is, BACKEND_; a client if it says nothing. */
export function setKind(kind: u32): void {
  Slot.mine().setKind(kind);
}

export function slotKind(slot: u32): u32 {
  return Slot.at(slot).getKind();
}

export function slotAddress(slot: u32): u32 {
  return <u32>changetype<usize>(Slot.at(slot));
}

/** Leaves the region and gives back what this backend still holds; ST_BUSY: call again. */
export function leave(): i32 {
  Slot.mine().advance(LIFE_ACTIVE, LIFE_EXITING);
  return CatalogReap.backend(me) == ST_OK ? Reap.backend(me) : ST_BUSY;
}

/** Declares a backend dead; 0 if its slot is free. Only with proof that its thread has stopped. */
export function markDead(slot: u32): u32 {
  const life = Slot.at(slot).getLife();
  return Slot.at(slot).advance(life & LIFE_STATE_MASK, LIFE_DEAD) ? 1 : 0;
}

export function reap(slot: u32): i32 {
  return CatalogReap.backend(slot) == ST_OK ? Reap.backend(slot) : ST_BUSY;
}

export function sleep(milliseconds: i32): i32 {
  return Sleep.now(milliseconds);
}

/** `event` is the WAIT_ that others see while this backend waits. */
export function lockNamed(index: u32, event: u32): i32 {
  return OwnerLock.at(Region.get().locks + index * CACHE_LINE_BYTES).tryAcquire(event);
}

export function unlockNamed(index: u32): i32 {
  return OwnerLock.at(Region.get().locks + index * CACHE_LINE_BYTES).releaseIfMine();
}

// ── Pages ────────────────────────────────────────────────────────────────────────────────────────

export function pin(file: u32, block: u32): i32 {
  return Pool.pin(file, block);
}

export function pinIn(file: u32, block: u32, context: u32): i32 {
  return Pool.pinIn(file, block, context);
}

/** Where a page seems to be: a hint for `pinRecent`. */
export function lookUp(file: u32, block: u32): i32 {
  return Pool.lookUp(file, block);
}

export function pinRecent(buffer: u32, file: u32, block: u32, context: u32): i32 {
  return Region.has(buffer) ? Pool.pinRecent(buffer, file, block, context) : ST_MISS;
}

export function unpin(buffer: u32): i32 {
  return Region.has(buffer) ? Pin.release(buffer) : ST_BAD_BUFFER;
}

export function locate(file: u32, block: u32, context: u32): i32 {
  return Pool.locate(file, block, context);
}

export function pinMapped(file: u32, block: u32, context: u32): i32 {
  return Pool.pinMapped(file, block, context);
}

export function victim(context: u32): i32 {
  return Evict.victim(context);
}

export function reuse(buffer: u32, context: u32): i32 {
  return Evict.reuse(buffer, context);
}

export function companion(first: u32, count: u32): i32 {
  return Evict.companion(first, count);
}

export function evict(buffer: u32): i32 {
  return Region.has(buffer) ? Evict.one(buffer) : ST_BAD_BUFFER;
}

export function claim(buffer: u32, context: u32): i32 {
  return Evict.claim(buffer, context);
}

/** Gives up a candidate: one whose write failed, or a companion that was written. */
export function dropGuard(buffer: u32): void {
  Pin.lower(buffer);
}

/** Frees the frame of a victim that is not needed. */
export function abandonVictim(buffer: u32): void {
  Evict.abandon(buffer);
}

export function install(buffer: u32, file: u32, block: u32, context: u32): i32 {
  return Pool.install(buffer, file, block, context);
}

export function ensureValid(buffer: u32, context: u32): i32 {
  return Pool.ensureValid(buffer, context);
}

export function finishRead(buffer: u32, good: u32): void {
  BufferIo.finishRead(buffer, good != 0);
}

/** Looks at a page just read, and ends the read if it is good; else says what is wrong. */
export function verifyRead(buffer: u32): i32 {
  const verdict = Page.verify(BufferDesc.frame(buffer), BufferDesc.at(buffer).block);
  if (verdict == PAGE_GOOD) BufferIo.finishRead(buffer, true);
  return verdict;
}

export function finishWrite(buffer: u32, good: u32): void {
  BufferIo.finishWrite(buffer, good != 0);
}

/** Clears a frame that this backend reads into; it is valid, dirty, and exclusively locked. */
export function finishZeroed(buffer: u32): i32 {
  return BufferIo.finishZeroed(buffer);
}

/** Clears a frame that this backend reads into: its page was not one, and need not be. */
export function clearFrame(buffer: u32): void {
  memory.fill(BufferDesc.frame(buffer), 0, BLOCK_BYTES);
}

export function frameAddress(buffer: u32): u32 {
  return <u32>BufferDesc.frame(buffer);
}

/** A page of this backend's own, for a moment's use. */
export function scratchAddress(): u32 {
  return <u32>BufferIo.scratchPage();
}

/** Where this backend keeps the page it is changing as it was before. */
export function shadowAddress(): u32 {
  return <u32>BufferIo.shadowPage(me);
}

export function fileOf(buffer: u32): u32 {
  return BufferDesc.at(buffer).file;
}

export function blockOf(buffer: u32): u32 {
  return BufferDesc.at(buffer).block;
}

/** The checksum of any 8 kB at `page`, for a block number. */
export function pageChecksum(page: u32, block: u32): u32 {
  return Page.checksum(page, block);
}

/** What a copy of the 8 kB at `page` that is about to be written must carry as checksum. */
export function pageSeal(page: u32, block: u32): u32 {
  return Page.seal(page, block);
}

/** PAGE_GOOD, or what is wrong with any 8 kB at `page`. */
export function pageVerdict(page: u32, block: u32): i32 {
  return Page.verify(page, block);
}

/** A sum over all of any 8 kB at `page`. */
export function pageDigest(page: u32): u32 {
  return Page.digest(page);
}

// ── Content locks and changes ────────────────────────────────────────────────────────────────────

export function lockShare(buffer: u32): i32 {
  return Region.has(buffer) ? ContentLock.share(buffer) : ST_BAD_BUFFER;
}

export function lockExclusive(buffer: u32): i32 {
  return Region.has(buffer) ? ContentLock.exclusive(buffer) : ST_BAD_BUFFER;
}

export function lockShareNow(buffer: u32): i32 {
  return Region.has(buffer) ? ContentLock.shareNow(buffer) : ST_BAD_BUFFER;
}

export function lockExclusiveNow(buffer: u32): i32 {
  return Region.has(buffer) ? ContentLock.exclusiveNow(buffer) : ST_BAD_BUFFER;
}

/** Whether this backend may ask for a cleanup lock. */
export function cleanupRefusal(buffer: u32): i32 {
  return Region.has(buffer) ? Cleanup.refusal(buffer) : ST_BAD_BUFFER;
}

export function settleCleanup(buffer: u32): i32 {
  return Cleanup.settle(buffer);
}

export function settleCleanupNow(buffer: u32): i32 {
  return Cleanup.settleNow(buffer);
}

/** Ends a wait for a cleanup lock that was given up. */
export function giveUpCleanup(): void {
  Cleanup.forget(me);
}

export function drainShares(buffer: u32): i32 {
  return ContentLock.drain(buffer);
}

export function unlock(buffer: u32): i32 {
  return Region.has(buffer) ? ContentLock.release(buffer) : ST_BAD_BUFFER;
}

export function beginChange(buffer: u32): i32 {
  return Region.has(buffer) ? Change.begin(buffer) : ST_BAD_BUFFER;
}

export function endChange(buffer: u32): i32 {
  return Region.has(buffer) ? Change.end(buffer) : ST_BAD_BUFFER;
}

export function undoChange(buffer: u32): i32 {
  return Region.has(buffer) ? Change.undo(buffer) : ST_BAD_BUFFER;
}

/** The shadow page stands in the journal of an interval; end the change again. */
export function changeKept(buffer: u32, interval: u32): void {
  Change.kept(buffer, interval);
}

// ── Checkpoints and the journal ──────────────────────────────────────────────────────────────────

export function imagesNeeded(buffer: u32): u32 {
  return BufferIo.imagesNeeded(buffer);
}

/** Notes that the journal of an interval holds the old image of a page. */
export function setImaged(file: u32, block: u32, interval: u32): void {
  Imaged.note(file, block, interval);
}

/** The cut of a checkpoint. */
export function cut(interval: u32): void {
  Region.get().setInterval(interval);
}

/** A checkpoint is durable. */
export function commitCheckpoint(checkpoint: u32): void {
  Region.get().setCommitted(checkpoint);
}

// ── Whole pool ───────────────────────────────────────────────────────────────────────────────────

export function checkpointCollect(): u32 {
  return Checkpoint.collect();
}

export function checkpointBuffer(index: u32): u32 {
  return Checkpoint.buffer(index);
}

/** Begins to write a buffer of the list. */
export function checkpointBegin(buffer: u32, mayWait: u32): i32 {
  return Checkpoint.begin(buffer, STATE_CHECKPOINT_NEEDED, mayWait);
}

/** Begins to write a buffer that is dirty. */
export function flushBegin(buffer: u32, mayWait: u32): i32 {
  return Checkpoint.begin(buffer, STATE_DIRTY, mayWait);
}

export function nextDirty(file: u32, first: u32): i32 {
  return Checkpoint.nextDirty(file, first);
}

/** Whether pages of a file are pinned: ST_OK, ST_BUSY, or ST_SELF by this backend. */
export function pagesInUse(file: u32, firstBlock: u32): i32 {
  return Drop.inUse(file, firstBlock);
}

export function dropPages(file: u32, firstBlock: u32, blocks: u32): i32 {
  return Drop.pages(file, firstBlock, blocks);
}

// ── Counting and reports ─────────────────────────────────────────────────────────────────────────

/** Adds operations to one counter of a context, and the bytes they moved to another. */
export function countIo(
  context: u32,
  counter: u32,
  times: u32,
  byteCounter: u32,
  bytes: f64,
): void {
  Hold.countedIo(context, counter, times, byteCounter, <u64>bytes);
}

/** Adds milliseconds to a time of a context. */
export function countTime(context: u32, counter: u32, milliseconds: f64): void {
  Counters.time(context, counter, milliseconds);
}

/** Adds to a STATISTIC_ of checkpoints or of the background writer. */
export function countShared(statistic: u32, times: u32): void {
  Counters.addShared(statistic, times);
}

/** Adds milliseconds to a STATISTIC_ that is a time. */
export function countSharedTime(statistic: u32, milliseconds: f64): void {
  Counters.addSharedTime(statistic, milliseconds);
}

export function pinnedBuffers(): u32 {
  return Hold.pinned();
}

/** Whether this backend has the content lock of a buffer exclusively. */
export function lockedExclusively(buffer: u32): u32 {
  return ContentLock.isMine(buffer) ? 1 : 0;
}

export function holdOf(buffer: u32): u32 {
  return Hold.get(buffer);
}

export function holders(buffer: u32): u32 {
  return Hold.holders(buffer);
}

export function stateOf(buffer: u32): u32 {
  return BufferDesc.at(buffer).getState();
}

export function clockHand(): u32 {
  return ClockSweep.hand();
}

export function clockPasses(): u32 {
  return ClockSweep.passes();
}

export function allocations(): u32 {
  return ClockSweep.allocations();
}
