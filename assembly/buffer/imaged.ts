// Which blocks are known to have their old image in a journal, also when their page has left the
// pool: without it a block that is evicted, read and changed again would be recorded once more at
// each eviction, and a journal would grow with the work instead of with the data.
//
//   entry, 16 B      0  file     4  block     8  even interval    12  odd interval
//   place            hash of the page, modulo their number; one page a place, the last one counts
//
// It forgets when two pages meet in one place, and that is all it may do wrong: a record more, of
// which the first counts. What it remembers is true: entries are read and written under the journal
// lock alone, and one that gets another page loses its intervals before its tag, so that a death in
// between leaves one that knows nothing. The number of a journal never comes again.
//
// Locks: the journal lock is held by every caller.
// PostgreSQL: none; a page's LSN tells there whether its image has been logged

import { Hash } from "../common/hash";
import { Region } from "../ipc/region";

const ENTRY_SHIFT: u32 = 4;

@unmanaged
export class Imaged {
  private file: u32;
  private block: u32;
  private even: u32;
  private odd: u32;

  @inline private static at(file: u32, block: u32): Imaged {
    const region = Region.get();
    const place = <usize>(Hash.tag(file, block) & region.imagedMask);
    return changetype<Imaged>(region.imaged + (place << ENTRY_SHIFT));
  }

  /** Whether the journal of an interval is known to have the old image of a page. */
  static has(file: u32, block: u32, interval: u32): bool {
    const entry = Imaged.at(file, block);
    if (entry.file != file || entry.block != block) return false;
    return ((interval & 1) == 0 ? entry.even : entry.odd) == interval;
  }

  /** Remembers that it has. */
  static note(file: u32, block: u32, interval: u32): void {
    const entry = Imaged.at(file, block);
    if (entry.file != file || entry.block != block) {
      entry.even = 0;
      entry.odd = 0;
      entry.file = file;
      entry.block = block;
    }
    if ((interval & 1) == 0) entry.even = interval;
    else entry.odd = interval;
  }
}

if (offsetof<Imaged>() != 1 << ENTRY_SHIFT) ERROR("an entry is sixteen bytes");
