// The region of a stress test, over all its lives: a death that holds what a `poison` lock guards
// ends it, and it begins anew at its last checkpoint. Then every page must have at least what that
// checkpoint was sure to have, and nobody goes on before that was looked at.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { REGION_STATUS_OFFSET, STATUS_RUNNING } from "../../assembly/common/constants.ts";
import {
  Backend,
  type BackendOptions,
  type Relation,
  type Settings,
  SharedMemory,
  type SharedMemoryHandle,
} from "../../bindings/index.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { nodeFiles, openStorage } from "../../bindings/storage/node-fs.ts";
import { withThisMethod } from "../support/io-methods.ts";
import { RELATION } from "./stress-load.ts";
import { GUARDED, GUARDED_BYTES, NEWS, USER_LOCKS, WORDS_OF } from "./stress-locks.ts";
import { checkedVersion, stampPage } from "./stress-page.ts";
import { Board, CAPACITY } from "./stress-words.ts";

export const FRAMES = 64;
export const BLOCKS = 640;
const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;

/** Where and how a stress test runs. */
export interface Configuration {
  readonly name: string;
  readonly storage: "files" | "memory";
  readonly checked: boolean;
  readonly settings: Settings;
}

/** Versions of all blocks. */
export type Versions = readonly number[];

/** What must be still before a region's new life begins. */
export interface Others {
  /** Resolves when nobody uses the region that ended. */
  allGone(): Promise<void>;
  /** Says that there is a new one. */
  goOn(): void;
  fail(error: unknown): void;
}

export class StressRegion {
  readonly shared: SharedMemory;
  readonly board: Board = new Board();
  /** Of this thread, in the present life. */
  backend: Backend;
  relation: Relation;
  /** Lives that have ended. */
  restarts = 0;
  readonly #options: BackendOptions;
  readonly #files: Files;
  /** Of the life that has been looked at. */
  #handle: SharedMemoryHandle;

  private constructor(shared: SharedMemory, files: Files) {
    this.shared = shared;
    this.#files = files;
    this.#handle = shared.handle;
    this.#options = files.onFiles ? { storage: openStorage } : {};
    this.backend = Backend.attachSync(shared.handle, this.#options);
    this.relation = this.#fill();
    shared.onLockOwnerDeath(({ lock }) => this.#putRight(lock));
  }

  static async open(configuration: Configuration): Promise<StressRegion> {
    const files = filesFor(configuration);
    const shared = await SharedMemory.create({
      ...withThisMethod({
        settings: configuration.settings,
        storage: files.reopen(),
        checked: configuration.checked,
      }),
      segments: { [GUARDED]: GUARDED_BYTES },
      locks: USER_LOCKS,
      conditions: [NEWS],
    });
    return new StressRegion(shared, files);
  }

  /** Whether it runs, and what it began with has been looked at. */
  get isWhole(): boolean {
    const words = new Int32Array(this.#handle.memory.buffer);
    const status = Atomics.load(words, REGION_STATUS_OFFSET / WORD_BYTES);
    return this.shared.handle === this.#handle && status === STATUS_RUNNING;
  }

  /** Begins to follow the region through its lives. */
  follow(others: Others): void {
    this.shared.onDown(({ reason, error }) => others.fail(error ?? new Error(reason)));
    this.shared.onRestart(({ reason }) => {
      this.#beginAnew(reason, others).catch((error: unknown) => others.fail(error));
    });
  }

  async #beginAnew(reason: string, others: Others): Promise<void> {
    if (!reason.includes('"precious"')) throw new Error(`the region ended: ${reason}`);
    await others.allGone();
    this.backend.detach();
    this.backend = Backend.attachSync(this.shared.handle, this.#options);
    this.relation = this.backend.openRelationSync(RELATION);
    const versions = this.versions();
    const wrong = versions.findIndex(
      (version, block) => version < this.board.kept(block) || version > this.board.started(block),
    );
    if (wrong >= 0)
      throw new Error(`block ${wrong} has version ${versions[wrong]} after a restart`);
    this.board.beginAnew(versions);
    this.restarts += 1;
    this.#handle = this.shared.handle;
    others.goOn();
  }

  /** A thread has ended while what a lock guards was half changed. */
  #putRight(lock: string): void {
    const { words } = this.shared.segment(GUARDED);
    const at = WORDS_OF[lock];
    if (at === undefined) throw new Error(`${lock} is nothing to put right`);
    Atomics.store(words, at + 1, Atomics.load(words, at));
  }

  #fill(): Relation {
    const relation = this.backend.createRelationSync(RELATION);
    this.backend.buffers.extendSync(relation, BLOCKS);
    for (let block = 0; block < BLOCKS; block += 1) {
      this.board.begin(block);
      this.backend.buffers.changeSync(relation, block, (bytes) => stampPage(bytes, block, 1));
      this.board.complete(block);
    }
    this.board.checkpointed(() => void this.backend.checkpointSync());
    return relation;
  }

  /** What stands in the pages; each is whole. */
  versions(): Versions {
    return versionsOf(this.backend, this.relation);
  }

  async close(): Promise<void> {
    this.backend.detach();
    await this.shared.close();
    this.#files.clean();
  }

  /** Ends the region without a checkpoint; what the next start on the same storage finds. */
  async reopened(): Promise<Versions> {
    this.backend.detach();
    await this.shared.close();
    const { settings } = this.#files;
    const storage = this.#files.reopen();
    const shared = await SharedMemory.create(withThisMethod({ settings, storage }));
    const backend = Backend.attachSync(shared.handle, this.#options);
    try {
      return versionsOf(backend, backend.openRelationSync(RELATION));
    } finally {
      backend.detach();
      await shared.close();
    }
  }
}

interface Files {
  readonly onFiles: boolean;
  readonly settings: Settings;
  readonly reopen: () => StorageManager;
  readonly clean: () => void;
}

function filesFor({ storage, settings }: Configuration): Files {
  const directory = mkdtempSync(join(tmpdir(), "palloc-stress-"));
  const kept = memoryStorage();
  return {
    onFiles: storage === "files",
    settings,
    reopen: () => (storage === "files" ? nodeFiles(directory) : kept),
    clean: () => rmSync(directory, { recursive: true, force: true }),
  };
}

function versionsOf(backend: Backend, relation: Relation): Versions {
  const blocks = relation.blocksSync();
  return Array.from({ length: CAPACITY }, (_, block) => {
    if (block >= blocks) return 0;
    using page = backend.buffers.readSync(relation, block);
    return checkedVersion(page.bytes, block, true);
  });
}
