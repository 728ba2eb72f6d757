// What backends did, in numbers: rows of counters in each backend's column, their sums for those
// that are gone, and the statistics of checkpoints and of the background writer.
//
//   column of a backend    normal · bulkread · bulkwrite · vacuum · temp     IO_ROW_BYTES each
//   departed               the same five rows for each kind of backend
//   row                    twelve u64 · four f64, milliseconds
//
// A backend counts in its own column with plain loads and stores (hold.ts); readers see whole words
// and may be one behind. Where several may count, each addition is atomic.
//
// PostgreSQL: src/backend/utils/activity/pgstat_io.c, pgstat_checkpointer.c, pgstat_bgwriter.c

import { Atomic } from "../common/atomics";
import {
  BACKEND_CLIENT,
  BACKEND_KINDS,
  COLUMN_HEADER_BYTES,
  COUNTER_FSYNC_TIME,
  COUNTER_READ_TIME,
  COUNTERS_BYTES,
  IO_CONTEXTS,
  IO_ROW_BYTES,
  IO_ROW_SHIFT,
} from "../common/constants";
import { Region } from "../ipc/region";
import { column } from "../ipc/self";
import { Slot } from "../ipc/slots";

export class Counters {
  /** Adds milliseconds to a time of this backend. */
  static time(context: u32, counter: u32, milliseconds: f64): void {
    const at = column + ((<usize>context) << IO_ROW_SHIFT) + counter;
    store<f64>(at, load<f64>(at) + milliseconds);
  }

  /** Adds to a number that all backends share. */
  @inline static addShared(statistic: u32, times: u32): void {
    Atomic.add64(Region.get().statistics + statistic, times);
  }

  /** Adds milliseconds to a time that all backends share. */
  @inline static addSharedTime(statistic: u32, milliseconds: f64): void {
    Counters.addTime(Region.get().statistics + statistic, milliseconds);
  }

  /** Adds the counters of a backend that goes to those of its kind, and clears them. */
  static addDeparted(slot: u32): void {
    const region = Region.get();
    const from = region.holds + slot * region.columnBytes;
    const kind = Slot.at(slot).getKind();
    const to =
      region.departed + (kind < <u32>BACKEND_KINDS ? kind : BACKEND_CLIENT) * COUNTERS_BYTES;
    for (let at: u32 = 0; at < <u32>COUNTERS_BYTES; at += sizeof<u64>()) {
      const isTime = at % IO_ROW_BYTES >= <u32>COUNTER_READ_TIME;
      if (isTime) Counters.addTime(to + at, load<f64>(from + at));
      else Atomic.add64(to + at, load<u64>(from + at));
    }
    memory.fill(from, 0, COLUMN_HEADER_BYTES);
  }

  /** Ends because a failed exchange means that another addition was made. */
  private static addTime(at: usize, milliseconds: f64): void {
    while (true) {
      const seen = Atomic.load64(at);
      const sum = reinterpret<f64>(seen) + milliseconds;
      if (Atomic.swap64(at, seen, reinterpret<u64>(sum))) return;
    }
  }
}

if (1 << IO_ROW_SHIFT != IO_ROW_BYTES) ERROR("a row is as long as its shift says");
if (IO_CONTEXTS * IO_ROW_BYTES != COUNTERS_BYTES) ERROR("rows must fill the counters");
if (COUNTER_FSYNC_TIME + 8 != IO_ROW_BYTES) ERROR("counters must fill a row");
