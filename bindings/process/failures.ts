/**
 * Why a request failed, as an error in PostgreSQL's wording: told apart here, outside wasm, which
 * answers 0 to all of them.
 */

import {
  ALLOC_HUGE,
  ALLOC_NO_OOM,
  ALLOC_ZERO,
  CONTEXT_PARENT_OFFSET,
  MAX_ALLOC_BYTES,
  MAX_ALLOC_HUGE_BYTES,
} from "../../assembly/common/constants.ts";
import { InvalidSizeError, OutOfMemoryError } from "../abi/errors.ts";
import { admit, takeRefusal } from "./ceiling.ts";
import type { ProcessCore } from "./core.ts";
import { statsText } from "./stats-text.ts";

/** Sum of all ALLOC_ flags. */
const ALL_FLAGS = ALLOC_HUGE | ALLOC_NO_OOM | ALLOC_ZERO;

/** What to throw for a size that is not the one of a slab. @internal */
export function wrongSlabSize(bytes: number, chunkSize: number): InvalidSizeError {
  const message = `unexpected alloc chunk size ${bytes} (expected ${chunkSize})`;
  return new InvalidSizeError(bytes, chunkSize, message);
}

/** Rejects what is no sum of ALLOC_ flags. @internal */
export function checkFlags(flags: number): void {
  if ((flags & ALL_FLAGS) !== flags) {
    throw new RangeError(`unknown allocation flags ${flags}`);
  }
}

/** Largest request that these flags allow. @internal */
export function limitOf(flags: number): number {
  return (flags & ALLOC_HUGE) === 0 ? MAX_ALLOC_BYTES : MAX_ALLOC_HUGE_BYTES;
}

/**
 * What to throw for a size that is wrong, too large, or not to be had; undefined where memory is
 * exhausted and the flags ask for 0 then.
 *
 * @internal
 */
export function requestFailure(
  core: ProcessCore,
  context: number,
  bytes: number,
  flags = 0,
): Error | undefined {
  if (!Number.isInteger(bytes)) {
    return new TypeError(`a request must be a whole number of bytes, not ${String(bytes)}`);
  }
  if (bytes < 0) return new RangeError(`a request cannot be negative: ${bytes}`);
  const limit = limitOf(flags);
  if (bytes > limit) return new InvalidSizeError(bytes, limit);
  const forbidden = takeRefusal(core, bytes);
  if ((flags & ALLOC_NO_OOM) !== 0) return undefined;
  if (forbidden !== undefined) return forbidden;
  const statistics = treeStatistics(core, context);
  return reported(core, new OutOfMemoryError(bytes, core.nameAt(context), { statistics }));
}

/** @throws LimitExceededError if a context with a first block of `bytes` must not be. @internal */
export function demandAdmission(core: ProcessCore, parent: number, bytes: number): void {
  if (parent === 0 || admit(core, parent, bytes)) return;
  const forbidden = takeRefusal(core, bytes);
  if (forbidden !== undefined) throw forbidden;
}

/** What to throw when there is no memory for the first block of a context. @internal */
export function creationFailure(
  core: ProcessCore,
  parent: number,
  name: string,
  bytes: number,
): OutOfMemoryError {
  const detail = `Failed while creating memory context "${name}".`;
  const statistics = treeStatistics(core, parent);
  return reported(core, new OutOfMemoryError(bytes, name, { detail, statistics }));
}

/** The report of the tree that a context is in; nothing for no context. */
function treeStatistics(core: ProcessCore, context: number): string | undefined {
  let root = context;
  for (let above = root; above !== 0; above = core.word(above, CONTEXT_PARENT_OFFSET)) root = above;
  return root === 0 ? undefined : statsText(core, root, {});
}

/** Shows the error to whoever asked for that, before it is thrown. */
function reported(core: ProcessCore, error: OutOfMemoryError): OutOfMemoryError {
  core.onOutOfMemory?.(error);
  return error;
}
