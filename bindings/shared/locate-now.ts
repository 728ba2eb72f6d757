/**
 * Frames for pages that are wanted soon, by steps of which none waits for anybody: what a backend
 * may do while it owns reads that have not begun, and others may be waiting for them.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c, StartReadBuffersImpl
 */

import {
  BUFFER_MASK,
  IN_PROGRESS,
  NEED_READ,
  NEED_WRITE,
  ST_BUSY,
  ST_MISS,
} from "../../assembly/common/constants.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { Strategy } from "./strategy.ts";

/**
 * A page's buffer, pinned, with NEED_READ if this backend has to read it, or IN_PROGRESS if another
 * one does; a status below 0 where more would mean to wait, or to write a page.
 *
 * @internal
 */
export function locateNow(
  exports: SharedExports,
  id: number,
  block: number,
  context: number,
  strategy?: Strategy,
): number {
  const hit = exports.pinIn(id, block, context);
  if (hit >= 0) return hit;
  const mapped = exports.pinMapped(id, block, context);
  if (mapped !== ST_MISS) return notAwaited(exports, mapped);
  let victim = strategy?.reuse(exports, context) ?? ST_MISS;
  if (victim === ST_MISS || victim === ST_BUSY) victim = exports.victim(context);
  if (victim < 0) return victim;
  if ((victim & NEED_WRITE) !== 0) {
    // Given back, still dirty: the journal may have to be waited for.
    exports.finishWrite(victim & BUFFER_MASK, 0);
    exports.dropGuard(victim & BUFFER_MASK);
    return ST_BUSY;
  }
  const installed = exports.install(victim, id, block, context);
  if ((installed & ~BUFFER_MASK) === NEED_READ) strategy?.remember(victim);
  return notAwaited(exports, installed);
}

/**
 * Passes a status on. Nobody sleeps on what one that says IN_PROGRESS has registered: the page is
 * asked for again when its turn has come.
 *
 * @internal
 */
export function notAwaited(exports: SharedExports, status: number): number {
  if (status >= 0 && (status & IN_PROGRESS) !== 0) exports.sleep(0);
  return status;
}
