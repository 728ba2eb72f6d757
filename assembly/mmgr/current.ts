// The context that callers without one of their own allocate in, as PostgreSQL's palloc does.
//
// One word an instance, so that another module's palloc stays in wasm. A context that is deleted
// while it, or one below it, is current hands the role to its parent: an address that is in no tree
// is never current.
//
// PostgreSQL: src/include/utils/palloc.h, CurrentMemoryContext, MemoryContextSwitchTo

import { MemoryContext } from "./context";

let current: usize = 0;

/** Address of the current context; 0 until one was chosen. */
export function currentContext(): usize {
  return current;
}

/** Makes a context the current one; the one it was. */
export function switchContext(context: usize): usize {
  const previous = current;
  current = context;
  return previous;
}

/** `context` and all below it are about to go. */
export function leave(context: MemoryContext): void {
  if (isCurrentIn(context)) current = changetype<usize>(context.parent);
}

/** All below `context` is about to go. */
export function leaveChildren(context: MemoryContext): void {
  if (isCurrentIn(context)) current = context.address;
}

function isCurrentIn(top: MemoryContext): bool {
  let context = changetype<MemoryContext | null>(current);
  while (context !== null && context !== top) context = context.parent;
  return context !== null;
}
