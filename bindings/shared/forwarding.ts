/**
 * Threads that the owner of a region cannot see. On Node the end of a worker reaches only the
 * thread that created it; so that thread watches in the owner's place, and tells him in the slot.
 *
 *   owner ── creates ──► B ── creates ──► C
 *                        │  C claims a slot: CLAIMED
 *                        │  B knows C: watcher = B, then CLAIMED → WATCHED, one compare-and-swap
 *   owner would notice B's end: WATCHED → ACTIVE
 *                        │  C's 'exit' reaches B: its slots → ENDED
 *   owner: ENDED → DEAD, repair
 *
 * Node ends the workers of a worker before that worker's own 'exit': so when B ends the owner knows
 * that C has ended too, and repairs both. The watcher is stored before the state changes, by
 * compare-and-swap from 0, and taken back where the state could not be changed: the owner believes
 * it only in a slot that is WATCHED.
 *
 * Further down the same is done once more a level. C, which would notice the end of its worker D,
 * is watched by B, and B puts itself in C's place in the slot, and remembers D as one of C's: when
 * C ends D has ended. So the watcher rises until it is one whose end the owner would notice.
 *
 * When the region begins anew the owner says so on a channel that has the old region's name, and
 * whoever has workers watches them for the new one, the same workers and those made meanwhile.
 *
 * The same thread may watch the owner, if it created that one: then its slots, its workers' and its
 * own, are admitted although the owner would not notice its end, because he would not outlive it.
 * When the owner's 'exit' comes the region's status becomes CRASHED, and every call fails with
 * 57P02.
 *
 * A thread that others' ends are told to must come to its event loop: from its first confirmation
 * on its backends wait for a bounded time, as those of the owner do.
 */

import {
  LIFE_CLAIMED,
  LIFE_ENDED,
  LIFE_FREE,
  LIFE_STATE_BITS,
  LIFE_STATE_MASK,
  LIFE_WATCHED,
  PART_SLOTS,
  REGION_REQUESTS_OFFSET,
  REGION_STATUS_OFFSET,
  SLOT_BYTES,
  SLOT_SLEEPING_ON_OFFSET,
  SLOT_WATCHER_OFFSET,
  STATUS_CRASHED,
  STATUS_RUNNING,
  WATCHER_SEES_OWNER,
} from "../../assembly/common/constants.ts";
import type { Attachment } from "./attachment.ts";
import { checkHandle, type SharedMemoryHandle } from "./handle.ts";
import { partOf } from "./statistics.ts";
import { nodeIdentity, onWorker, type WatchableWorker } from "./threads.ts";
import { changed } from "./word-change.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;

const watches = new Map<string, Forwarding>();
/** Workers of this thread, by their thread ids, with what to tell when one ends. */
const workers = new Set<number>();
let seesWorkers = false;

/** A worker of this thread is one for every region, whichever it was first watched for. */
function remember(worker: WatchableWorker): void {
  // After the exit the id is -1, so it is noted now.
  const { threadId } = worker;
  if (threadId < 0 || workers.has(threadId)) return;
  workers.add(threadId);
  worker.once("exit", () => {
    workers.delete(threadId);
    for (const watch of watches.values()) watch.ended(threadId);
  });
  for (const watch of watches.values()) watch.hasWorkers();
}

/** Sees the workers that this thread creates from now on. */
function seeWorkers(): void {
  if (!seesWorkers) onWorker(remember);
  seesWorkers = true;
}

/** What {@link watchWorkers} gives. */
export interface WorkersWatch {
  /** Watches a worker that exists already; later ones are seen by themselves. */
  watch(worker: WatchableWorker): void;
}

/**
 * Has this thread tell a region's owner when one of its workers ends, so that they may attach; and
 * the region's backends when the owner ends, if he is one of these workers. From then on this
 * thread's workers are watched as they are created; those that exist are passed. A thread that has
 * a backend does the first by itself. Until the region ends the thread must not block for long.
 * Node only.
 *
 * @param workers - workers of this thread, made before this call
 * @example
 * const owner = new Worker(script); // creates the region and posts its handle
 * owner.once("message", (handle) => {
 *   watchWorkers(handle, [owner]);
 *   const backend = Backend.attachSync(handle);
 * });
 */
export function watchWorkers(
  handle: SharedMemoryHandle,
  workers: Iterable<WatchableWorker> = [],
): WorkersWatch {
  checkHandle(handle);
  const forwarding = forwardingOf(handle);
  if (forwarding === undefined) throw new TypeError("watchWorkers() is for Node's workers");
  for (const worker of workers) forwarding.watch(worker);
  return forwarding;
}

/** This thread's watch for a region that another thread owns; undefined in browsers. @internal */
export function forwardingOf(handle: SharedMemoryHandle): Forwarding | undefined {
  const identity = nodeIdentity();
  if (identity === undefined) return undefined;
  seeWorkers();
  let watch = watches.get(handle.region);
  if (watch === undefined) {
    watch = new Forwarding(handle, identity.token);
    watches.set(handle.region, watch);
    if (workers.size > 0) watch.hasWorkers();
  }
  return watch;
}

/** One thread's watch over its workers, for one region. @internal */
export class Forwarding implements WorkersWatch {
  readonly #region: string;
  readonly #owner: number;
  readonly #token: number;
  readonly #words: Int32Array;
  /** Where slots begin, and how many there are. */
  readonly #slots: { readonly off: number; readonly size: number };
  /** Threads further down, each with the worker of this thread that ends after it. */
  readonly #below = new Map<number, number>();
  readonly #backends = new Set<Attachment>();
  #successors: SuccessorChannel | undefined;
  #closed = false;
  #hasConfirmed = false;

  constructor(handle: SharedMemoryHandle, token: number) {
    this.#region = handle.region;
    this.#owner = handle.owner;
    this.#token = token;
    this.#words = new Int32Array(handle.memory.buffer);
    this.#slots = partOf(handle.memory.buffer, PART_SLOTS);
    void this.#listen();
  }

  watch(worker: WatchableWorker): void {
    remember(worker);
  }

  /** This thread has workers, or one more. */
  hasWorkers(): void {
    this.#successors ??= awaitSuccessor(this.#region);
    this.#confirmAll();
  }

  /** A backend of this thread; its waits are bounded while others' ends are told to this thread. */
  join(backend: Attachment): void {
    this.#backends.add(backend);
    this.#confirm(backend.slot);
    if (this.#mustStayAwake) backend.stayAwake();
  }

  leave(backend: Attachment): void {
    this.#backends.delete(backend);
    if (this.#backends.size === 0 && workers.size === 0) this.#close();
  }

  get #mustStayAwake(): boolean {
    return this.#hasConfirmed || workers.has(this.#owner);
  }

  async #listen(): Promise<void> {
    const index = REGION_REQUESTS_OFFSET / WORD_BYTES;
    while (!this.#closed && this.#isRunning()) {
      const seen = Atomics.load(this.#words, index);
      this.#confirmAll();
      await changed(this.#words, index, seen);
    }
    this.#close();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    watches.delete(this.#region);
    // After a crash another may follow.
    if (this.#status() !== STATUS_CRASHED) this.#successors?.close();
  }

  #status(): number {
    return Atomics.load(this.#words, REGION_STATUS_OFFSET / WORD_BYTES);
  }

  #isRunning(): boolean {
    return this.#status() === STATUS_RUNNING;
  }

  #confirmAll(): void {
    for (let slot = 1; slot < this.#slots.size / SLOT_BYTES; slot += 1) this.#confirm(slot);
  }

  #confirm(slot: number): void {
    const life = Atomics.load(this.#words, this.#slot(slot));
    const state = life & LIFE_STATE_MASK;
    if (state === LIFE_CLAIMED) this.#vouch(slot, life);
    else if (state === LIFE_WATCHED) this.#rise(slot, life);
  }

  get #mine(): number {
    return (this.#token + 1) | (workers.has(this.#owner) ? WATCHER_SEES_OWNER : 0);
  }

  /** A slot that a worker of this thread has claimed, or this thread, is WATCHED from now on. */
  #vouch(slot: number, life: number): void {
    const words = this.#words;
    const at = this.#slot(slot);
    const watcher = at + SLOT_WATCHER_OFFSET / WORD_BYTES;
    const token = life >>> LIFE_STATE_BITS;
    const isOwn = token === this.#token && workers.has(this.#owner);
    if (!workers.has(token) && !isOwn) return;
    if (Atomics.compareExchange(words, watcher, 0, this.#mine) !== 0) return;
    const next = (life & ~LIFE_STATE_MASK) | LIFE_WATCHED;
    if (Atomics.compareExchange(words, at, life, next) === life) this.#stayAwake();
    else Atomics.compareExchange(words, watcher, this.#mine, 0);
    this.#tellOwner();
  }

  /** The watcher of a slot is a worker of this thread: this thread takes its place. */
  #rise(slot: number, life: number): void {
    const words = this.#words;
    const at = this.#slot(slot);
    const watcher = at + SLOT_WATCHER_OFFSET / WORD_BYTES;
    const seen = Atomics.load(words, watcher);
    const below = (seen & ~WATCHER_SEES_OWNER) - 1;
    if ((seen & WATCHER_SEES_OWNER) !== 0 || !workers.has(below)) return;
    this.#below.set(life >>> LIFE_STATE_BITS, below);
    if (Atomics.compareExchange(words, watcher, seen, this.#mine) === seen) {
      // The slot may have become another's meanwhile, whom the same worker watches.
      this.#below.set(Atomics.load(words, at) >>> LIFE_STATE_BITS, below);
      this.#stayAwake();
    }
    this.#tellOwner();
  }

  #stayAwake(): void {
    this.#hasConfirmed = true;
    for (const backend of this.#backends) backend.stayAwake();
  }

  /** A worker of this thread has ended, and those below it. */
  ended(token: number): void {
    const gone = [...this.#below].filter(([, above]) => above === token).map(([below]) => below);
    for (const below of gone) this.#below.delete(below);
    if (this.#closed || !this.#isRunning()) return;
    if (token === this.#owner) this.#ownerEnded();
    else for (const each of [token, ...gone]) this.#endSlots(each);
    this.#tellOwner();
  }

  #endSlots(token: number): void {
    for (let slot = 1; slot < this.#slots.size / SLOT_BYTES; slot += 1) this.#endSlot(slot, token);
  }

  #endSlot(slot: number, token: number): void {
    const words = this.#words;
    const at = this.#slot(slot);
    // Ends because nobody but the owner changes the life of a thread that has stopped.
    for (;;) {
      const life = Atomics.load(words, at);
      if ((life & LIFE_STATE_MASK) === LIFE_FREE || life >>> LIFE_STATE_BITS !== token) return;
      const next = (life & ~LIFE_STATE_MASK) | LIFE_ENDED;
      if (Atomics.compareExchange(words, at, life, next) === life) return;
    }
  }

  /** Nobody will repair anything any more: every call fails, and every sleeper looks. */
  #ownerEnded(): void {
    const words = this.#words;
    const status = REGION_STATUS_OFFSET / WORD_BYTES;
    Atomics.compareExchange(words, status, STATUS_RUNNING, STATUS_CRASHED);
    Atomics.notify(words, status);
    for (let slot = 0; slot < this.#slots.size / SLOT_BYTES; slot += 1) {
      const at = this.#slot(slot);
      const word = Atomics.load(words, at + SLOT_SLEEPING_ON_OFFSET / WORD_BYTES) >>> 0;
      if (word !== 0) Atomics.notify(words, word / WORD_BYTES);
      Atomics.notify(words, at);
    }
    this.#tellOwner();
  }

  /** Wakes all who listen for requests: the owner, and other threads that watch. */
  #tellOwner(): void {
    const requests = REGION_REQUESTS_OFFSET / WORD_BYTES;
    Atomics.add(this.#words, requests, 1);
    Atomics.notify(this.#words, requests);
  }

  #slot(slot: number): number {
    return (this.#slots.off + slot * SLOT_BYTES) / WORD_BYTES;
  }
}

// ── A region that begins anew ────────────────────────────────────────────────────────────────────

interface SuccessorChannel {
  onmessage: ((message: { readonly data: SharedMemoryHandle }) => void) | null;
  postMessage(handle: SharedMemoryHandle): void;
  unref?(): void;
  close(): void;
}

/** Watches for the region that follows as soon as its owner has told of it. */
function awaitSuccessor(region: string): SuccessorChannel {
  const channel = channelOf(region);
  channel.onmessage = ({ data }) => {
    channel.close();
    forwardingOf(data);
  };
  return channel;
}

/** Tells threads with workers of the region that has followed another. On Node alone. @internal */
export function tellSuccessor(region: string, handle: SharedMemoryHandle): void {
  if (nodeIdentity() === undefined) return;
  const channel = channelOf(region);
  channel.postMessage(handle);
  channel.close();
}

/** One that does not keep its thread alive. */
function channelOf(region: string): SuccessorChannel {
  const { BroadcastChannel } = globalThis as unknown as {
    readonly BroadcastChannel: new (name: string) => SuccessorChannel;
  };
  const channel = new BroadcastChannel(`palloc ${region}`);
  channel.unref?.();
  return channel;
}
