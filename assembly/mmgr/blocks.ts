// The block provider: where contexts get their blocks, as PostgreSQL's get theirs from malloc.
//
// The memory is a row of areas without gaps. Each begins with a tag that gives its own size and
// that of the area below, so that an area which becomes free finds both neighbours and merges with
// them; when everything is given back, the row is one free area again. The free ones form a search
// tree ordered by size, then by address, whose lowest fitting member is taken: best fit, lowest
// address. The tree is a treap: it balances itself by priorities that are a hash of the address, so
// depth is logarithmic whatever the order of requests, and the same history gives the same places.
//
// Callers say how many bytes they return, so that nothing here shows in the numbers of a context:
// what an area holds beyond its request is neither counted nor reported.
//
//         tag              request, rounded up to 8
//       ┌────────┬────────┬──────────────────────────────┐
//       │ below  │ size|t │                              │  taken (t = 1)
//       ├────────┼────────┼────────┬───────┬─────────────┤
//       │ below  │ size|0 │ left   │ right │             │  free
//       └────────┴────────┴────────┴───────┴─────────────┘
//       0        4        8        12      16
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
import { ProcessHeader } from "./header";
import { Shadow } from "./shadow";

const TAKEN: u32 = 1;
const PAGE_SHIFT: u32 = 16;
/** The tag of the lowest area. */
const FIRST_AREA: usize = PROCESS_HEADER_BYTES;
/** What a block header adds to the largest request. */
const HEADER_ROOM: u32 = 64;

/** The tag before an area; the links are there only while it is free. */
@unmanaged
class Area {
  /** Size of the area below, tag included; 0 for the lowest. */
  below: u32;
  /** Own size, tag included, a multiple of 8; bit 0 is set while taken. */
  private sizeAndTaken: u32;
  /** Free areas that are smaller, or as large and lower. */
  left: Area | null;
  /** Free areas that are larger, or as large and higher. */
  right: Area | null;

  @inline static at(address: usize): Area {
    return changetype<Area>(address);
  }

  /** The area whose bytes a caller holds. */
  @inline static of(block: usize): Area {
    return changetype<Area>(block - AREA_HEADER_BYTES);
  }

  @inline get address(): usize {
    return changetype<usize>(this);
  }

  @inline get block(): usize {
    return this.address + AREA_HEADER_BYTES;
  }

  @inline get size(): u32 {
    return this.sizeAndTaken & ~TAKEN;
  }

  @inline get isTaken(): bool {
    return (this.sizeAndTaken & TAKEN) != 0;
  }

  @inline get above(): Area {
    return changetype<Area>(this.address + this.size);
  }

  /** Whether nothing is taken above. */
  @inline get isTopmost(): bool {
    const above = this.above;
    const end = above.isTaken ? above : above.above;
    return end.address == ProcessHeader.get().sentinel;
  }

  /** Writes the tag and tells the area above how large this one is. */
  @inline mark(size: u32, taken: u32): void {
    this.sizeAndTaken = size | taken;
    Area.at(this.address + size).below = size;
  }

  /** Order of the tree. */
  @inline isBefore(other: Area): bool {
    const own = this.size;
    const others = other.size;
    return own < others || (own == others && this.address < other.address);
  }
}

if (offsetof<Area>("left") != AREA_HEADER_BYTES) ERROR("the links lie behind the tag");
if (offsetof<Area>() != AREA_MIN_BYTES) ERROR("the smallest area holds the links");

/** A place that holds a link of the tree: the root or a member's left or right. */
@unmanaged
class Link {
  area: Area | null;

  @inline static root(): Link {
    return changetype<Link>(
      changetype<usize>(ProcessHeader.get()) + offsetof<ProcessHeader>("freeRoot"),
    );
  }

  @inline static left(area: Area): Link {
    return changetype<Link>(area.address + offsetof<Area>("left"));
  }

  @inline static right(area: Area): Link {
    return changetype<Link>(area.address + offsetof<Area>("right"));
  }
}

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
  const last = Area.at(header.sentinel - Area.at(header.sentinel).below);
  const end = last.isTaken ? header.sentinel : last.address;
  header.footprintBytes = <u32>(end - FIRST_AREA);
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
  settle(area, area.size, size);
  return area;
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

/** The smallest free area of at least `size`, the lowest among equals. */
function bestFit(size: u32): Area | null {
  let best: Area | null = null;
  let area = Link.root().area;
  // Ends at a leaf: the tree is finite and each step descends.
  while (area !== null) {
    if (area.size < size) area = area.right;
    else {
      best = area;
      area = area.left;
    }
  }
  return best;
}

/** Balance of the tree: a hash of the address, the larger the nearer to the root. */
function priority(area: Area): u32 {
  let hash = <u32>area.address;
  hash = (hash ^ (hash >>> 16)) * 0x85ebca6b;
  hash = (hash ^ (hash >>> 13)) * 0xc2b2ae35;
  return hash ^ (hash >>> 16);
}

/** Puts a free area with a valid tag into the tree. */
function insert(area: Area): void {
  const own = priority(area);
  let link = Link.root();
  let other = link.area;
  while (other !== null && priority(other) >= own) {
    link = area.isBefore(other) ? Link.left(other) : Link.right(other);
    other = link.area;
  }
  link.area = area;
  // What hung here is split: everything before the new member goes left of it, the rest right.
  let before = Link.left(area);
  let after = Link.right(area);
  while (other !== null) {
    if (other.isBefore(area)) {
      before.area = other;
      before = Link.right(other);
      other = before.area;
    } else {
      after.area = other;
      after = Link.left(other);
      other = after.area;
    }
  }
  before.area = null;
  after.area = null;
}

/** Takes a free area out of the tree; its tag is as it was when it was inserted. */
function remove(area: Area): void {
  let link = Link.root();
  let other = link.area;
  while (other !== null && other !== area) {
    link = area.isBefore(other) ? Link.left(other) : Link.right(other);
    other = link.area;
  }
  if (CHECKING) invariant(other === area, PANIC_AREA_TREE);
  let before = area.left;
  let after = area.right;
  while (before !== null && after !== null) {
    if (priority(before) >= priority(after)) {
      link.area = before;
      link = Link.right(before);
      before = link.area;
    } else {
      link.area = after;
      link = Link.left(after);
      after = link.area;
    }
  }
  link.area = before === null ? after : before;
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

function isInTree(area: Area): bool {
  let other = Link.root().area;
  while (other !== null && other !== area) {
    other = area.isBefore(other) ? other.left : other.right;
  }
  return other === area;
}
