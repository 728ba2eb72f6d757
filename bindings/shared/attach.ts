/**
 * Attaching and leaving: how a thread gets a slot of a region, and gives it back.
 *
 *   the thread claims a slot, its own number in it ──► the owner looks whether it would notice the
 *   end of that thread ──► the slot is active, or refused
 *
 * A backend of the owner's own thread needs no dialogue: that thread ends with the region.
 *
 * PostgreSQL: src/backend/storage/lmgr/proc.c, InitProcess and ProcKill
 */

import {
  LIFE_CLAIMED,
  LIFE_EXITING,
  LIFE_REFUSED,
  LIFE_STATE_MASK,
  REGION_STATUS_OFFSET,
  ST_BUSY,
  STATUS_RUNNING,
} from "../../assembly/common/constants.ts";
import { PallocError, TooManyConnectionsError } from "../abi/errors.ts";
import { instantiate } from "../abi/load.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { StorageManager } from "../storage/manager.ts";
import { Attachment } from "./attachment.ts";
import type { SharedMemoryHandle } from "./handle.ts";
import { regionGone } from "./statuses.ts";
import { canSleep, type ThreadIdentity } from "./threads.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** How long the owner of the region may take to confirm an attach. */
const ATTACH_TIMEOUT_MS = 10_000;
const ATTACH_LOOK_MS = 100;

/** Regions that this very thread owns: an attach to one of them needs no dialogue. @internal */
export const ownedRegions: Map<string, RegionOwner> = new Map();

/** The owner of a region, for backends of its own thread. @internal */
export interface RegionOwner {
  admitSync(slot: number): void;
}

/** What a slot is claimed with. @internal */
export interface Claim {
  readonly handle: SharedMemoryHandle;
  readonly identity: ThreadIdentity;
  readonly storage: StorageManager;
  /** Whether to take one of the slots that are kept for helper threads. */
  readonly helper: boolean;
}

/** Claims a slot; the storage is closed if there is none. @internal */
export function claimOrClose({ handle, identity, storage, helper }: Claim): Attachment {
  try {
    return claimSlot(handle, identity.token, helper);
  } catch (error) {
    storage.closeSync();
    identity.release();
    throw error;
  }
}

function claimSlot(handle: SharedMemoryHandle, token: number, helper: boolean): Attachment {
  const exports = instantiate<SharedExports>(handle.module, handle.memory);
  const { buffer } = handle.memory;
  const region = new Int32Array(buffer);
  if (Atomics.load(region, REGION_STATUS_OFFSET / WORD_BYTES) !== STATUS_RUNNING) {
    throw regionGone(region);
  }
  const slot = exports.claimSlot(token, helper ? 1 : 0);
  if (slot < 0) throw new TooManyConnectionsError(handle.settings.max_connections);
  const mayBlock = canSleep() && !ownedRegions.has(handle.region);
  return new Attachment(exports, buffer, slot, mayBlock);
}

/** Waits until the owner of the region has confirmed the slot. @internal */
export function admitSync(handle: SharedMemoryHandle, attachment: Attachment): void {
  const own = ownedRegions.get(handle.region);
  if (own === undefined) attachment.exports.requestAttach();
  else own.admitSync(attachment.slot);
  const deadline = performance.now() + ATTACH_TIMEOUT_MS;
  const word = (attachment.exports.slotAddress(attachment.slot) >>> 0) / WORD_BYTES;
  for (let life = pendingLife(attachment, deadline); life !== undefined; ) {
    Atomics.wait(attachment.i32, word, life, ATTACH_LOOK_MS);
    life = pendingLife(attachment, deadline);
  }
}

/** As {@link admitSync}, without blocking the thread. @internal */
export async function admit(handle: SharedMemoryHandle, attachment: Attachment): Promise<void> {
  const own = ownedRegions.get(handle.region);
  if (own === undefined) attachment.exports.requestAttach();
  else own.admitSync(attachment.slot);
  const deadline = performance.now() + ATTACH_TIMEOUT_MS;
  while (pendingLife(attachment, deadline) !== undefined) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** The life word while the owner has not answered; undefined when the slot is active. */
function pendingLife({ exports, slot, i32 }: Attachment, deadline: number): number | undefined {
  const life = exports.slotLife(slot);
  const state = life & LIFE_STATE_MASK;
  if (Atomics.load(i32, REGION_STATUS_OFFSET / WORD_BYTES) !== STATUS_RUNNING) {
    throw regionGone(i32);
  }
  if (state === LIFE_REFUSED) throw notWatched();
  if (state !== LIFE_CLAIMED) return undefined;
  if (performance.now() > deadline) throw noAnswer();
  return life;
}

function notWatched(): PallocError {
  return new PallocError("57P03", "attach refused: nobody would notice the end of this thread", {
    hint:
      "The thread that owns the region must have created this worker after the region, " +
      "or call shared.watch(worker).",
  });
}

function noAnswer(): PallocError {
  return new PallocError("08006", `the owner did not answer within ${ATTACH_TIMEOUT_MS} ms`, {
    hint: "The thread that created the region confirms each attach; keep its event loop running.",
  });
}

/** Gives a slot back that was claimed in vain; returns the error to throw. @internal */
export function abandoned(
  error: unknown,
  attachment: Attachment,
  storage: StorageManager,
  identity: ThreadIdentity,
): unknown {
  const { exports, slot } = attachment;
  for (const state of [LIFE_CLAIMED, LIFE_REFUSED]) exports.advanceSlot(slot, state, LIFE_EXITING);
  leave(attachment);
  storage.closeSync();
  identity.release();
  return error;
}

/** Gives back the slot, unless the region is gone and everything with it. @internal */
export function leave({ exports, i32 }: Attachment): void {
  const status = REGION_STATUS_OFFSET / WORD_BYTES;
  while (Atomics.load(i32, status) === STATUS_RUNNING && exports.leave() === ST_BUSY);
}
