// The block provider: where contexts get their blocks, as PostgreSQL's get theirs from malloc.
//
// The memory is a row of areas without gaps. Each begins with a tag that gives its own size and
// that of the area below, so that an area which becomes free finds both neighbours and merges with
// them; when everything is given back, the row is one free area again. The free ones form a search
// tree ordered by size, then by address, whose lowest fitting member is taken: best fit, lowest
// address. Large blocks that only the largest free area can hold go to its two ends by turns, those
// of one power of two to the low end, those of the next to the high end: contexts double their
// blocks, and when the older ones are given back what they leave lies beside the free middle, where
// the next doubling fits, instead of below the newest block. (Peak footprint over peak live bytes
// of the recorded histories: 1.22 at most, 1.33 without. A memory that may grow has no high end.)
//
// Callers say how many bytes they return, so that nothing here shows in the numbers of a context:
// what an area holds beyond its request is neither counted nor reported.
//
// The last tag of the memory is the sentinel: taken, of size 0. Growing moves it.
//
// PostgreSQL: none; stands in for malloc, realloc and free

import { Align } from "../common/align";
import { invariant } from "../common/check";
import {
  AREA_HEADER_BYTES,
  AREA_MIN_BYTES,
  FILL_FRESH,
  GROWTH_FRACTION_SHIFT,
  MAX_ALLOC_HUGE_BYTES,
  PANIC_AREA_COUNT,
  PANIC_AREA_TAG,
  PANIC_AREA_TREE,
  PANIC_AREA_UNMERGED,
  PROCESS_HEADER_BYTES,
  STATUS_OK,
  WASM_PAGE_BYTES,
} from "../common/constants";
import { Area, TAKEN } from "./area";
import { bestFit, insert, isInTree, largest, remove } from "./free-areas";
import { ProcessHeader } from "./header";
import { Shadow } from "./shadow";

const PAGE_SHIFT: u32 = 16;
/** The tag of the lowest area. */
const FIRST_AREA: usize = PROCESS_HEADER_BYTES;
/** Areas from this size on are placed at either end of the free middle. */
const LARGE_BYTES: u32 = 32768; // 32 kB
/** What a block header adds to the largest request. */
const HEADER_ROOM: u32 = 64;

/**
 * Makes all memory behind the header one free area.
 *
 * @param pages pages the blocks may use now
 * @param maximumPages pages they may grow to
 */
export function initializeBlocks(pages: u32, maximumPages: u32): void {
  const header = ProcessHeader.get();
  header.sentinel = ((<usize>pages) << PAGE_SHIFT) - AREA_HEADER_BYTES;
  header.lastSentinel = ((<usize>maximumPages) << PAGE_SHIFT) - AREA_HEADER_BYTES;
  const all = Area.at(FIRST_AREA);
  all.below = 0;
  all.mark(<u32>(header.sentinel - FIRST_AREA), 0);
  Area.at(header.sentinel).mark(0, TAKEN);
  Area.at(header.sentinel).below = all.size;
  insert(all);
}

/** Takes a block of `bytes`, 8-aligned and not cleared; 0 when there is none. */
export function requestBlock(bytes: u32): usize {
  const header = ProcessHeader.get();
  if (failsOnPurpose(header)) return 0;
  if (bytes > <u32>MAX_ALLOC_HUGE_BYTES + HEADER_ROOM) return 0;
  const size = areaSize(bytes);
  const area = take(size);
  if (area === null) return 0;
  header.requests += 1;
  header.liveBlocks += 1;
  countBytes(header, bytes, 0);
  if (CHECKING) memory.fill(area.block, <u8>FILL_FRESH, bytes);
  return area.block;
}

/** Gives back a block and the `bytes` that were asked for. */
export function returnBlock(block: usize, bytes: u32): void {
  const header = ProcessHeader.get();
  if (CHECKING) invariant(Area.of(block).isTaken, PANIC_AREA_TAG);
  if (CHECKING) invariant(Area.of(block).size >= areaSize(bytes), PANIC_AREA_TAG);
  if (CHECKING) Shadow.wipe(block, bytes);
  release(Area.of(block));
  header.returns += 1;
  header.liveBlocks -= 1;
  countBytes(header, 0, bytes);
}

/**
 * Makes a block `newBytes` long, in place where the areas beside it allow; 0 when there is no room,
 * and then the block is as before. Its first bytes keep their contents.
 */
export function resizeBlock(block: usize, oldBytes: u32, newBytes: u32): usize {
  const header = ProcessHeader.get();
  if (CHECKING) invariant(Area.of(block).isTaken, PANIC_AREA_TAG);
  if (failsOnPurpose(header)) return 0;
  if (newBytes > <u32>MAX_ALLOC_HUGE_BYTES + HEADER_ROOM) return 0;
  const size = areaSize(newBytes);
  const moved = refit(block, oldBytes, size);
  if (moved == 0) return 0;
  if (CHECKING) {
    Shadow.forget(block, oldBytes);
    if (newBytes > oldBytes) memory.fill(moved + oldBytes, <u8>FILL_FRESH, newBytes - oldBytes);
  }
  header.resizes += 1;
  countBytes(header, newBytes, oldBytes);
  return moved;
}

/** Of the coming requests and resizes, lets `skip` succeed and then makes `count` fail. */
export function injectFaults(skip: u32, count: u32): void {
  const header = ProcessHeader.get();
  header.faultSkip = skip;
  header.faultCount = count;
}

function failsOnPurpose(header: ProcessHeader): bool {
  if (header.faultCount == 0) return false;
  if (header.faultSkip > 0) {
    header.faultSkip -= 1;
    return false;
  }
  header.faultCount -= 1;
  return true;
}

function areaSize(bytes: u32): u32 {
  const size = Align.max(bytes) + AREA_HEADER_BYTES;
  return max<u32>(size, AREA_MIN_BYTES);
}

function countBytes(header: ProcessHeader, added: u32, removed: u32): void {
  header.liveBytes += added - removed;
  if (header.liveBytes > header.peakLiveBytes) header.peakLiveBytes = header.liveBytes;
  const middle = largest();
  const untouched: u32 = middle === null ? 0 : middle.size;
  header.footprintBytes = <u32>(header.sentinel - FIRST_AREA) - untouched;
  if (header.footprintBytes > header.peakFootprintBytes) {
    header.peakFootprintBytes = header.footprintBytes;
  }
}

/** Takes the best fitting area and returns what is left of it to the tree. */
function take(size: u32): Area | null {
  const found = bestFit(size);
  const area = found === null ? growFor(size) : found;
  if (area === null) return null;
  remove(area);
  if (goesHigh(area, size)) return settleHigh(area, size);
  settle(area, area.size, size);
  return area;
}

/** Whether a block belongs at the high end of `area`, which is in no tree. */
function goesHigh(area: Area, size: u32): bool {
  if (size < LARGE_BYTES || (Align.floorLog2(size) & 1) != 0) return false;
  const header = ProcessHeader.get();
  if (header.sentinel != header.lastSentinel) return false;
  const other = largest();
  return other === null || area.size >= other.size;
}

/** As settle, at the high end; returns the area that was taken. */
function settleHigh(area: Area, size: u32): Area {
  const rest = area.size - size;
  if (rest < <u32>AREA_MIN_BYTES) {
    area.mark(area.size, TAKEN);
    return area;
  }
  area.mark(rest, 0);
  insert(area);
  area.above.mark(size, TAKEN);
  return area.above;
}

/**
 * Marks `area`, which is in no tree and spans `span` bytes, as taken to `size`; the rest is freed.
 */
function settle(area: Area, span: u32, size: u32): void {
  const rest = span - size;
  if (rest < <u32>AREA_MIN_BYTES) {
    area.mark(span, TAKEN);
    return;
  }
  area.mark(size, TAKEN);
  area.above.mark(rest, 0);
  insert(area.above);
}

/** Frees an area, merged with those beside it that are free. */
function release(area: Area): void {
  let start = area;
  let span = area.size;
  const above = area.above;
  if (!above.isTaken) {
    remove(above);
    span += above.size;
  }
  const below = Area.at(area.address - area.below);
  if (area.below != 0 && !below.isTaken) {
    remove(below);
    span += below.size;
    start = below;
  }
  start.mark(span, 0);
  insert(start);
}

/**
 * Finds the place for a block that needs another size. The topmost one moves down if it can, so
 * that the footprint stays small; any other stays where it is if it can.
 */
function refit(block: usize, oldBytes: u32, size: u32): usize {
  const area = Area.of(block);
  const grows = size > area.size;
  if (grows && area.isTopmost) {
    const moved = moveDown(block, oldBytes, size);
    if (moved != 0) return moved;
  }
  if (fitInPlace(area, size)) return block;
  const moved = moveDown(block, oldBytes, size);
  return moved != 0 ? moved : moveAway(block, oldBytes, size);
}

/** Shrinks the area, or lets it grow into a free area above; false if that does not suffice. */
function fitInPlace(area: Area, size: u32): bool {
  const above = area.above;
  let span = area.size;
  if (!above.isTaken) {
    span += above.size;
    if (span < size) return false;
    remove(above);
  } else if (span < size) return false;
  settle(area, span, size);
  return true;
}

/** Moves a block to the start of the free area below it, if both and the one above suffice. */
function moveDown(block: usize, oldBytes: u32, size: u32): usize {
  const area = Area.of(block);
  const below = Area.at(area.address - area.below);
  if (area.below == 0 || below.isTaken) return 0;
  const above = area.above;
  let span = below.size + area.size;
  if (!above.isTaken) span += above.size;
  if (span < size) return 0;
  if (!above.isTaken) remove(above);
  remove(below);
  memory.copy(below.block, block, oldBytes);
  settle(below, span, size);
  return below.block;
}

function moveAway(block: usize, oldBytes: u32, size: u32): usize {
  const area = take(size);
  if (area === null) return 0;
  memory.copy(area.block, block, oldBytes);
  release(Area.of(block));
  return area.block;
}

/** Lets the memory grow until its last area holds `size`; returns that area, or null. */
function growFor(size: u32): Area | null {
  const header = ProcessHeader.get();
  const last = Area.at(header.sentinel - Area.at(header.sentinel).below);
  const missing = last.isTaken ? size : size - last.size;
  const room = <u32>(header.lastSentinel - header.sentinel);
  if (missing > room) return null;
  let grown = Align.up(missing, WASM_PAGE_BYTES);
  const fraction = <u32>(header.sentinel - FIRST_AREA) >> GROWTH_FRACTION_SHIFT;
  if (grown < fraction) grown = min(Align.up(fraction, WASM_PAGE_BYTES), room);
  if (!reserve(header.sentinel + grown)) {
    grown = Align.up(missing, WASM_PAGE_BYTES);
    if (!reserve(header.sentinel + grown)) return null;
  }
  const added = Area.at(header.sentinel);
  header.sentinel += grown;
  added.mark(grown, TAKEN);
  Area.at(header.sentinel).mark(0, TAKEN);
  Area.at(header.sentinel).below = grown;
  release(added);
  return Area.at(header.sentinel - Area.at(header.sentinel).below);
}

/** Makes the page of a future sentinel exist. */
function reserve(sentinel: usize): bool {
  const pages = <i32>(sentinel >>> PAGE_SHIFT) + 1;
  const missing = pages - memory.size();
  return missing <= 0 || memory.grow(missing) >= 0;
}

/** Walks every area: O(areas × log areas). Returns STATUS_OK or the code of what is wrong. */
export function checkBlocks(): i32 {
  const header = ProcessHeader.get();
  let below: u32 = 0;
  let belowFree = false;
  let taken: u32 = 0;
  let area = Area.at(FIRST_AREA);
  while (area.address != header.sentinel) {
    const size = area.size;
    if (area.below != below || size < <u32>AREA_MIN_BYTES) return PANIC_AREA_TAG;
    if ((size & (AREA_HEADER_BYTES - 1)) != 0) return PANIC_AREA_TAG;
    if (size > <u32>(header.sentinel - area.address)) return PANIC_AREA_TAG;
    if (area.isTaken) taken += 1;
    else if (belowFree) return PANIC_AREA_UNMERGED;
    else if (!isInTree(area)) return PANIC_AREA_TREE;
    belowFree = !area.isTaken;
    below = size;
    area = area.above;
  }
  if (area.below != below || area.size != 0) return PANIC_AREA_TAG;
  return taken == header.liveBlocks ? STATUS_OK : PANIC_AREA_COUNT;
}
