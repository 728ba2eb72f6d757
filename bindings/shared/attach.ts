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
  LIFE_WATCHED,
  REGION_CLOSING_OFFSET,
  REGION_STATUS_OFFSET,
  ST_BUSY,
  STATUS_RUNNING,
} from "../../assembly/common/constants.ts";
import { PallocError, TooManyConnectionsError } from "../abi/errors.ts";
import { instantiate } from "../abi/load.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { StorageManager } from "../storage/manager.ts";
import { Activity } from "./activity.ts";
import { Attachment } from "./attachment.ts";
import { forwardingOf } from "./forwarding.ts";
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

/** What a backend says of itself when it attaches. @internal */
export interface ClaimOptions {
  /** Whether to take one of the slots that are kept for helper threads. */
  readonly helper: boolean;
  readonly role: string | undefined;
  readonly applicationName: string;
  /** Whether it may attach although the region is shutting down. */
  readonly last: boolean;
}

/** What a slot is claimed with. @internal */
export interface Claim extends ClaimOptions {
  readonly handle: SharedMemoryHandle;
  readonly identity: ThreadIdentity;
  readonly storage: StorageManager;
}

/** Claims a slot; the storage is closed if there is none. @internal */
export function claimOrClose(claim: Claim): Attachment {
  const { identity, storage } = claim;
  try {
    return claimSlot(claim);
  } catch (error) {
    storage.closeSync();
    identity.release();
    throw error;
  }
}

function claimSlot(claim: Claim): Attachment {
  const { handle, identity, helper, role, applicationName, last } = claim;
  const exports = instantiate<SharedExports>(handle.module, handle.memory);
  const { buffer } = handle.memory;
  const region = new Int32Array(buffer);
  if (Atomics.load(region, REGION_STATUS_OFFSET / WORD_BYTES) !== STATUS_RUNNING) {
    throw regionGone(region);
  }
  const closing = Atomics.load(region, REGION_CLOSING_OFFSET / WORD_BYTES) !== 0;
  if (closing && !last) throw shuttingDown();
  const slot = exports.claimSlot(identity.token, helper ? 1 : 0);
  if (slot < 0) throw new TooManyConnectionsError(handle.settings.max_connections);
  new Activity(buffer, slot).start(role, applicationName);
  const mayBlock = canSleep() && !ownedRegions.has(handle.region);
  const { statement_timeout } = handle.settings;
  const attachment = new Attachment(exports, buffer, slot, mayBlock, statement_timeout);
  attachment.guard();
  return attachment;
}

/** Waits until the owner of the region has confirmed the slot. @internal */
export function admitSync(handle: SharedMemoryHandle, attachment: Attachment): void {
  ask(handle, attachment);
  const deadline = performance.now() + ATTACH_TIMEOUT_MS;
  const word = (attachment.exports.slotAddress(attachment.slot) >>> 0) / WORD_BYTES;
  for (let life = pendingLife(attachment, deadline); life !== undefined; ) {
    Atomics.wait(attachment.i32, word, life, ATTACH_LOOK_MS);
    life = pendingLife(attachment, deadline);
  }
}

/** As {@link admitSync}, without blocking the thread. @internal */
export async function admit(handle: SharedMemoryHandle, attachment: Attachment): Promise<void> {
  ask(handle, attachment);
  const deadline = performance.now() + ATTACH_TIMEOUT_MS;
  while (pendingLife(attachment, deadline) !== undefined) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** A region of this thread's own admits at once; else this thread watches its workers from now. */
function ask(handle: SharedMemoryHandle, attachment: Attachment): void {
  const own = ownedRegions.get(handle.region);
  if (own !== undefined) own.admitSync(attachment.slot);
  else {
    forwardingOf(handle)?.join(attachment);
    attachment.exports.requestAttach();
  }
}

/** The life word while the owner has not answered; undefined when the slot is active. */
function pendingLife({ exports, slot, i32 }: Attachment, deadline: number): number | undefined {
  const life = exports.slotLife(slot);
  const state = life & LIFE_STATE_MASK;
  if (Atomics.load(i32, REGION_STATUS_OFFSET / WORD_BYTES) !== STATUS_RUNNING) {
    throw regionGone(i32);
  }
  if (state === LIFE_REFUSED) {
    throw i32[REGION_CLOSING_OFFSET / WORD_BYTES] === 0 ? notWatched() : shuttingDown();
  }
  if (state !== LIFE_CLAIMED && state !== LIFE_WATCHED) return undefined;
  if (performance.now() > deadline) throw noAnswer();
  return life;
}

function notWatched(): PallocError {
  return new PallocError("57P03", "attach refused: nobody would notice the end of this thread", {
    hint:
      "The owner of the region sees the workers that his thread creates after it; for earlier " +
      "ones he calls shared.watch(worker). A worker of another thread: that thread attaches a " +
      "backend, or calls watchWorkers(handle), before it creates the worker. If a worker owns the " +
      "region, its creator calls watchWorkers(handle, [worker]).",
  });
}

function shuttingDown(): PallocError {
  return new PallocError("57P03", "the database system is shutting down");
}

function noAnswer(): PallocError {
  return new PallocError("08006", `the owner did not answer within ${ATTACH_TIMEOUT_MS} ms`, {
    hint: "The thread that created the region confirms each attach; keep its event loop running.",
  });
}

/** A slot that was claimed, and what goes with it. @internal */
export interface Claimed extends Omit<Claim, keyof ClaimOptions> {
  readonly attachment: Attachment;
}

/** Gives a slot back that was claimed in vain; returns the error to throw. @internal */
export function abandoned(
  error: unknown,
  { handle, attachment, storage, identity }: Claimed,
): unknown {
  const { exports, slot } = attachment;
  for (const state of [LIFE_CLAIMED, LIFE_WATCHED, LIFE_REFUSED]) {
    exports.advanceSlot(slot, state, LIFE_EXITING);
  }
  leave(handle, attachment);
  storage.closeSync();
  identity.release();
  return error;
}

/** Gives back the slot, unless the region is gone, or the owner does it. @internal */
export function leave(handle: SharedMemoryHandle, attachment: Attachment): void {
  const { exports, i32 } = attachment;
  if (!ownedRegions.has(handle.region)) forwardingOf(handle)?.leave(attachment);
  if (attachment.hasCrashed) return;
  const status = REGION_STATUS_OFFSET / WORD_BYTES;
  while (Atomics.load(i32, status) === STATUS_RUNNING && exports.leave() === ST_BUSY);
  attachment.close();
}
