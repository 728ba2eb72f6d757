/**
 * Ceilings: how much a context and everything below it may hold.
 *
 * Enforced where a block is asked for, inside wasm (assembly/mmgr/ceiling.ts), so that allocations
 * of other wasm modules count too, and an allocation that needs no block costs what it did. Only a
 * context below a ceiling asks; the answer adds up the subtree, which takes time in proportion to
 * the contexts in it. Ceilings are found by the handle and cost nothing to contexts without one.
 *
 * A warning is given once wasm has returned: before the next error of a ceiling, or, should there
 * be none, in a microtask. It may therefore use the memory.
 *
 * @see PostgreSQL: none; callers compare MemoryContextMemAllocated with work_mem themselves
 */

import {
  ADMISSION_ADDRESS,
  CONTEXT_GUARDED_OFFSET,
  CONTEXT_PARENT_OFFSET,
  PROCESS_MAX_BYTES,
} from "../../assembly/common/constants.ts";
import { LimitExceededError } from "../abi/errors.ts";
import type { MemoryContext } from "./context.ts";
import type { ProcessCore } from "./core.ts";
import { subtreeOf } from "./rows.ts";
import { parseBytes } from "./sizes.ts";

/** How much a context and everything below it may hold: in blocks, as `memAllocated` counts. */
export interface ContextCeiling {
  /** A block that would take the subtree above this is refused. Bytes, or text as `"64MB"`. */
  readonly limitBytes?: string | number;
  /** When the subtree comes above this, `onWarn` is called, once. Bytes, or text. */
  readonly warnBytes?: string | number;
  /** Receives the context and the bytes that it and everything below it then hold. */
  readonly onWarn?: (context: MemoryContext, usedBytes: number) => void;
}

interface Ceiling {
  readonly limit: number;
  readonly warn: number;
  readonly onWarn: ContextCeiling["onWarn"];
  warned: boolean;
}

/** What a ceiling forbade, until it is made an error. @internal */
export interface Refusal {
  readonly context: string;
  readonly limitBytes: number;
  readonly usedBytes: number;
  readonly blockBytes: number;
}

const ceilings = new WeakMap<MemoryContext, Ceiling>();
const warnings = new WeakMap<ProcessCore, (() => void)[]>();

/** Sets or, with null, takes away the ceiling of a context. @internal */
export function setCeiling(
  core: ProcessCore,
  context: MemoryContext,
  ceiling: ContextCeiling | null,
): void {
  const { address } = context;
  if (ceiling === null) ceilings.delete(context);
  else {
    const { limitBytes = PROCESS_MAX_BYTES, warnBytes = PROCESS_MAX_BYTES, onWarn } = ceiling;
    const limit = parseBytes("limitBytes", limitBytes, 0, PROCESS_MAX_BYTES);
    const warn = parseBytes("warnBytes", warnBytes, 0, PROCESS_MAX_BYTES);
    ceilings.set(context, { limit, warn, onWarn, warned: false });
  }
  markGuarded(core, address);
}

/** Tells wasm which contexts of a subtree have to ask; after a change or a move. @internal */
export function markGuarded(core: ProcessCore, top: number): void {
  const { u8 } = core.views;
  const isDue = (context: number): boolean => {
    const parent = core.word(context, CONTEXT_PARENT_OFFSET);
    if (parent !== 0 && u8[parent + CONTEXT_GUARDED_OFFSET] === 1) return true;
    return ceilingAt(core, context) !== undefined;
  };
  // Below a context whose mark is right, all marks are.
  if (isDue(top) === (u8[top + CONTEXT_GUARDED_OFFSET] === 1)) return;
  for (const context of subtreeOf(core, top)) {
    u8[context + CONTEXT_GUARDED_OFFSET] = isDue(context) ? 1 : 0;
  }
}

/** Answers wasm: clears the second word if the block must not be taken. @internal */
export function answerAdmission(core: ProcessCore): undefined {
  const [context = 0, bytes = 0] = core.views.u32.subarray(ADMISSION_ADDRESS >>> 2);
  if (!admit(core, context, bytes)) core.views.u32[(ADMISSION_ADDRESS >>> 2) + 1] = 0;
}

/** Whether a context may take `bytes` more; if not, {@link takeRefusal} says why. @internal */
export function admit(core: ProcessCore, context: number, bytes: number): boolean {
  core.refusal = undefined;
  for (let at = context; at !== 0; at = core.word(at, CONTEXT_PARENT_OFFSET)) {
    if (core.views.u8[at + CONTEXT_GUARDED_OFFSET] !== 1) return true;
    const ceiling = ceilingAt(core, at);
    if (ceiling === undefined) continue;
    const usedBytes = core.exports.memAllocated(at, 1) >>> 0;
    if (usedBytes + bytes > ceiling.warn) warnLater(core, at, ceiling, usedBytes + bytes);
    if (usedBytes + bytes > ceiling.limit) {
      const where = { context: core.nameAt(at), limitBytes: ceiling.limit };
      core.refusal = { ...where, usedBytes, blockBytes: bytes };
      return false;
    }
  }
  return true;
}

/** The error for a request that a ceiling has just refused; undefined if none did. @internal */
export function takeRefusal(core: ProcessCore, bytes: number): LimitExceededError | undefined {
  const { refusal } = core;
  if (refusal === undefined) return undefined;
  core.refusal = undefined;
  warnNow(core);
  const { context, blockBytes, limitBytes, usedBytes } = refusal;
  return new LimitExceededError(`memory context "${context}" has reached its ceiling`, refusal, {
    detail:
      `Failed on request of size ${bytes}: it needs a block of ${blockBytes} bytes, ` +
      `and ${usedBytes} of ${limitBytes} are held already.`,
    hint: "Raise limitBytes, or free, reset or delete what the context and those below it hold.",
  });
}

function ceilingAt(core: ProcessCore, context: number): Ceiling | undefined {
  const handle = core.handleAt(context);
  return handle === undefined ? undefined : ceilings.get(handle);
}

/** Remembers a warning, for outside wasm. */
function warnLater(core: ProcessCore, at: number, ceiling: Ceiling, usedBytes: number): void {
  const context = core.handleAt(at);
  const { onWarn } = ceiling;
  if (ceiling.warned || onWarn === undefined || context === undefined) return;
  ceiling.warned = true;
  const waiting = warnings.get(core) ?? [];
  warnings.set(core, waiting);
  waiting.push(() => onWarn(context, usedBytes));
  Promise.resolve().then(() => warnNow(core));
}

/** Gives the warnings that wait, each once. */
function warnNow(core: ProcessCore): void {
  const waiting = warnings.get(core) ?? [];
  for (let warn = waiting.shift(); warn !== undefined; warn = waiting.shift()) warn();
}
