/**
 * Ending a region in PostgreSQL's three ways.
 *
 * | mode | backends | checkpoint | next start |
 * |---|---|---|---|
 * | smart | nobody may attach; those that are there go on | yes | nothing to do |
 * | fast | terminated, 57P01, as soon as they notice | yes | nothing to do |
 * | immediate | every call fails, 57P01 | no | recovers the last checkpoint |
 *
 * `close()` is the immediate one: it waits for nobody and writes nothing.
 *
 * PostgreSQL: src/backend/postmaster/postmaster.c, process_pm_shutdown_request; pg_ctl stop
 */

import { PallocError } from "../abi/errors.ts";

/** How a region ends. */
export type ShutdownMode = "smart" | "fast" | "immediate";

/** How {@link SharedMemory.shutdown} ends the region. */
export interface ShutdownOptions {
  /** Default `"fast"`, as pg_ctl's. */
  readonly mode?: ShutdownMode;
  /** How long to wait for backends to detach, in milliseconds. Default 60,000, as pg_ctl's. */
  readonly timeout?: number;
}

/** What a shutdown works with. @internal */
export interface ShutdownGround {
  /** Nobody may attach from now on. */
  forbidAttaching(): void;
  /** Slots of clients that are attached or about to be. */
  clients(): readonly { readonly slot: number }[];
  terminate(slot: number): void;
  /** Takes a checkpoint in this thread. */
  checkpoint(): Promise<void>;
  close(): Promise<void>;
}

const TIMEOUT_MS = 60_000;
const LOOK_MS = 5;
/** A backend that was attaching when it was asked to end is asked again. */
const ASK_AGAIN_MS = 200;

/** Ends a region. @throws 57014 if backends are still there when the time is up @internal */
export async function shutDown(ground: ShutdownGround, options: ShutdownOptions): Promise<void> {
  const { mode = "fast", timeout = TIMEOUT_MS } = options;
  if (mode !== "smart" && mode !== "fast" && mode !== "immediate") {
    throw new TypeError(`mode is "smart", "fast" or "immediate", not ${JSON.stringify(mode)}`);
  }
  if (mode === "immediate") return ground.close();
  ground.forbidAttaching();
  await emptied(ground, mode === "fast", timeout);
  await ground.checkpoint();
  await ground.close();
}

/** Waits until no client has a slot. */
async function emptied(ground: ShutdownGround, asks: boolean, timeout: number): Promise<void> {
  const deadline = performance.now() + timeout;
  let askedAt = Number.NEGATIVE_INFINITY;
  for (let left = ground.clients(); left.length > 0; left = ground.clients()) {
    const now = performance.now();
    if (now > deadline) throw notInTime(left.length, timeout);
    if (asks && now - askedAt > ASK_AGAIN_MS) {
      for (const { slot } of left) ground.terminate(slot);
      askedAt = now;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function notInTime(left: number, timeout: number): PallocError {
  return new PallocError("57014", "server does not shut down", {
    detail: `${left} backends have not detached within ${timeout} ms; nobody attaches any more.`,
    hint: 'Call shutdown() again, perhaps with mode "fast", which ends them, or "immediate".',
  });
}
