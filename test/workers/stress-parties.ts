// The workers of a stress test: started, told of the region in each of its lives, terminated at
// random moments and replaced, and what became of each of the terminated: it was repaired, or it
// had in its hands what nothing but a restart puts right.
//
// They run one bundled file: loading a hundred modules would cost three times what a thread does.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { build } from "rolldown";
import { Random, seed } from "../support/random.ts";
import type { StressWorkerData } from "./stress.worker.ts";
import { pause } from "./stress-own.ts";
import type { StressRegion } from "./stress-region.ts";

/** Nobody may take longer for one step than this, on a machine that does other things besides. */
export const STUCK_MS = 60_000;
/** A worker is terminated so many milliseconds after its first steps, at most. */
const LIFE_MS = 120;
/** Where very many are, most of them live for less. */
const MANY = 100;
const SHORT_LIFE_MS = 25;
/** One in so many is terminated while it attaches. */
const EARLY = 12;
const EARLY_MS = 60;

interface Party {
  readonly index: number;
  readonly life: number;
  readonly worker: Worker;
  readonly threadId: number;
  readonly ended: Promise<void>;
  /** Lives of the region that had ended when this one was told of it; undefined: not told. */
  told: number | undefined;
  hasEnded: boolean;
  isDone: boolean;
  progress: number;
  since: number;
}

/** What became of the terminated. */
export interface Ends {
  repaired: number;
  restarted: number;
  /** They had no slot, or none any more. */
  outside: number;
}

export class Parties {
  readonly ends: Ends = { repaired: 0, restarted: 0, outside: 0 };
  readonly #region: StressRegion;
  readonly #script: string;
  readonly #data: Pick<StressWorkerData, "onFiles">;
  readonly #fail: (error: unknown) => void;
  readonly #parties: Party[] = [];
  readonly #random = new Random(seed);
  readonly #repaired = new Set<number>();
  #lives = 0;
  #isOver = false;

  constructor(
    region: StressRegion,
    script: string,
    data: Pick<StressWorkerData, "onFiles">,
    fail: (error: unknown) => void,
  ) {
    this.#region = region;
    this.#script = script;
    this.#data = data;
    this.#fail = fail;
    // Who held what poisons is repaired as well, in a region that has ended by that.
    region.shared.onBackendDeath(({ threadId }) => {
      if (region.isWhole) this.#repaired.add(threadId);
    });
  }

  /** Terminated while they had a slot. */
  get kills(): number {
    return this.ends.repaired + this.ends.restarted;
  }

  start(index: number): void {
    this.#lives += 1;
    const life = this.#lives;
    const { words } = this.#region.board;
    const data = { ...this.#data, words, party: index, life, seed: seed + life };
    const workerData = { ...data, checkpoints: index === 1 } satisfies StressWorkerData;
    const worker = new Worker(this.#script, { workerData });
    // Before anybody else hears of the end, and so before anything is given back.
    const ended = new Promise<void>((resolve) => {
      worker.once("exit", () => {
        this.#region.board.died(life);
        resolve();
      });
    });
    const progress = this.#region.board.progressOf(index);
    const party: Party = {
      ...{ index, life, worker, threadId: worker.threadId, ended, told: undefined },
      ...{ hasEnded: false, isDone: false, progress, since: performance.now() },
    };
    void ended.then(() => {
      party.hasEnded = true;
    });
    worker.on("message", (word: string) => this.#said(party, word));
    worker.once("error", (error) => this.#fail(error));
    this.#parties[index] = party;
    this.#tell(party);
  }

  #said(party: Party, word: string): void {
    if (word === "done") party.isDone = true;
    else if (word !== "gone") this.#fail(new Error(word));
    party.told = undefined;
    this.#tell(party);
  }

  #tell(party: Party): void {
    if (party.hasEnded || party.isDone || party.told !== undefined || !this.#region.isWhole) return;
    party.told = this.#region.restarts;
    party.worker.postMessage(this.#region.shared.handle);
  }

  /** All whom nobody has told of the region as it is now. */
  tellAll(): void {
    for (const party of this.#all) this.#tell(party);
  }

  /** Whether nobody uses a region that has ended. */
  get areGone(): boolean {
    return this.#all.every(({ told, hasEnded }) => told === undefined || hasEnded);
  }

  get #all(): Party[] {
    return this.#parties.filter((party) => party !== undefined);
  }

  get progress(): number {
    return this.#all.reduce((sum, { index }) => sum + this.#region.board.progressOf(index), 0);
  }

  /** Everybody has done something since long ago. */
  watch(): void {
    const now = performance.now();
    for (const party of this.#all) {
      const progress = this.#region.board.progressOf(party.index);
      if (progress !== party.progress) Object.assign(party, { progress, since: now });
      if (now - party.since > STUCK_MS) this.#fail(new Error(`worker ${party.index} is stuck`));
    }
  }

  // ── Terminating ────────────────────────────────────────────────────────────────────────────────

  /** Terminates workers until `isEnough`, each party by itself, and puts others in their place. */
  async terminate(isEnough: () => boolean, kills: number): Promise<void> {
    const most = kills > MANY ? SHORT_LIFE_MS : LIFE_MS;
    const all = this.#all.map(async ({ index }) => {
      while (!isEnough() && !this.#isOver) await this.#terminateOne(index, most);
    });
    await Promise.all(all);
  }

  async #terminateOne(index: number, most: number): Promise<void> {
    const party = this.#parties[index] as Party;
    if (this.#random.below(EARLY) === 0) await pause(this.#random.below(EARLY_MS));
    else {
      await this.#until(() => this.#region.board.progressOf(index) !== party.progress, party);
      await pause(this.#random.below(most));
    }
    if (this.#isOver) return;
    const { told } = party;
    await party.worker.terminate();
    await party.ended;
    this.#region.board.setCheckpointing(index, false);
    await this.#until(() => this.#end(party, told) !== undefined, party);
    if (this.#isOver) return;
    this.ends[this.#end(party, told) ?? "outside"] += 1;
    this.start(index);
  }

  /** What became of one that has been terminated; undefined if that is still to be seen. */
  #end({ threadId }: Party, told: number | undefined): keyof Ends | undefined {
    if (this.#repaired.has(threadId)) return "repaired";
    if (told === undefined) return "outside";
    if (this.#region.restarts !== told) return "restarted";
    const rows = this.#region.isWhole ? this.#region.shared.backends() : undefined;
    return rows?.every((row) => row.threadId !== threadId) ? "outside" : undefined;
  }

  async #until(isSo: () => boolean, party: Party): Promise<void> {
    const begin = performance.now();
    while (!isSo() && !this.#isOver) {
      await pause(1);
      if (performance.now() - begin < STUCK_MS) continue;
      this.#fail(new Error(`worker ${party.index}, life ${party.life} is not what it should be`));
      return;
    }
  }

  /** Nobody is terminated or waited for any more. */
  giveUp(): void {
    this.#isOver = true;
  }

  /** Waits until everybody has said that it is done. */
  async areDone(): Promise<void> {
    for (const party of this.#all) await this.#until(() => party.isDone, party);
  }

  async close(): Promise<void> {
    this.#isOver = true;
    for (const { worker } of this.#all) await worker.terminate();
  }
}

/** The worker's script in one file, in a folder of its own. @returns path, and what removes it */
export async function bundledWorker(): Promise<readonly [path: string, clean: () => void]> {
  const folder = mkdtempSync(join(tmpdir(), "palloc-bundle-"));
  const path = join(folder, "worker.cjs");
  const input = fileURLToPath(new URL("../../dist/test/workers/stress.worker.js", import.meta.url));
  const output = { file: path, format: "cjs" } as const;
  await build({ input, platform: "node", logLevel: "silent", output });
  return [path, () => rmSync(folder, { recursive: true, force: true })];
}
