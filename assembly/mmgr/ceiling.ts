// Asks leave before a context takes a block, if it lies below a ceiling.
//
// Allocations never look: a ceiling is about blocks, and blocks are asked for in few places, all of
// them off the common path. There one byte of the header says whether this context or one above it
// has a ceiling. Only then is the host asked, which knows the limits: it is told by the two words
// `asking` and `asked`, and refuses by clearing the second. A host that does not know of ceilings
// changes nothing and so agrees to everything.
//
// PostgreSQL: none; memory limits there are kept by the callers, see work_mem

import { ADMISSION_CALL } from "../common/constants";
import { callbacks } from "../common/host";
import { requestBlock } from "./blocks";
import { MemoryContext } from "./context";
import { ProcessHeader } from "./header";

/** As requestBlock, for a context: 0 also when a ceiling forbids it. */
export function requestFor(context: MemoryContext, bytes: u32): usize {
  return admits(context, bytes) ? requestBlock(bytes) : 0;
}

/** Whether a context may take `bytes` more. */
export function admits(context: MemoryContext, bytes: u32): bool {
  if (!context.guarded) return true;
  const header = ProcessHeader.get();
  header.asking = context.address;
  header.asked = bytes;
  callbacks(ADMISSION_CALL);
  return header.asked != 0;
}
