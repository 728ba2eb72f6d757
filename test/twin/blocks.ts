// The block provider of assembly/mmgr/blocks.ts once more, in plain TypeScript over an array of
// words. It predicts the address of every block. It imports constants alone: an oracle that shares
// code with its subject proves nothing. Addresses and sizes stay below 2 GB here.

import {
  AREA_HEADER_BYTES,
  AREA_MIN_BYTES,
  MAX_ALLOC_HUGE_BYTES,
  PROCESS_HEADER_BYTES,
} from "../../assembly/common/constants.ts";

const TAKEN = 1;
/** Areas from this size on go to either end of the largest free area, by their power of two. */
const LARGE_BYTES = 32768;
const LEFT = 8;
const RIGHT = 12;
/** Stands for the link that is the root. */
const ROOT = 0;

/** A row of areas, best fit with the lowest address, merging what is given back. */
export class BlockTwin {
  readonly words: Int32Array;
  readonly #sentinel: number;
  #root = 0;
  requests = 0;
  returns = 0;
  resizes = 0;
  liveBytes = 0;
  liveBlocks = 0;
  peakLiveBytes = 0;
  footprintBytes = 0;
  peakFootprintBytes = 0;
  #faultSkip = 0;
  #faultCount = 0;

  /** @param bytes - of the whole memory, a multiple of 8 below 2 GB */
  constructor(bytes: number) {
    this.words = new Int32Array(bytes >> 2);
    this.#sentinel = bytes - AREA_HEADER_BYTES;
    this.#mark(this.#sentinel, 0, TAKEN);
    this.#mark(PROCESS_HEADER_BYTES, this.#sentinel - PROCESS_HEADER_BYTES, 0);
    this.#insert(PROCESS_HEADER_BYTES);
  }

  /** Address of a block, or 0. */
  request(bytes: number): number {
    if (this.#fails() || bytes > MAX_ALLOC_HUGE_BYTES) return 0;
    const area = this.#take(areaSize(bytes));
    if (area === 0) return 0;
    this.requests += 1;
    this.liveBlocks += 1;
    this.#count(bytes);
    return area + AREA_HEADER_BYTES;
  }

  release(block: number, bytes: number): void {
    this.#free(block - AREA_HEADER_BYTES);
    this.returns += 1;
    this.liveBlocks -= 1;
    this.#count(-bytes);
  }

  /** New address of the block, or 0, and then it is as before. */
  resize(block: number, oldBytes: number, newBytes: number): number {
    if (this.#fails() || newBytes > MAX_ALLOC_HUGE_BYTES) return 0;
    const size = areaSize(newBytes);
    const area = block - AREA_HEADER_BYTES;
    const moved = this.#refit(area, oldBytes, size);
    if (moved === 0) return 0;
    this.resizes += 1;
    this.#count(newBytes - oldBytes);
    return moved + AREA_HEADER_BYTES;
  }

  injectFaults(skip: number, count: number): void {
    this.#faultSkip = skip;
    this.#faultCount = count;
  }

  #fails(): boolean {
    if (this.#faultCount === 0) return false;
    if (this.#faultSkip > 0) {
      this.#faultSkip -= 1;
      return false;
    }
    this.#faultCount -= 1;
    return true;
  }

  #count(bytes: number): void {
    this.liveBytes += bytes;
    if (this.liveBytes > this.peakLiveBytes) this.peakLiveBytes = this.liveBytes;
    this.footprintBytes = this.#sentinel - PROCESS_HEADER_BYTES - this.#largest();
    if (this.footprintBytes > this.peakFootprintBytes) {
      this.peakFootprintBytes = this.footprintBytes;
    }
  }

  #below(area: number): number {
    return this.words[area >> 2] as number;
  }

  #size(area: number): number {
    return (this.words[(area + 4) >> 2] as number) & ~TAKEN;
  }

  #isTaken(area: number): boolean {
    return ((this.words[(area + 4) >> 2] as number) & TAKEN) !== 0;
  }

  #mark(area: number, size: number, taken: number): void {
    this.words[(area + 4) >> 2] = size | taken;
    if (size !== 0) this.words[(area + size) >> 2] = size;
  }

  #take(size: number): number {
    let area = 0;
    let other = this.#root;
    while (other !== 0) {
      if (this.#size(other) >= size) {
        area = other;
        other = this.#link(other, LEFT);
      } else other = this.#link(other, RIGHT);
    }
    if (area === 0) return 0;
    this.#remove(area);
    if (this.#goesHigh(area, size)) return this.#settleHigh(area, size);
    this.#settle(area, this.#size(area), size);
    return area;
  }

  #goesHigh(area: number, size: number): boolean {
    if (size < LARGE_BYTES || Math.clz32(size) % 2 === 0) return false;
    return this.#size(area) >= this.#largest();
  }

  #settleHigh(area: number, size: number): number {
    const rest = this.#size(area) - size;
    if (rest < AREA_MIN_BYTES) {
      this.#mark(area, this.#size(area), TAKEN);
      return area;
    }
    this.#mark(area, rest, 0);
    this.#insert(area);
    this.#mark(area + rest, size, TAKEN);
    return area + rest;
  }

  /** Size of the largest free area. */
  #largest(): number {
    let size = 0;
    for (let area = this.#root; area !== 0; area = this.#link(area, RIGHT)) size = this.#size(area);
    return size;
  }

  #settle(area: number, span: number, size: number): void {
    if (span - size < AREA_MIN_BYTES) {
      this.#mark(area, span, TAKEN);
      return;
    }
    this.#mark(area, size, TAKEN);
    this.#mark(area + size, span - size, 0);
    this.#insert(area + size);
  }

  #free(area: number): void {
    let start = area;
    let end = area + this.#size(area);
    if (!this.#isTaken(end)) {
      this.#remove(end);
      end += this.#size(end);
    }
    const below = this.#below(area);
    if (below !== 0 && !this.#isTaken(area - below)) {
      start = area - below;
      this.#remove(start);
    }
    this.#mark(start, end - start, 0);
    this.#insert(start);
  }

  /** The topmost area moves down if it can; any other stays where it is if it can. */
  #refit(area: number, bytes: number, size: number): number {
    const above = area + this.#size(area);
    const end = this.#isTaken(above) ? above : above + this.#size(above);
    const moved =
      size > above - area && end === this.#sentinel && this.#moveDown(area, bytes, size);
    if (moved) return moved;
    if (this.#fitInPlace(area, size)) return area;
    return this.#moveDown(area, bytes, size) || this.#moveAway(area, bytes, size);
  }

  #fitInPlace(area: number, size: number): boolean {
    const above = area + this.#size(area);
    const room = this.#isTaken(above) ? 0 : this.#size(above);
    if (this.#size(area) + room < size) return false;
    if (room > 0) this.#remove(above);
    this.#settle(area, this.#size(area) + room, size);
    return true;
  }

  #moveDown(area: number, bytes: number, size: number): number {
    const below = area - this.#below(area);
    if (below === area || this.#isTaken(below)) return 0;
    const above = area + this.#size(area);
    const room = this.#isTaken(above) ? 0 : this.#size(above);
    const span = above + room - below;
    if (span < size) return 0;
    if (room > 0) this.#remove(above);
    this.#remove(below);
    this.#copy(area, below, bytes);
    this.#settle(below, span, size);
    return below;
  }

  #moveAway(area: number, bytes: number, size: number): number {
    const moved = this.#take(size);
    if (moved === 0) return 0;
    this.#copy(area, moved, bytes);
    this.#free(area);
    return moved;
  }

  #copy(from: number, to: number, bytes: number): void {
    const first = (from + AREA_HEADER_BYTES) >> 2;
    this.words.copyWithin((to + AREA_HEADER_BYTES) >> 2, first, first + (bytes >> 2));
  }

  #link(area: number, side: number): number {
    return area === ROOT ? this.#root : (this.words[(area + side) >> 2] as number);
  }

  #setLink(area: number, side: number, to: number): void {
    if (area === ROOT) this.#root = to;
    else this.words[(area + side) >> 2] = to;
  }

  #isBefore(area: number, other: number): boolean {
    const difference = this.#size(area) - this.#size(other);
    return difference < 0 || (difference === 0 && area < other);
  }

  #insert(area: number): void {
    const own = priority(area);
    let parent = ROOT;
    let side = LEFT;
    let other = this.#root;
    while (other !== 0 && priority(other) >= own) {
      parent = other;
      side = this.#isBefore(area, other) ? LEFT : RIGHT;
      other = this.#link(parent, side);
    }
    this.#setLink(parent, side, area);
    this.#split(area, other);
  }

  /** Hangs the members of a subtree left and right of the new member above them. */
  #split(area: number, subtree: number): void {
    let before = area;
    let beforeSide = LEFT;
    let after = area;
    let afterSide = RIGHT;
    let other = subtree;
    while (other !== 0) {
      if (this.#isBefore(other, area)) {
        this.#setLink(before, beforeSide, other);
        before = other;
        beforeSide = RIGHT;
        other = this.#link(other, RIGHT);
      } else {
        this.#setLink(after, afterSide, other);
        after = other;
        afterSide = LEFT;
        other = this.#link(other, LEFT);
      }
    }
    this.#setLink(before, beforeSide, 0);
    this.#setLink(after, afterSide, 0);
  }

  #remove(area: number): void {
    let parent = ROOT;
    let side = LEFT;
    let other = this.#root;
    while (other !== area) {
      parent = other;
      side = this.#isBefore(area, other) ? LEFT : RIGHT;
      other = this.#link(parent, side);
    }
    let before = this.#link(area, LEFT);
    let after = this.#link(area, RIGHT);
    while (before !== 0 && after !== 0) {
      if (priority(before) >= priority(after)) {
        this.#setLink(parent, side, before);
        parent = before;
        side = RIGHT;
        before = this.#link(before, RIGHT);
      } else {
        this.#setLink(parent, side, after);
        parent = after;
        side = LEFT;
        after = this.#link(after, LEFT);
      }
    }
    this.#setLink(parent, side, before === 0 ? after : before);
  }
}

function areaSize(bytes: number): number {
  return Math.max(((bytes + 7) & ~7) + AREA_HEADER_BYTES, AREA_MIN_BYTES);
}

function priority(area: number): number {
  let hash = area;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
