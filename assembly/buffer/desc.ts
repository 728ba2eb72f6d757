// One descriptor per shared buffer; every backend sees the same array.
//
// `state` packs flags, usage and the number of the backend that claims the frame or does its I/O,
// so that each step is one compare-and-swap. Pins are not here: they are hold words (hold.ts).
//
//    31      24 23                13 12   10 9            0
//   ┌──────────┬────────────────────┬───────┬──────────────┐
//   │     0    │        flags       │ usage │ owner + 1, 0 │   owner ≠ 0 ⇔ CLAIM or IO, never both
//   └──────────┴────────────────────┴───────┴──────────────┘
//
// `file` and `block` are the tag. They are written only under CLAIM, read plainly as a hint and
// atomically as a decision. `next` links the chain of the buffer table: buffer + 1, or 0.
//
// `changed` is the number of the interval between checkpoints in which the page was changed last
// (change.ts). Written by whoever has the content lock exclusively, or has claimed the frame.
//
// PostgreSQL: src/include/storage/buf_internals.h, BufferDesc

import { Atomic } from "../common/atomics";
import {
  BLOCK_BYTES,
  BLOCK_SHIFT,
  FORK_BITS,
  MAX_USAGE,
  OWNER_BITS,
  OWNER_MASK,
  STATE_CHECKPOINT_NEEDED,
  STATE_CLAIM,
  STATE_IO,
  STATE_TAG_VALID,
  USAGE_BITS,
  USAGE_MASK,
  USAGE_ONE,
  USAGE_SHIFT,
} from "../common/constants";
import { Region } from "../ipc/region";
import { Self } from "../ipc/self";

const DESC_SHIFT: u32 = 5; // 32 bytes: two share a cache line

@unmanaged
export class BufferDesc {
  private state: u32;
  /** Next in the chain, written only under the partition lock. */
  private next: u32;
  /** Tag: relation << 2 | fork. */
  file: u32;
  /** Tag: block number. */
  block: u32;
  /** The content lock's owner word (content.ts). */
  private content: u32;
  /** Interval of the last change; 0 before the first. */
  changed: u32;

  @inline static at(buffer: u32): BufferDesc {
    return changetype<BufferDesc>(Region.get().descriptors + ((<usize>buffer) << DESC_SHIFT));
  }

  @inline getState(): u32 {
    return Atomic.load(this.address(offsetof<BufferDesc>("state")));
  }

  /** Stores `next` if the word still equals `seen`; true on success. */
  @inline swapState(seen: u32, next: u32): bool {
    return Atomic.swap(this.address(offsetof<BufferDesc>("state")), seen, next);
  }

  /** For the backend that owns the frame by a CLAIM past its commit, or commits the install. */
  @inline setState(next: u32): void {
    Atomic.store(this.address(offsetof<BufferDesc>("state")), next);
  }

  /** Sets and clears bits whatever the rest of the word does meanwhile; returns the word before. */
  changeState(clear: u32, set: u32): u32 {
    while (true) {
      const seen = this.getState();
      if (this.swapState(seen, (seen & ~clear) | set)) return seen;
    }
  }

  @inline stateAddress(): usize {
    return this.address(offsetof<BufferDesc>("state"));
  }

  @inline contentAddress(): usize {
    return this.address(offsetof<BufferDesc>("content"));
  }

  @inline nextAddress(): usize {
    return this.address(offsetof<BufferDesc>("next"));
  }

  /** A page's identity in one word: what `looksLike` and `isTagged` compare. */
  @inline static tagOf(file: u32, block: u32): u64 {
    return ((<u64>block) << 32) | file;
  }

  /** Whether the tag is this one, read as a hint. */
  @inline looksLike(tag: u64): bool {
    return load<u64>(changetype<usize>(this), offsetof<BufferDesc>("file")) == tag;
  }

  /** Whether the tag is this one, read as a decision. */
  @inline isTagged(tag: u64): bool {
    return Atomic.load64(this.address(offsetof<BufferDesc>("file"))) == tag;
  }

  /** Writes the tag of a frame that this backend has claimed; nothing is known of its page yet. */
  @inline setTag(file: u32, block: u32): void {
    Atomic.storePlain(this.address(offsetof<BufferDesc>("file")), file);
    Atomic.storePlain(this.address(offsetof<BufferDesc>("block")), block);
    this.changed = 0;
  }

  /** One more use, up to five; losing a race for it does not matter. */
  @inline bumpUsage(seen: u32): void {
    if ((seen & USAGE_MASK) != MAX_USAGE << USAGE_SHIFT) this.swapState(seen, seen + USAGE_ONE);
  }

  /** A use that does not make a page dearer than a first one: that of a scan with a ring. */
  @inline touchUsage(seen: u32): void {
    if ((seen & USAGE_MASK) == 0) this.swapState(seen, seen + USAGE_ONE);
  }

  @inline static frame(buffer: u32): usize {
    return Region.get().blocks + ((<usize>buffer) << BLOCK_SHIFT);
  }

  @inline private address(offset: usize): usize {
    return changetype<usize>(this) + offset;
  }
}

/** Who has CLAIM or IO in a state word: backend + 1, or 0. */
export class State {
  @inline static owner(state: u32): u32 {
    return state & OWNER_MASK;
  }

  @inline static isMine(state: u32): bool {
    return (state & OWNER_MASK) == Self.owner();
  }
}

if (USAGE_SHIFT != OWNER_BITS) ERROR("usage must begin above the owner");
if (USAGE_ONE != 1 << USAGE_SHIFT) ERROR("one use must be the lowest bit of usage");
if (USAGE_MASK != ((1 << USAGE_BITS) - 1) << USAGE_SHIFT) ERROR("usage mask and width differ");
if (STATE_CLAIM != 1 << (OWNER_BITS + USAGE_BITS)) ERROR("flags must begin above usage");
if (STATE_CHECKPOINT_NEEDED <= STATE_TAG_VALID || STATE_IO <= STATE_CLAIM) ERROR("flags overlap");
if (BLOCK_BYTES != 1 << BLOCK_SHIFT) ERROR("a frame is one block");
if (FORK_BITS != 2) ERROR("the file word packs four forks");
if (offsetof<BufferDesc>() > <usize>(1 << DESC_SHIFT)) ERROR("BufferDesc outgrew its stride");
if (offsetof<BufferDesc>("block") != offsetof<BufferDesc>("file") + 4) ERROR("a tag is one word");
if (offsetof<BufferDesc>("file") % 8 != 0) ERROR("a tag must be aligned");
