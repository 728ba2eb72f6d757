// Entry of shared.wasm: what TypeScript calls. One instance a backend, all over one shared memory.
//
// Every function is one crossing and takes and returns plain 32-bit numbers. Results below zero are
// ST_ statuses; buffers may carry NEED_READ, NEED_WRITE or IN_PROGRESS (common/constants.ts). No
// function calls out, so none can be torn by an exception while it holds something.

import { Change } from "./buffer/change";
import { Checkpoint } from "./buffer/checkpoint";
import { ClockSweep } from "./buffer/clocksweep";
import { ContentLock } from "./buffer/content";
import { BufferDesc } from "./buffer/desc";
import { Drop } from "./buffer/drop";
import { Evict } from "./buffer/evict";
import { Hold } from "./buffer/hold";
import { BufferIo } from "./buffer/io";
import { Page } from "./buffer/page";
import { Pool } from "./buffer/pool";
import { Reap } from "./buffer/reap";
import {
  BLOCK_BYTES,
  CACHE_LINE_BYTES,
  COUNTER_EXTENDS,
  COUNTER_READS,
  LIFE_ACTIVE,
  LIFE_DEAD,
  LIFE_EXITING,
  LIFE_STATE_MASK,
  ST_BAD_BUFFER,
  ST_OK,
} from "./common/constants";
import { Region } from "./ipc/region";
import { me, Self } from "./ipc/self";
import { Shmem } from "./ipc/shmem";
import { Sleep } from "./ipc/sleep";
import { Slot } from "./ipc/slots";
import { OwnerLock } from "./lmgr/owner";

// ── The region, for its creator ──────────────────────────────────────────────────────────────────

export function regionPages(buffers: u32, backends: u32, segmentBytes: u32): u32 {
  return Shmem.regionPages(buffers, backends, segmentBytes);
}

export function createRegion(bytes: u32, buffers: u32, backends: u32, checksums: u32): void {
  Shmem.create(bytes, buffers, backends, checksums);
}

export function addSegment(bytes: u32): u32 {
  return Shmem.addSegment(bytes);
}

export function publishRegion(): void {
  Shmem.publish();
}

export function setStatus(status: u32): void {
  Region.get().setStatus(status);
}

/** Wakes every sleeper, so that it looks at the region's status. */
export function wakeEverybody(): void {
  Reap.wakeEverybody();
}

// ── Backends ─────────────────────────────────────────────────────────────────────────────────────

export function claimSlot(threadId: u32): i32 {
  return Slot.claim(threadId);
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

export function slotAddress(slot: u32): u32 {
  return <u32>changetype<usize>(Slot.at(slot));
}

/** Leaves the region and gives back what this backend still holds; ST_BUSY: call again. */
export function leave(): i32 {
  Slot.mine().advance(LIFE_ACTIVE, LIFE_EXITING);
  return Reap.backend(me);
}

/** Declares a backend dead; 0 if its slot is free. Only with proof that its thread has stopped. */
export function markDead(slot: u32): u32 {
  const life = Slot.at(slot).getLife();
  return Slot.at(slot).advance(life & LIFE_STATE_MASK, LIFE_DEAD) ? 1 : 0;
}

export function reap(slot: u32): i32 {
  return Reap.backend(slot);
}

export function sleep(milliseconds: i32): i32 {
  return Sleep.now(milliseconds);
}

export function lockNamed(index: u32): i32 {
  return OwnerLock.at(Region.get().locks + index * CACHE_LINE_BYTES).tryAcquire();
}

export function unlockNamed(index: u32): i32 {
  return OwnerLock.at(Region.get().locks + index * CACHE_LINE_BYTES).releaseIfMine();
}

// ── Pages ────────────────────────────────────────────────────────────────────────────────────────

export function pin(file: u32, block: u32): i32 {
  return Pool.pin(file, block);
}

export function unpin(buffer: u32): i32 {
  return Region.has(buffer) ? Pool.unpin(buffer) : ST_BAD_BUFFER;
}

export function pinMapped(file: u32, block: u32): i32 {
  return Pool.pinMapped(file, block);
}

export function victim(): i32 {
  return Evict.victim();
}

export function claim(buffer: u32): i32 {
  return Evict.claim(buffer);
}

/** Gives up a candidate whose write failed. */
export function dropGuard(buffer: u32): void {
  Hold.set(buffer, 0);
}

export function install(buffer: u32, file: u32, block: u32): i32 {
  return Pool.install(buffer, file, block);
}

export function ensureValid(buffer: u32): i32 {
  return Pool.ensureValid(buffer);
}

export function finishRead(buffer: u32, good: u32): void {
  if (good != 0) Hold.counted(COUNTER_READS);
  BufferIo.finishRead(buffer, good != 0);
}

export function finishWrite(buffer: u32, good: u32): void {
  BufferIo.finishWrite(buffer, good != 0);
}

/** Clears a frame that this backend reads into, takes its exclusive lock, and makes it valid. */
export function finishZeroed(buffer: u32): i32 {
  memory.fill(BufferDesc.frame(buffer), 0, BLOCK_BYTES);
  const locked = ContentLock.tryExclusive(buffer);
  if (locked == ST_OK) BufferIo.finishRead(buffer, true);
  return locked;
}

/** PAGE_GOOD, or what is wrong with the page just read into a frame. */
export function verifyFrame(buffer: u32): i32 {
  return Page.verify(BufferDesc.frame(buffer), BufferDesc.at(buffer).block);
}

export function frameAddress(buffer: u32): u32 {
  return <u32>BufferDesc.frame(buffer);
}

export function writePageAddress(): u32 {
  return <u32>BufferIo.writePage();
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

/** Writes the checksum into any 8 kB at `page`, as before a page of the pool is written. */
export function sealPage(page: u32, block: u32): void {
  Page.seal(page, block);
}

/** As verifyFrame, for any 8 kB at `page`. */
export function verifyPage(page: u32, block: u32): i32 {
  return Page.verify(page, block);
}

// ── Content locks and changes ────────────────────────────────────────────────────────────────────

export function lockShare(buffer: u32): i32 {
  return Region.has(buffer) ? ContentLock.share(buffer) : ST_BAD_BUFFER;
}

export function lockExclusive(buffer: u32): i32 {
  return Region.has(buffer) ? ContentLock.exclusive(buffer) : ST_BAD_BUFFER;
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
  return Change.end(buffer);
}

export function undoChange(buffer: u32): i32 {
  return Change.undo(buffer);
}

// ── Whole pool ───────────────────────────────────────────────────────────────────────────────────

export function checkpointCollect(): u32 {
  return Checkpoint.collect();
}

export function checkpointBuffer(index: u32): u32 {
  return Checkpoint.buffer(index);
}

export function checkpointBegin(buffer: u32): i32 {
  return Checkpoint.begin(buffer);
}

/** Whether pages of a file are pinned: ST_OK, ST_BUSY, or ST_SELF by this backend. */
export function pagesInUse(file: u32): i32 {
  return Drop.inUse(file);
}

export function dropPages(file: u32, firstBlock: u32): i32 {
  return Drop.pages(file, firstBlock);
}

export function countExtends(blocks: u32): void {
  for (let block: u32 = 0; block < blocks; ++block) Hold.counted(COUNTER_EXTENDS);
}

// ── Reports ──────────────────────────────────────────────────────────────────────────────────────

export function pinnedBuffers(): u32 {
  return Hold.pinned();
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
