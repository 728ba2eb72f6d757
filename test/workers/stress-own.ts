// What the thread of the driver does of its own in a stress test: the same as the workers, in
// promises, several at a time, some of which are given up; checkpoints; and the relations that the
// dead have left, which it drops.

import { Random, seed } from "../support/random.ts";
import { lifeOfSide } from "./stress-load.ts";
import { checkedVersion, stampPage } from "./stress-page.ts";
import { BLOCKS, type StressRegion } from "./stress-region.ts";
import type { Board, Life } from "./stress-words.ts";

/** Promises that are under way at one time, besides the one that takes locks. */
const TASKS = 3;
const CHECKPOINT_EVERY_MS = 300;
/** This thread's place on the board; its life never ends. */
const ME: Life = { party: 0, life: 0 };
/** Of the object that is locked here; key of its marks. */
const OBJECT = { type: "object", classid: 1, objid: 7 } as const;
const OBJECT_KEY = 6;
const EXCLUSIVE = 7;

export class OwnWork {
  steps = 0;
  checkpoints = 0;
  /** When something was done last. */
  since: number = performance.now();
  readonly #region: StressRegion;
  readonly #random = new Random(seed);
  /** Milliseconds between two things that one promise does. */
  readonly #pauseMs: number;
  #tasks = 0;
  #resting = 0;
  #failed = false;

  constructor(region: StressRegion, pauseMs: number) {
    this.#region = region;
    this.#pauseMs = pauseMs;
  }

  get #board(): Board {
    return this.#region.board;
  }

  /** Whether nothing of it uses the region: all has ended, or met that it has ended. */
  get isStill(): boolean {
    return this.#resting === this.#tasks;
  }

  get hasEnded(): boolean {
    return this.#tasks === 0;
  }

  /** Works until the board says stop. */
  async run(): Promise<void> {
    const pages = Array.from({ length: TASKS }, () => this.#repeat(() => this.#page()));
    const locks = this.#repeat(() => this.#lock());
    const checkpoints = this.#repeat(() => this.#checkpoint(), CHECKPOINT_EVERY_MS);
    try {
      await Promise.all([...pages, locks, checkpoints]);
    } finally {
      this.#failed = true;
    }
  }

  async #repeat(act: () => Promise<void>, every: number = this.#pauseMs): Promise<void> {
    this.#tasks += 1;
    try {
      while (!this.#board.stopped && !this.#failed) {
        const { restarts } = this.#region;
        try {
          await act();
        } catch (error) {
          if ((error as { code?: string }).code !== "57P02") throw error;
          await this.#rest(restarts);
        }
        // What need not wait is done at once, and would never let the event loop turn.
        await pause(every);
        this.steps += 1;
        this.since = performance.now();
      }
    } finally {
      this.#tasks -= 1;
    }
  }

  /** Until the region has begun anew. */
  async #rest(restarts: number): Promise<void> {
    this.#resting += 1;
    while (this.#region.restarts === restarts && !this.#failed) await pause(1);
    this.#resting -= 1;
  }

  async #page(): Promise<void> {
    const { backend, relation } = this.#region;
    const { buffers } = backend;
    const block = this.#random.below(BLOCKS);
    const kind = this.#random.below(20);
    if (kind < 9) {
      using page = await buffers.read(relation, block);
      checkedVersion(page.bytes, block, true);
    } else if (kind < 18) {
      await buffers.change(relation, block, (bytes) => {
        this.#board.begin(block);
        stampPage(bytes, block, checkedVersion(bytes, block, true) + 1);
      });
      this.#board.complete(block);
    } else if (kind === 18) await buffers.flush(relation);
    else await this.#giveUpReading(block);
  }

  /** A wait that is given up by chance. */
  async #giveUpReading(block: number): Promise<void> {
    const signal = AbortSignal.timeout(this.#random.below(3));
    const { backend, relation } = this.#region;
    await unlessCancelled(async () => {
      using page = await backend.buffers.read(relation, block, { signal });
      checkedVersion(page.bytes, block, true);
    });
  }

  /** A lock that workers have as well, waited for without end or for a little. */
  async #lock(): Promise<void> {
    const { locks } = this.#region.backend;
    const patient = this.#random.below(2) === 0;
    const signal = patient ? undefined : AbortSignal.timeout(this.#random.below(5));
    await unlessCancelled(async () => {
      const held = await locks.acquire(OBJECT, "ExclusiveLock", signal && { signal });
      this.#board.enter(ME, OBJECT_KEY, EXCLUSIVE);
      await pause(0);
      this.#board.leave(ME, OBJECT_KEY, EXCLUSIVE);
      held.release();
    });
    await pause(CHECKPOINT_EVERY_MS / 10);
  }

  async #checkpoint(): Promise<void> {
    if (!this.#board.checkpointsAllowed) return;
    const { backend } = this.#region;
    this.#board.setCheckpointing(0, true);
    try {
      await this.#dropTheirs();
      const before = this.#board.completedNow();
      await backend.checkpoint();
      this.#board.keep(before);
      this.checkpoints += 1;
    } finally {
      this.#board.setCheckpointing(0, false);
    }
  }

  /** Relations of threads that have ended. */
  async #dropTheirs(): Promise<void> {
    const { backend } = this.#region;
    for (const name of backend.relationNamesSync()) {
      const life = lifeOfSide(name);
      if (life !== undefined && this.#board.isDead(life)) await backend.dropRelation(name);
    }
  }
}

async function unlessCancelled(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if ((error as { code?: string }).code !== "57014") throw error;
  }
}

export function pause(milliseconds: number): Promise<void> {
  return milliseconds === 0
    ? new Promise((resolve) => setImmediate(resolve))
    : new Promise((resolve) => setTimeout(resolve, milliseconds));
}
