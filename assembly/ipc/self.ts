// Who this instance is. The module's only mutable globals: everything else stands in shared memory,
// where a backend's death cannot take it away.

import { SLOT_BYTES } from "../common/constants";
import { Region } from "./region";

/** Number of the backend that this instance belongs to; 0 is the owner of the region. */
export let me: u32 = 0;
/** Address of its column: counters first, then one hold word a buffer. */
export let column: usize = 0;

export class Self {
  /** Makes this instance act for backend `slot`. */
  static become(slot: u32): void {
    const region = Region.get();
    me = slot;
    column = region.holds + slot * region.columnBytes;
  }

  /** What stands in an owner word for this backend. */
  @inline static owner(): u32 {
    return me + 1;
  }

  @inline static slotAddress(): usize {
    return Region.get().slots + me * SLOT_BYTES;
  }
}
