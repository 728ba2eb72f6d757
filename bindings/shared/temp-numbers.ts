/**
 * Numbers of temporary relations: the topmost range of relation numbers, in parts of 65,536, one a
 * backend slot. So a number alone says that a relation is temporary and whose it is, two backends
 * never give out the same one, and nothing of it is in shared memory.
 *
 *      29        26 25              16 15               0
 *     ┌────────────┬──────────────────┬──────────────────┐
 *     │ 1  1  1  1 │  backend's slot  │      counter     │
 *     └────────────┴──────────────────┴──────────────────┘
 *
 * PostgreSQL puts the backend's number into the file's name instead (t3_16384) and compares it in
 * RELATION_IS_OTHER_TEMP.
 */

import {
  FIRST_TEMP_RELATION,
  FORK_BITS,
  MAX_RELATION_NUMBER,
  TEMP_RELATION_BITS,
} from "../../assembly/common/constants.ts";
import { PallocError } from "../abi/errors.ts";
import type { ForkId } from "../abi/pointers.ts";

/** Numbers in one backend's part. */
const PART = 1 << TEMP_RELATION_BITS;
const FIRST_TEMP_FORK = (FIRST_TEMP_RELATION << FORK_BITS) >>> 0;

/** Whether pages of a fork belong into local buffers. @internal */
export function isTemporary(id: ForkId): boolean {
  return id >= FIRST_TEMP_FORK;
}

/** A number of a slot's part. @param count - any; counts round @internal */
export function tempNumber(slot: number, count: number): number {
  return FIRST_TEMP_RELATION + slot * PART + (count % PART);
}

/** How many temporary relations one backend can have at a time. @internal */
export const MAX_TEMP_RELATIONS: number = PART;

/** Whether a relation is a temporary one of a slot. @internal */
export function isOwnTemporary(relation: number, slot: number): boolean {
  const first = FIRST_TEMP_RELATION + slot * PART;
  return relation >= first && relation < first + PART;
}

/**
 * Refuses temporary relations of other backends: their newest pages are in memory that only the
 * other one sees.
 *
 * @throws {@link PallocError} 0A000
 * @throws RangeError for a number that is no temporary relation's
 * @see PostgreSQL: src/backend/storage/buffer/bufmgr.c, RELATION_IS_OTHER_TEMP
 * @internal
 */
export function demandOwn(relation: number, slot: number): void {
  if (isOwnTemporary(relation, slot)) return;
  if (relation < FIRST_TEMP_RELATION || relation > MAX_RELATION_NUMBER) {
    throw new RangeError(`relation ${relation} is not a temporary one`);
  }
  throw new PallocError("0A000", "cannot access temporary tables of other sessions");
}
