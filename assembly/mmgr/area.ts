// An area of the block provider (blocks.ts): a run of bytes, taken or free, behind a tag that says
// how large it is and how large the one below. The areas of a memory leave no gap.
//
//         tag              request, rounded up to 8
//       ┌────────┬────────┬──────────────────────────────┐
//       │ below  │ size|t │                              │  taken (t = 1)
//       ├────────┼────────┼────────┬───────┬─────────────┤
//       │ below  │ size|0 │ left   │ right │             │  free
//       └────────┴────────┴────────┴───────┴─────────────┘
//       0        4        8        12      16
//
// PostgreSQL: none; stands in for malloc

import { AREA_HEADER_BYTES, AREA_MIN_BYTES } from "../common/constants";
import { ProcessHeader } from "./header";

/** Bit of a tag: the area is a caller's. */
export const TAKEN: u32 = 1;

/** The tag before an area; the links are there only while it is free. */
@unmanaged
export class Area {
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
