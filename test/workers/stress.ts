// The driver of the stress tests: a pool a tenth of the data's size, workers that never rest, and
// this thread, whose backend does the same in promises, several at a time. It watches that all get
// on, and looks at everything when they have stopped. Shared by `npm test` (seconds) and
// `npm run test:long` (minutes).

import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import {
  Backend,
  BLOCK_BYTES,
  type BufferId,
  PAGE_HEADER_BYTES,
  type Relation,
  type Settings,
  SharedMemory,
} from "../../bindings/index.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { nodeFiles, openStorage } from "../../bindings/storage/node-fs.ts";
import { withThisMethod } from "../support/io-methods.ts";
import { Random, seed } from "../support/random.ts";
import type { StressWorkerData } from "./stress.worker.ts";
import { RELATION } from "./stress-load.ts";
import { checkedVersion, stampPage } from "./stress-page.ts";
import { Board, CAPACITY, SEGMENT, SEGMENT_BYTES } from "./stress-words.ts";

const FRAMES = 64;
const BLOCKS = 640;
/** Promises of this thread that are under way at one time. */
const TASKS = 3;
const CHECKPOINT_EVERY_MS = 300;
/** Nobody may take longer for one step than this, on a machine that does other things besides. */
const STUCK_MS = 40_000;
const LOOK_MS = 100;
/** A worker is terminated so many milliseconds after its first steps, at most. */
const LIFE_MS = 120;
/** Where very many are, most of them live for less. */
const MANY = 100;
const SHORT_LIFE_MS = 20;

/** Where and how a stress test runs. */
export interface Configuration {
  readonly name: string;
  readonly storage: "files" | "memory";
  readonly checked: boolean;
  readonly settings: Settings;
}

const settings: Settings = { shared_buffers: FRAMES, max_connections: 8 };

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

/** Versions of all blocks. */
export type Versions = readonly number[];

interface Party {
  readonly worker: Worker;
  readonly index: number;
  readonly ended: Promise<string>;
  progress: number;
  since: number;
}

/** One stress test, from an empty storage on. */
export class Stress {
  readonly shared: SharedMemory;
  readonly backend: Backend;
  readonly board: Board;
  readonly relation: Relation;
  kills = 0;
  /** Of the terminated, those that had a slot and were repaired. */
  repairs = 0;
  /** Times the region had to begin anew. */
  restarts = 0;
  checkpoints = 0;
  readonly #options: StressOptions;
  readonly #reopen: () => StorageManager;
  readonly #clean: () => void;
  readonly #parties: Party[] = [];
  readonly #random = new Random(seed);
  #failure: Error | undefined;
  #workers = 0;

  private constructor(
    options: StressOptions,
    shared: SharedMemory,
    files: readonly [reopen: () => StorageManager, clean: () => void],
  ) {
    this.#options = options;
    [this.#reopen, this.#clean] = files;
    this.shared = shared;
    const onFiles = options.configuration.storage === "files";
    this.backend = Backend.attachSync(shared.handle, onFiles ? { storage: openStorage } : {});
    this.board = new Board(shared.segment(SEGMENT).words);
    this.relation = this.#fill();
    shared.onBackendDeath(() => {
      this.repairs += 1;
    });
    shared.onRestart(() => {
      this.restarts += 1;
    });
  }

  static async open(options: StressOptions): Promise<Stress> {
    const { storage, checked, settings: chosen } = options.configuration;
    const directory = mkdtempSync(join(tmpdir(), "palloc-stress-"));
    const kept = memoryStorage();
    const reopen = (): StorageManager => (storage === "files" ? nodeFiles(directory) : kept);
    const region = { settings: chosen, storage: reopen(), checked };
    const segments = { [SEGMENT]: SEGMENT_BYTES };
    const shared = await SharedMemory.create({ ...withThisMethod(region), segments });
    const clean = (): void => rmSync(directory, { recursive: true, force: true });
    return new Stress(options, shared, [reopen, clean]);
  }

  #fill(): Relation {
    const relation = this.backend.createRelationSync(RELATION);
    this.backend.buffers.extendSync(relation, BLOCKS);
    for (let block = 0; block < BLOCKS; block += 1) {
      this.board.begin(block);
      this.backend.buffers.changeSync(relation, block, (bytes) => stampPage(bytes, block, 1));
      this.board.complete(block);
    }
    return relation;
  }

  // ── While it runs ──────────────────────────────────────────────────────────────────────────────

  /** Lets everybody work, and ends the workers among them as told. Throws what went wrong. */
  async run(): Promise<void> {
    const { workers, seconds, kills } = this.#options;
    const begin = performance.now();
    for (let index = 1; index <= workers; index += 1) this.#start(index);
    const own = Array.from({ length: TASKS }, () => this.#work());
    own.push(this.#takeCheckpoints());
    const all = Promise.all(own).catch((error: unknown) => this.#fail(error));
    const until = begin + seconds * 1000;
    const deaths = kills > 0 ? this.#terminate(kills, until) : undefined;
    while (this.#failure === undefined) {
      await pause(LOOK_MS);
      this.#watch();
      this.#options.say?.(this.#line(performance.now() - begin));
      if (performance.now() > until && this.kills >= kills) break;
    }
    this.board.forbidCheckpoints();
    await deaths;
    while (this.board.checkpointing && this.#failure === undefined) {
      await pause(1);
      this.#watch();
    }
    if (this.#failure === undefined) return;
    this.board.stop();
    await Promise.race([all, pause(STUCK_MS)]);
    throw this.#failure;
  }

  /** Stops everybody, and waits until they have detached. */
  async stop(): Promise<void> {
    this.board.stop();
    const ends = this.#parties.map(({ ended, index }) => within(ended, `the end of ${index}`));
    for (const end of await Promise.all(ends)) if (end !== "done") this.#fail(new Error(end));
    while (this.#tasks > 0 && this.#failure === undefined) await pause(1);
    for (const { worker } of this.#parties) await worker.terminate();
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Gives everything back, whatever has happened. */
  async close(): Promise<void> {
    this.board.stop();
    for (const { worker } of this.#parties) await worker.terminate();
    this.backend.detach();
    await this.shared.close();
    this.#clean();
  }

  #start(index: number): void {
    this.#workers += 1;
    const url = new URL("../../dist/test/workers/stress.worker.js", import.meta.url);
    const onFiles = this.#options.configuration.storage === "files";
    const data = { handle: this.shared.handle, party: index, seed: seed + this.#workers, onFiles };
    const worker = new Worker(url, { workerData: data satisfies StressWorkerData });
    const ended = new Promise<string>((resolve) => {
      worker.once("message", resolve);
      worker.once("error", (error) => resolve(String(error)));
      worker.once("exit", () => resolve("terminated"));
    });
    void ended.then((how) => {
      if (how !== "done" && how !== "terminated") this.#fail(new Error(how));
    });
    const progress = this.board.progressOf(index);
    const party = { worker, index, ended, progress, since: performance.now() };
    const at = this.#parties.findIndex((each) => each.index === index);
    if (at < 0) this.#parties.push(party);
    else this.#parties[at] = party;
  }

  /** Terminates workers at random moments and puts others in their place, each by itself. */
  async #terminate(kills: number, until: number): Promise<void> {
    await Promise.all(this.#parties.map(({ index }) => this.#terminateOften(index, kills, until)));
  }

  async #terminateOften(index: number, kills: number, until: number): Promise<void> {
    while (this.#failure === undefined) {
      if (performance.now() > until && this.kills >= kills) return;
      const party = this.#parties.find((each) => each.index === index);
      if (party === undefined) return;
      const { worker } = party;
      const first = this.board.progressOf(index);
      while (this.board.progressOf(index) === first && this.#failure === undefined) await pause(1);
      await pause(this.#random.below(kills > MANY ? SHORT_LIFE_MS : LIFE_MS));
      await worker.terminate();
      await party.ended;
      this.board.setCheckpointing(index, false);
      this.kills += 1;
      this.#start(index);
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error));
  }

  /** Everybody has done something since long ago. */
  #watch(): void {
    const now = performance.now();
    for (const party of this.#parties) {
      const progress = this.board.progressOf(party.index);
      if (progress !== party.progress) Object.assign(party, { progress, since: now });
      if (now - party.since > STUCK_MS) this.#fail(new Error(`worker ${party.index} is stuck`));
    }
    if (now - this.#ownSince > STUCK_MS) this.#fail(new Error("this thread's promises are stuck"));
  }

  #line(milliseconds: number): string {
    const steps = this.#parties.reduce((sum, { index }) => sum + this.board.progressOf(index), 0);
    const { reads, writes } = this.shared.statistics();
    const seconds = (milliseconds / 1000).toFixed(0);
    const did = `${steps} steps, ${this.#ownSteps} promises, ${this.checkpoints} checkpoints`;
    const ends = `${this.kills} terminated, ${this.repairs} repaired`;
    return `${this.#options.configuration.name}: ${seconds} s, ${did}, ${ends}, ${reads} reads, ${writes} writes`;
  }

  // ── This thread's own work ─────────────────────────────────────────────────────────────────────

  #tasks = 0;
  #ownSteps = 0;
  #ownSince: number = performance.now();

  async #work(): Promise<void> {
    this.#tasks += 1;
    try {
      while (!this.board.stopped && this.#failure === undefined) {
        await this.#step();
        // What need not wait is done at once, and would never let the event loop turn.
        await new Promise(setImmediate);
        this.#ownSteps += 1;
        this.#ownSince = performance.now();
      }
    } finally {
      this.#tasks -= 1;
    }
  }

  async #step(): Promise<void> {
    const { buffers } = this.backend;
    const block = this.#random.below(BLOCKS);
    const kind = this.#random.below(20);
    if (kind < 9) {
      using page = await buffers.read(this.relation, block);
      checkedVersion(page.bytes, block, true);
    } else if (kind < 18) {
      await buffers.change(this.relation, block, (bytes) => {
        this.board.begin(block);
        stampPage(bytes, block, checkedVersion(bytes, block, true) + 1);
      });
      this.board.complete(block);
    } else if (kind === 18) await buffers.flush(this.relation);
    else await this.#giveUp(block);
  }

  /** A wait that is given up by chance. */
  async #giveUp(block: number): Promise<void> {
    const signal = AbortSignal.timeout(this.#random.below(3));
    try {
      using page = await this.backend.buffers.read(this.relation, block, { signal });
      checkedVersion(page.bytes, block, true);
    } catch (error) {
      if ((error as { code?: string }).code !== "57014") throw error;
    }
  }

  async #takeCheckpoints(): Promise<void> {
    while (this.board.checkpointsAllowed && this.#failure === undefined) {
      await pause(CHECKPOINT_EVERY_MS);
      this.board.setCheckpointing(0, true);
      if (this.board.checkpointsAllowed) await this.backend.checkpoint();
      this.board.setCheckpointing(0, false);
      this.checkpoints += 1;
    }
  }

  // ── When it has stopped ────────────────────────────────────────────────────────────────────────

  /** The number of changes of each block, begun or completed. */
  counts(of: "started" | "completed"): Versions {
    return Array.from({ length: CAPACITY }, (_, block) => this.board[of](block));
  }

  /** What stands in the pages; each is whole. */
  versions(): Versions {
    return versionsOf(this.backend, this.relation);
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

  /** What the pool still holds that it should not, in words. */
  residue(): string[] {
    const found: string[] = [];
    const { views } = this.shared;
    const rows = views.pgBuffercache().filter(({ relfilenode }) => relfilenode !== null);
    const places = new Set(rows.map((row) => `${row.relfilenode}/${row.relblocknumber}`));
    if (places.size !== rows.length) found.push("a page is in the pool twice");
    if (rows.some(({ pinning_backends }) => pinning_backends !== 0)) found.push("a page is pinned");
    const summary = views.pgBuffercacheSummary();
    if (summary.buffers_used !== rows.length) found.push("the summary counts other buffers");
    const usage = this.shared.usageCounts().reduce((sum, { buffers }) => sum + buffers, 0);
    if (usage !== FRAMES && usage !== rows.length) found.push(`usage counts of ${usage} buffers`);
    const { maxConnections } = this.shared.settings;
    const clients = this.shared.backends().filter(({ slot }) => slot <= maxConnections);
    if (clients.length !== 1) found.push("a backend that is gone has a slot");
    return [...found, ...this.#locks(), ...this.#unevictable()];
  }

  #locks(): string[] {
    const found: string[] = [];
    const { buffers } = this.backend;
    for (let block = 0; block < this.relation.blocksSync(); block += 1) {
      const buffer = buffers.pin(this.relation.id, block);
      if (!buffers.tryLockForCleanup(buffer)) found.push(`block ${block} is locked`);
      else buffers.unlock(buffer);
      buffers.unpin(buffer);
    }
    return found;
  }

  #unevictable(): string[] {
    const { buffers_skipped } = this.backend.buffers.evictAllSync();
    const left = this.shared.views.pgBuffercacheSummary().buffers_used;
    // Every frame takes a page again, all at one time.
    const pins = Array.from({ length: FRAMES }, (_, block) => {
      return this.backend.buffers.pin(this.relation.id, block);
    });
    const frames = new Set<BufferId>(pins);
    for (const buffer of pins) this.backend.buffers.unpin(buffer);
    if (buffers_skipped + left === 0 && frames.size === FRAMES) return [];
    return [`${buffers_skipped} buffers cannot be evicted, ${left} are left`];
  }

  /** Ends the region without a checkpoint; what the next start on the same storage finds. */
  async restart(): Promise<Versions> {
    this.backend.detach();
    await this.shared.close();
    const { configuration } = this.#options;
    const storage = this.#reopen();
    const shared = await SharedMemory.create(
      withThisMethod({ settings: configuration.settings, storage }),
    );
    const onFiles = configuration.storage === "files";
    const backend = Backend.attachSync(shared.handle, onFiles ? { storage: openStorage } : {});
    try {
      return versionsOf(backend, backend.openRelationSync(RELATION));
    } finally {
      backend.detach();
      await shared.close();
    }
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

function versionsOf(backend: Backend, relation: Relation): Versions {
  const blocks = relation.blocksSync();
  return Array.from({ length: CAPACITY }, (_, block) => {
    if (block >= blocks) return 0;
    using page = backend.buffers.readSync(relation, block);
    return checkedVersion(page.bytes, block, true);
  });
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** @throws if it takes longer than anything may */
async function within<Result>(work: Promise<Result>, what: string): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} takes too long`)), STUCK_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
