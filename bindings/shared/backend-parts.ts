/**
 * What a backend is made of, put together in one place: who needs whom.
 *
 *   journal ◄─ page I/O ◄─ batch writer ◄─ checkpoints
 *      ▲           ▲            ▲
 *      └───────────┴────────────┴──── work on whole relations ◄─ buffer pool ─► local buffers
 */

import {
  BLOCK_BYTES,
  COUNTER_DIRTIED,
  COUNTER_EVICTIONS,
  COUNTER_HITS,
  IO_CONTEXT_TEMP,
} from "../../assembly/common/constants.ts";
import type { CancelSignal } from "../abi/cancel-signal.ts";
import type { SharedExports } from "../abi/shared-exports.ts";
import type { ProcessMemory } from "../process/memory.ts";
import type { StorageManager } from "../storage/manager.ts";
import type { Attachment } from "./attachment.ts";
import { BatchWriter } from "./batch-writer.ts";
import { BufferPool } from "./buffers.ts";
import { CatalogCache } from "./catalog.ts";
import { Checkpoints } from "./checkpoint.ts";
import { IoCounts } from "./io-counts.ts";
import { IoQueue } from "./io-queue.ts";
import { Journal } from "./journal.ts";
import { LocalBuffers, type LocalTraffic } from "./local-buffers.ts";
import { LockManager } from "./lock-manager.ts";
import { LockViews } from "./lock-views.ts";
import { LockWaitLog } from "./lock-wait-log.ts";
import { LockWaits } from "./lock-waits.ts";
import { NamedRelations } from "./named-relations.ts";
import { PageIo } from "./page-io.ts";
import { Prewarm } from "./prewarm.ts";
import { PrivatePages } from "./private-pages.ts";
import { RelationMap } from "./relation.ts";
import { RelationPages } from "./relation-pages.ts";
import { type Routine, run, runSync } from "./routine.ts";
import type { ResolvedSettings } from "./settings.ts";
import { TempRelations } from "./temp-relations.ts";
import type { WriterGround } from "./writers.ts";

type Drivers = Pick<WriterGround, "run" | "runSync">;

/** What the parts of a backend have in common. */
export interface BackendGround {
  readonly attachment: Attachment;
  readonly storage: StorageManager;
  readonly settings: ResolvedSettings;
  readonly memory: ProcessMemory;
  warn(message: string): void;
  /** @throws {@link ClosedError} once the backend has detached */
  mustBeAttached(): void;
  /** Detaches: somebody has asked for it, and nothing of this backend is under way any more. */
  end(): void;
}

/** The parts of one backend. @internal */
export class BackendParts {
  readonly relations: RelationMap;
  /** Relations by name, temporary ones first. */
  readonly named: NamedRelations;
  readonly temporary: TempRelations;
  readonly pages: RelationPages;
  readonly checkpoints: Checkpoints;
  readonly buffers: BufferPool;
  readonly local: LocalBuffers;
  readonly locks: LockManager;
  readonly catalog: CatalogCache;
  /** What a background writer or checkpointer of this backend is made of. */
  readonly writers: WriterGround;
  readonly prewarm: Prewarm;
  /** How routines of this backend are run. */
  readonly drivers: Drivers = {
    runSync: (routine) => this.runSync(routine),
    run: (routine, signal) => this.run(routine, signal),
  };
  readonly #ground: BackendGround;
  #depth = 0;

  constructor(ground: BackendGround) {
    const { attachment, storage, settings, warn } = ground;
    this.#ground = ground;
    this.relations = new RelationMap(attachment, storage);
    const nameOf = (relation: number): string =>
      this.temporary.nameOf(relation) ?? this.relations.nameOf(relation);
    const counts = new IoCounts(attachment.exports, settings.values);
    this.local = localBuffers(ground, counts, nameOf);
    this.temporary = new TempRelations({ storage, buffers: this.local, slot: attachment.slot });
    const journal = new Journal(attachment, storage);
    const buffers = settings.sharedBuffers;
    const damage = settings.values;
    const queue = new IoQueue(attachment, settings.values.io_method === "worker");
    const io = new PageIo({
      ...{ attachment, storage, journal, queue, buffers, counts, damage, nameOf, warn },
    });
    const writer = new BatchWriter(attachment, io);
    const { relations } = this;
    const common = { attachment, storage, journal, io, counts, writer };
    this.pages = new RelationPages({ ...common, relations, buffers });
    const { temporary, pages, local } = this;
    this.named = new NamedRelations({ storage, relations, temporary, pages, local });
    this.checkpoints = new Checkpoints(common);
    const { drivers } = this;
    const { checkpoints } = this;
    this.writers = { attachment, io, counts, checkpoints, settings, ...drivers };
    this.buffers = new BufferPool({
      ...{ attachment, journal, io, pages: this.pages, local: this.local, settings, ...drivers },
    });
    const { memory } = ground;
    const { runSync } = drivers;
    this.catalog = new CatalogCache({ attachment, memory, values: settings.values, runSync });
    attachment.interrupts.onCatchUp(() => this.catalog.accept());
    this.locks = lockManager(ground, drivers, () => this.catalog.accept());
    this.prewarm = new Prewarm(this.buffers, io, settings);
  }

  /** Runs a routine in this thread. */
  runSync<Result>(routine: Routine<Result>): Result {
    const { attachment, storage } = this.#ground;
    this.#ground.mustBeAttached();
    this.#depth += 1;
    try {
      return runSync(attachment, storage, routine);
    } finally {
      this.#depth -= 1;
      this.endIfAsked();
    }
  }

  /** Detaches if somebody has asked for it, unless a call is under way that will. */
  endIfAsked(): void {
    if (this.#ground.attachment.interrupts.reason === undefined || this.#depth > 0) return;
    this.#ground.end();
  }

  /** Runs a routine without blocking this thread. */
  run<Result>(routine: Routine<Result>, signal?: CancelSignal): Promise<Result> {
    this.#ground.mustBeAttached();
    return run(this.#ground.attachment, this.#ground.storage, routine, signal);
  }
}

function lockManager(
  { attachment, settings, warn }: BackendGround,
  drivers: Drivers,
  acquired: () => void,
): LockManager {
  const views = new LockViews(attachment, settings.slots);
  const log = new LockWaitLog(views, warn, attachment.slot);
  const { values } = settings;
  const waits = new LockWaits(attachment, {
    get deadlockTimeout() {
      return values.deadlock_timeout;
    },
    get log() {
      return values.log_lock_waits ? log : undefined;
    },
  });
  waits.onAcquired(acquired);
  const exports = (): SharedExports => attachment.exports;
  const ground = {
    ...{ exports, waits, warn, ...drivers },
    get timeout() {
      return values.lock_timeout;
    },
  };
  return new LockManager(ground, views);
}

function localBuffers(
  { attachment, storage, settings, memory, warn }: BackendGround,
  counts: IoCounts,
  nameOf: (relation: number) => string,
): LocalBuffers {
  const { buffer, exports, slot } = attachment;
  const address = exports.scratchAddress() >>> 0;
  const checksums = settings.dataChecksums;
  return new LocalBuffers({
    storage,
    memory,
    pages: settings.values.temp_buffers,
    slot,
    checks: new PrivatePages({ exports, buffer, address, checksums }),
    traffic: tempTraffic(attachment, counts),
    damage: settings.values,
    nameOf,
    warn,
  });
}

/** Counts temporary pages in a row of their own. */
function tempTraffic({ exports }: Attachment, counts: IoCounts): LocalTraffic {
  const count = (counter: number): void => {
    exports.countIo(IO_CONTEXT_TEMP, counter, 1, counter, 0);
  };
  return {
    hit: () => count(COUNTER_HITS),
    read: () => counts.read(IO_CONTEXT_TEMP, BLOCK_BYTES, counts.begin()),
    write: () => counts.write(IO_CONTEXT_TEMP, BLOCK_BYTES, counts.begin()),
    evict: () => count(COUNTER_EVICTIONS),
    extend: (blocks) => counts.extend(IO_CONTEXT_TEMP, blocks * BLOCK_BYTES, counts.begin()),
    dirty: () => count(COUNTER_DIRTIED),
  };
}
