// The driver of the stress tests: a pool a tenth of the data's size, workers that never rest, and
// this thread, whose backend does the same in promises, several at a time. It watches that all get
// on, and looks at everything when they have stopped. Shared by `npm test` (seconds) and
// `npm run test:long` (minutes).

import { createHash } from "node:crypto";
import type { Backend, Relation, Settings, SharedMemory } from "../../bindings/index.ts";
import { BLOCK_BYTES, PAGE_HEADER_BYTES } from "../../bindings/index.ts";
import { OwnWork, pause } from "./stress-own.ts";
import { stampPage } from "./stress-page.ts";
import { bundledWorker, type Ends, Parties, STUCK_MS } from "./stress-parties.ts";
import { type Configuration, FRAMES, StressRegion, type Versions } from "./stress-region.ts";
import { residue } from "./stress-residue.ts";
import { type Board, CAPACITY } from "./stress-words.ts";

export type { Configuration, Versions } from "./stress-region.ts";

const LOOK_MS = 100;
/** Between two things that a promise of this thread does; longer where others need the time. */
const PAUSE_MS = 0;
const PAUSE_BETWEEN_KILLS_MS = 10;

const settings: Settings = { shared_buffers: FRAMES, max_connections: 8, deadlock_timeout: 10 };

/** What every stress test is run on: the one place to say so. */
export const configurations: readonly Configuration[] = [
  { name: "files", storage: "files", checked: false, settings },
  { name: "files, checked build", storage: "files", checked: true, settings },
  { name: "memory, checked build", storage: "memory", checked: true, settings },
];

/** How hard, and how long. */
export interface StressOptions {
  readonly configuration: Configuration;
  readonly workers: number;
  /** Ends when the time is up and as many workers as this have been terminated. */
  readonly seconds: number;
  readonly kills: number;
  readonly say?: (line: string) => void;
}

/** One stress test, from an empty storage on. */
export class Stress {
  readonly #options: StressOptions;
  readonly #region: StressRegion;
  readonly #parties: Parties;
  readonly #own: OwnWork;
  readonly #clean: () => void;
  #failure: Error | undefined;

  private constructor(
    options: StressOptions,
    region: StressRegion,
    script: string,
    clean: () => void,
  ) {
    this.#options = options;
    this.#region = region;
    this.#clean = clean;
    const onFiles = options.configuration.storage === "files";
    const fail = (error: unknown): void => this.#fail(error);
    this.#parties = new Parties(region, script, { onFiles }, fail);
    this.#own = new OwnWork(region, options.kills === 0 ? PAUSE_MS : PAUSE_BETWEEN_KILLS_MS);
    region.follow({
      allGone: () => this.#allGone(),
      goOn: () => this.#parties.tellAll(),
      fail,
    });
  }

  static async open(options: StressOptions): Promise<Stress> {
    const [script, clean] = await bundledWorker();
    return new Stress(options, await StressRegion.open(options.configuration), script, clean);
  }

  get shared(): SharedMemory {
    return this.#region.shared;
  }

  get backend(): Backend {
    return this.#region.backend;
  }

  get relation(): Relation {
    return this.#region.relation;
  }

  get checkpoints(): number {
    return this.#own.checkpoints;
  }

  /** What became of the terminated. */
  get ends(): Readonly<Ends> {
    return this.#parties.ends;
  }

  get kills(): number {
    return this.#parties.kills;
  }

  /** Times the region had to begin anew. */
  get restarts(): number {
    return this.#region.restarts;
  }

  get #board(): Board {
    return this.#region.board;
  }

  // ── While it runs ──────────────────────────────────────────────────────────────────────────────

  /** Lets everybody work, and ends the workers among them as told. Throws what went wrong. */
  async run(): Promise<void> {
    const { workers, seconds, kills } = this.#options;
    const begin = performance.now();
    for (let index = 1; index <= workers; index += 1) this.#parties.start(index);
    void this.#own.run().catch((error: unknown) => this.#fail(error));
    const isEnough = (): boolean =>
      performance.now() - begin > seconds * 1000 && this.kills >= kills;
    const terminated = kills > 0 ? this.#parties.terminate(isEnough, kills) : undefined;
    while (this.#failure === undefined && !isEnough()) {
      await pause(LOOK_MS);
      this.#watch();
      this.#options.say?.(this.#line(performance.now() - begin));
    }
    await terminated;
    await this.#until(() => this.#region.isWhole);
    this.#board.forbidCheckpoints();
    await this.#until(() => !this.#board.checkpointing);
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Stops everybody, and waits until they have detached. */
  async stop(): Promise<void> {
    this.#board.stop();
    await this.#parties.areDone();
    await this.#until(() => this.#own.hasEnded);
    if (this.#failure !== undefined) throw this.#failure;
    await this.#parties.close();
  }

  /** Gives everything back, whatever has happened. */
  async close(): Promise<void> {
    this.#board.stop();
    await this.#parties.close();
    await this.#region.close();
    this.#clean();
  }

  async #until(isSo: () => boolean): Promise<void> {
    while (this.#failure === undefined && !isSo()) {
      await pause(1);
      this.#watch();
    }
  }

  /** Nobody uses a region that has ended. */
  async #allGone(): Promise<void> {
    const begin = performance.now();
    while (!this.#parties.areGone || !this.#own.isStill) {
      await pause(1);
      if (performance.now() - begin > STUCK_MS) throw new Error("somebody stays after a crash");
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error));
    this.#parties.giveUp();
  }

  /** What came before an error: a worker that fails may end the region, and says so after that. */
  async causeOf(error: unknown): Promise<unknown> {
    await pause(LOOK_MS * 5);
    return this.#failure ?? error;
  }

  #watch(): void {
    this.#parties.watch();
    const stuck = performance.now() - this.#own.since > STUCK_MS;
    if (stuck) this.#fail(new Error("this thread's promises are stuck"));
  }

  #line(milliseconds: number): string {
    const { reads, writes } = this.shared.statistics();
    const seconds = (milliseconds / 1000).toFixed(0);
    const { steps, checkpoints } = this.#own;
    const did = `${this.#parties.progress} steps, ${steps} promises, ${checkpoints} checkpoints`;
    const { repaired, restarted } = this.ends;
    const ends = `${repaired} repaired, ${restarted} in ${this.restarts} restarts`;
    return `${this.#options.configuration.name}: ${seconds} s, ${did}, ${ends}, ${reads} reads, ${writes} writes`;
  }

  // ── When it has stopped ────────────────────────────────────────────────────────────────────────

  /** The number of changes of each block, begun or completed. */
  counts(of: "started" | "completed"): Versions {
    return Array.from({ length: CAPACITY }, (_, block) => this.#board[of](block));
  }

  /** What stands in the pages; each is whole. */
  versions(): Versions {
    return this.#region.versions();
  }

  /** A sum of all pages, as they are. */
  digest(): string {
    const hash = createHash("sha256");
    for (let block = 0; block < this.relation.blocksSync(); block += 1) {
      using page = this.backend.buffers.readSync(this.relation, block);
      hash.update(page.bytes.slice(PAGE_HEADER_BYTES));
    }
    return hash.digest("hex");
  }

  /** What pool and locks still hold that they should not, in words. */
  residue(): string[] {
    return residue(this.#region);
  }

  /** Ends the region without a checkpoint; what the next start on the same storage finds. */
  reopened(): Promise<Versions> {
    return this.#region.reopened();
  }
}

/** The digest of pages of these versions. */
export function digestOf(versions: Versions, blocks: number): string {
  const hash = createHash("sha256");
  for (let block = 0; block < blocks; block += 1) {
    const page = new Uint8Array(BLOCK_BYTES);
    const version = versions[block] ?? 0;
    if (version > 0) stampPage(page, block, version);
    hash.update(page.subarray(PAGE_HEADER_BYTES));
  }
  return hash.digest("hex");
}
