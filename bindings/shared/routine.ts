/**
 * Work of many steps that may have to wait between two of them, written once as a generator: it
 * calls wasm, and yields what it waits for. Who runs it decides how the waiting is done:
 *
 * - {@link runSync} sleeps and reads in the calling thread;
 * - {@link run} awaits, so that a thread that must not block can do the same work;
 * - the interleaving harness (test/interleave) lets other backends run, or never goes on.
 *
 * Between two yields a routine holds nothing but words that name its backend, so that every step is
 * a place where it may end for good. An error that a step meets is thrown into the routine, whose
 * `finally` gives back what it holds.
 *
 * Nothing synchronous may wait for what the same backend has under way in a promise: it would wait
 * for itself. Such a wait is the step `self`; {@link runSync} throws at it. A promise form waits:
 * what another routine has under way comes to its end; what a user holds need not, and is waited
 * for only so long.
 *
 * A backend that detaches gives back all that its routines hold. Those that wait then are left
 * where they are: whatever they did from there would be done in the name of who has the slot next.
 */

import {
  WAIT_DATA_FILE_READ,
  WAIT_DATA_FILE_WRITE,
  WAIT_WAL_SYNC,
  WAIT_WAL_WRITE,
} from "../../assembly/common/activity-constants.ts";
import { ST_SELF } from "../../assembly/common/constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import type { Fork, StorageManager } from "../storage/manager.ts";
import type { Attachment } from "./attachment.ts";
import type { Statement } from "./interrupts.ts";
import { journalFile } from "./journal-format.ts";
import { cancelled } from "./statuses.ts";

/** Reads consecutive blocks, each into a page of its own. */
export interface ReadStep {
  readonly op: "read";
  readonly relation: number;
  readonly fork: Fork;
  readonly block: number;
  readonly pages: readonly Uint8Array[];
}

/** Writes consecutive blocks that lie within the fork. */
export interface WriteStep {
  readonly op: "write";
  readonly relation: number;
  readonly fork: Fork;
  readonly block: number;
  readonly pages: readonly Uint8Array[];
}

/** Writes into the journal of a checkpoint, at a byte position. */
export interface JournalStep {
  readonly op: "journal";
  readonly journal: number;
  readonly position: number;
  readonly parts: readonly Uint8Array[];
}

/** Makes a journal durable. */
export interface SyncJournalStep {
  readonly op: "syncJournal";
  readonly journal: number;
}

/** Lets time pass. */
export interface DelayStep {
  readonly op: "delay";
  readonly milliseconds: number;
  /** WAIT_ that others see meanwhile. */
  readonly event?: number;
}

/** Sleeps on a word; at most so long, then it is time to look again. */
export interface SleepStep {
  readonly op: "sleep";
  readonly milliseconds?: number;
}

/** Sleeps on the word that a wasm function registered in the slot. */
export const SLEEP: SleepStep = { op: "sleep" };
/** Lets others run, then looks again. */
export const PAUSE = { op: "pause" } as const;
/** A place between two parts of long work where a task of this thread may run. */
export const TURN = { op: "turn" } as const;
/** Waits for a routine of this same backend that will come to its end by itself. */
export const SELF = { op: "self", held: false } as const;
/** Waits for something that a user of this same backend may hold for as long as he likes. */
export const HELD = { op: "self", held: true } as const;

/** What a routine waits for. @internal */
export type Step =
  | ReadStep
  | WriteStep
  | JournalStep
  | SyncJournalStep
  | DelayStep
  | SleepStep
  | typeof PAUSE
  | typeof TURN
  | typeof SELF
  | typeof HELD;

/** Work in steps, with its result at the end. @internal */
export type Routine<Result> = Generator<Step, Result, void>;

/** How long a promise form waits before it looks again where nobody would wake it. */
const LOOK_AGAIN_MS = 1;
/** How long a promise form waits for what its own backend holds. */
const HELD_TIMEOUT_MS = 5000;

/** Runs a routine to its end in the calling thread. @internal */
export function runSync<Result>(
  attachment: Attachment,
  storage: StorageManager,
  routine: Routine<Result>,
): Result {
  let next = routine.next();
  let deadline: number | undefined;
  let statement: Statement | undefined;
  while (next.done !== true) {
    const step = next.value;
    // It is waiting in one go that is bounded, not work that goes on between two waits.
    if (step.op === "sleep" || step.op === "pause") deadline ??= attachment.deadline();
    else deadline = undefined;
    statement ??= attachment.interrupts.current();
    try {
      performSync(attachment, storage, step, { deadline: deadline ?? 0, statement });
    } catch (error) {
      next = routine.throw(error);
      continue;
    }
    next = routine.next();
  }
  return next.value;
}

function performSync(
  attachment: Attachment,
  storage: StorageManager,
  step: Step,
  { deadline, statement }: { readonly deadline: number; readonly statement: Statement },
): void {
  if (step.op === "sleep") attachment.sleep(deadline, statement, step.milliseconds);
  else if (step.op === "pause") attachment.pause(deadline, statement);
  else if (step.op === "delay") {
    attachment.setWaitEvent(step.event ?? 0);
    attachment.delay(step.milliseconds);
    attachment.setWaitEvent(0);
    attachment.interrupts.check(statement);
  } else if (step.op === "self") attachment.check(ST_SELF);
  else if (step.op === "turn") attachment.interrupts.check(statement);
  else {
    if (isGivenUpAt(step)) attachment.interrupts.check(statement);
    attachment.setWaitEvent(eventOf(step));
    try {
      transfer(storage, step);
    } finally {
      attachment.setWaitEvent(0);
    }
  }
}

/** What others see while storage works. */
function eventOf({ op }: ReadStep | WriteStep | JournalStep | SyncJournalStep): number {
  if (op === "read") return WAIT_DATA_FILE_READ;
  if (op === "write") return WAIT_DATA_FILE_WRITE;
  return op === "journal" ? WAIT_WAL_WRITE : WAIT_WAL_SYNC;
}

/** Storage's part of a step, in the calling thread. @internal */
export function transfer(
  storage: StorageManager,
  step: ReadStep | WriteStep | JournalStep | SyncJournalStep,
): void {
  const first = "pages" in step && step.pages.length === 1 ? step.pages[0] : undefined;
  switch (step.op) {
    case "read":
      if (first !== undefined) storage.readSync(step.relation, step.fork, step.block, first);
      else storage.readvSync(step.relation, step.fork, step.block, step.pages);
      break;
    case "write":
      if (first !== undefined) storage.writeSync(step.relation, step.fork, step.block, first);
      else storage.writevSync(step.relation, step.fork, step.block, step.pages);
      break;
    case "journal":
      storage.writeJournalSync(journalFile(step.journal), step.position, step.parts);
      break;
    default:
      storage.syncJournalSync(journalFile(step.journal));
  }
}

/**
 * Runs a routine without blocking the thread in a wait or a read; writes are made in the thread.
 * A pending run keeps a Node process alive.
 *
 * @param signal - gives up at the next wait, with 57014
 * @throws {@link ClosedError} if the backend detaches meanwhile
 */
export async function run<Result>(
  attachment: Attachment,
  storage: StorageManager,
  routine: Routine<Result>,
  signal?: CancelSignal,
): Promise<Result> {
  let next = routine.next();
  let heldSince = Number.POSITIVE_INFINITY;
  const statement = attachment.interrupts.current();
  while (next.done !== true) {
    const step = next.value;
    const failure = await outcome(async () => {
      if (isGivenUpAt(step)) attachment.interrupts.check(statement);
      if (signal?.aborted === true && isGivenUpAt(step)) throw cancelled(signal.reason);
      heldSince = step === HELD ? Math.min(heldSince, performance.now()) : Number.POSITIVE_INFINITY;
      if (performance.now() - heldSince > HELD_TIMEOUT_MS) attachment.check(ST_SELF);
      const work = (): Promise<void> => perform(attachment, storage, step, { statement, signal });
      await attachment.interrupts.during(work);
    });
    attachment.mustBeOpen();
    // Whoever gives up does not sleep on what was registered.
    if (failure !== undefined && step.op === "sleep") attachment.exports.sleep(0);
    next = failure === undefined ? routine.next() : routine.throw(failure.error);
  }
  return next.value;
}

async function outcome(work: () => Promise<void>): Promise<{ error: unknown } | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    return { error };
  }
}

/** A sync that was not made would look like one that failed, which ends the region. */
function isGivenUpAt(step: Step): boolean {
  return step.op !== "syncJournal";
}

async function perform(
  attachment: Attachment,
  storage: StorageManager,
  step: Step,
  {
    statement,
    signal,
  }: { readonly statement: Statement; readonly signal?: CancelSignal | undefined },
): Promise<void> {
  if (step.op === "sleep") await attachment.awaitWord(statement, signal, step.milliseconds);
  else if (step.op === "pause" || step.op === "self") await attachment.rest(LOOK_AGAIN_MS);
  else if (step.op === "turn") await attachment.rest(0);
  else if (step.op === "delay") await attachment.rest(step.milliseconds, signal);
  else if (step.op === "read" && storage.readv !== undefined) {
    await readLater(attachment, storage.readv.bind(storage), step);
  } else transfer(storage, step);
}

/**
 * Reads into private pages first: the system goes on writing into them even if the backend detaches
 * meanwhile, and its frames are somebody else's then.
 */
async function readLater(
  attachment: Attachment,
  readv: NonNullable<StorageManager["readv"]>,
  { relation, fork, block, pages }: ReadStep,
): Promise<void> {
  const copies = pages.map(({ length }) => new Uint8Array(length));
  await readv(relation, fork, block, copies);
  attachment.mustBeOpen();
  for (const [index, copy] of copies.entries()) pages[index]?.set(copy);
}
