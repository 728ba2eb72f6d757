// Deleted general contexts that wait for reuse, so that creating one of a usual size is a pop.
//
// Two lists, for contexts that begin with 8 kB and with 1 kB, whatever their largest block:
// PostgreSQL does not look at it, and so a recycled context may keep the class limit of another.
// Header and keeper of a waiting context stay taken and appear in no statistics; its kind is 0 and
// its keeper unsigned, so that neither it nor its old chunks are taken for living ones. A list
// that is full is emptied as a whole before the next one joins.
//
// PostgreSQL: src/backend/utils/mmgr/aset.c, AllocSetFreeList, context_freelists

import {
  ASET_DEFAULT_INIT_BYTES,
  ASET_MAX_FREE_CONTEXTS,
  ASET_SMALL_INIT_BYTES,
} from "../common/constants";
import { AllocSet } from "./aset";
import { returnBlock } from "./blocks";
import { ProcessHeader } from "./header";

/** Which list a context will join: the number of a list, or KEEP_NONE. */
const KEEP_DEFAULT: i32 = 0;
const KEEP_SMALL: i32 = 1;
export const KEEP_NONE: i32 = -1;
/** Two words: the first waiting context, linked through `nextSibling`, and how many wait. */
const LIST_SHIFT: u32 = 3;

@unmanaged
class KeptList {
  first: AllocSet | null;
  count: u32;

  @inline static at(keep: i32): KeptList {
    const lists = changetype<usize>(ProcessHeader.get()) + offsetof<ProcessHeader>("keptDefault");
    return changetype<KeptList>(lists + ((<usize>keep) << LIST_SHIFT));
  }
}

if (offsetof<KeptList>() != 1 << LIST_SHIFT) ERROR("a list is two words");

/** The list for contexts of such sizes. */
export function keepListFor(minSize: u32, init: u32): i32 {
  if (minSize != 0) return KEEP_NONE;
  if (init == ASET_DEFAULT_INIT_BYTES) return KEEP_DEFAULT;
  return init == ASET_SMALL_INIT_BYTES ? KEEP_SMALL : KEEP_NONE;
}

/** The context that joined a list last, taken from it; null if none waits. */
export function takeKept(keep: i32): AllocSet | null {
  if (keep == KEEP_NONE) return null;
  const list = KeptList.at(keep);
  const set = list.first;
  if (set === null) return null;
  list.first = changetype<AllocSet | null>(changetype<usize>(set.nextSibling));
  list.count -= 1;
  return set;
}

/** Lets a reset context wait on its list. */
export function keepContext(set: AllocSet): void {
  const list = KeptList.at(set.keepList);
  if (list.count >= <u32>ASET_MAX_FREE_CONTEXTS) returnAll(list);
  set.nextSibling = list.first;
  list.first = set;
  list.count += 1;
}

function returnAll(list: KeptList): void {
  let set = list.first;
  while (set !== null) {
    const next = changetype<AllocSet | null>(changetype<usize>(set.nextSibling));
    returnContext(set);
    set = next;
  }
  list.first = null;
  list.count = 0;
}

/** Gives header and keeper back to the block provider. */
export function returnContext(set: AllocSet): void {
  returnBlock(set.address, <u32>(set.keeper.end - set.address));
}
