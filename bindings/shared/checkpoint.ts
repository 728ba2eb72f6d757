/**
 * Checkpoints: what was dirty at one moment is written, made durable, and becomes what every later
 * start finds. One runs at a time; others go on writing.
 *
 *   cut      control lock and extension locks: relations and their lengths go into the header of
 *            a new journal, then the interval advances by one store
 *   write    frames dirty from before the cut, sorted, in batches, behind their images in
 *            journal c, that of the last commit; spread over time if wanted
 *   sync     every file that was written, by whomever, then the new journal: it may hold pages that
 *            were changed again before they were written
 *   commit   the control document is replaced
 *   after    the region learns of it · journal c is ended · files of relations dropped before the
 *            cut go
 *
 * A checkpoint that fails, or whose backend dies, between cut and commit leaves the interval ahead.
 * The next one cuts anew, two numbers further so that it has the words of the abandoned journal: c
 * is what a crash comes back to until then, and its journal has had every image all along. One that
 * ends so behind its commit is completed by whoever takes the checkpoint lock next.
 *
 * PostgreSQL: src/backend/storage/buffer/bufmgr.c, BufferSync; postmaster/checkpointer.c,
 * CheckpointWriteDelay; access/transam/xlog.c, CreateCheckPoint
 */

import { WAIT_CHECKPOINT_WRITE_DELAY } from "../../assembly/common/activity-constants.ts";
import {
  EXTENSION_LOCKS,
  FIRST_TEMP_RELATION,
  IO_CONTEXT_NORMAL,
  LOCK_CONTROL,
  LOCK_EXTENSION,
  LOCK_JOURNAL,
} from "../../assembly/common/constants.ts";
import type { StorageManager } from "../storage/manager.ts";
import type { Attachment } from "./attachment.ts";
import type { BatchWriter } from "./batch-writer.ts";
import { type Control, readControl, readRelations, writeControl } from "./control.ts";
import type { IoCounts } from "./io-counts.ts";
import { isDiskFull, type Journal } from "./journal.ts";
import { beginJournal, retireJournal } from "./journal-format.ts";
import { removeFiles } from "./recovery.ts";
import { type Routine, TURN } from "./routine.ts";

/** Longest rest between two batches of a spread checkpoint. */
const REST_MS = 100;
const MILLISECONDS = 1000;

/** What a checkpoint did. */
export interface CheckpointResult {
  /** Number of the checkpoint that is committed now. */
  readonly checkpoint: number;
  readonly buffersWritten: number;
  /** Files made durable. */
  readonly filesSynced: number;
  /** Time of the writes, rests included, and of making files durable. */
  readonly writeMilliseconds: number;
  readonly syncMilliseconds: number;
}

/** How a checkpoint goes about it. */
export interface CheckpointOptions {
  /** Called after each batch. @param done - buffers dealt with so far */
  readonly onProgress?: (done: number, total: number) => void;
  /**
   * Spreads the writes over this many seconds, so that others get at the disk in between; less if
   * somebody waits for its end. Default 0: as fast as it goes.
   */
  readonly spreadSeconds?: number;
}

interface Parts {
  readonly attachment: Attachment;
  readonly storage: StorageManager;
  readonly journal: Journal;
  readonly writer: BatchWriter;
  readonly counts: IoCounts;
}

/** Checkpoints of one backend. @internal */
export class Checkpoints {
  readonly #attachment: Attachment;
  readonly #storage: StorageManager;
  readonly #journal: Journal;
  readonly #writer: BatchWriter;
  readonly #counts: IoCounts;

  constructor({ attachment, storage, journal, writer, counts }: Parts) {
    this.#attachment = attachment;
    this.#storage = storage;
    this.#journal = journal;
    this.#writer = writer;
    this.#counts = counts;
  }

  /** Runs one. @param timed - whether time asked for it, and not a user */
  *run(options: CheckpointOptions = {}, timed = false): Routine<CheckpointResult> {
    this.#counts.checkpointBegun(timed);
    const work = function* (this: Checkpoints): Routine<CheckpointResult> {
      return yield* this.#complete(yield* this.#cut(), options);
    };
    return yield* this.#journal.withCheckpointLock(work.bind(this));
  }

  // ── Cut ────────────────────────────────────────────────────────────────────────────────────────

  /** Nobody makes, drops, renames or extends a relation at this moment; pages change freely. */
  *#cut(): Routine<Control> {
    const attachment = this.#attachment;
    const held: number[] = [];
    try {
      const extensions = Array.from({ length: EXTENSION_LOCKS }, (_, n) => LOCK_EXTENSION + n);
      for (const lock of [LOCK_CONTROL, ...extensions, LOCK_JOURNAL]) {
        yield* attachment.lockNamed(lock);
        held.push(lock);
      }
      const { interval, committed } = this.#journal;
      const control = this.#measured(interval + (interval === committed ? 1 : 2));
      beginJournal(this.#storage, control);
      this.#journal.begin(control.checkpoint);
      yield TURN;
      attachment.exports.cut(control.checkpoint);
      if (interval !== committed) retireJournal(this.#storage, interval);
      return control;
    } finally {
      for (const lock of held.reverse()) attachment.exports.unlockNamed(lock);
    }
  }

  /** The relations there are, with their lengths. */
  #measured(checkpoint: number): Control {
    const control = readRelations(this.#storage);
    if (control === undefined) throw new Error("the relations document is gone");
    const relations = Object.entries(control.relations).map(([name, { number }]) => {
      return [name, { number, blocks: this.#storage.blocksSync(number, 0) }] as const;
    });
    return { ...control, checkpoint, relations: Object.fromEntries(relations) };
  }

  // ── From cut to commit ─────────────────────────────────────────────────────────────────────────

  *#complete(control: Control, options: CheckpointOptions): Routine<CheckpointResult> {
    const started = performance.now();
    const buffersWritten = yield* this.#write(options);
    const written = performance.now();
    const filesSynced = this.#syncFiles(control);
    yield* this.#journal.syncWhole(control.checkpoint);
    yield TURN;
    this.#commit(control);
    const ended = performance.now();
    this.#counts.checkpointDone(written - started, ended - written);
    yield TURN;
    yield* this.#journal.turnTo(control.checkpoint);
    yield* this.#attachment.withNamedLock(LOCK_CONTROL, () => this.#removeDropped(control));
    return {
      checkpoint: control.checkpoint,
      buffersWritten,
      filesSynced,
      writeMilliseconds: written - started,
      syncMilliseconds: ended - written,
    };
  }

  *#write({ onProgress, spreadSeconds = 0 }: CheckpointOptions): Routine<number> {
    const attachment = this.#attachment;
    const { exports } = attachment;
    const total = exports.checkpointCollect();
    const started = performance.now();
    const list = {
      total,
      bufferAt: exports.checkpointBuffer,
      begin: exports.checkpointBegin,
      context: IO_CONTEXT_NORMAL,
    };
    const written = yield* this.#writer.write(list, function* (place): Routine<void> {
      onProgress?.(place, total);
      const due = started + (place / total) * spreadSeconds * MILLISECONDS;
      while (performance.now() < due && !attachment.isHurried) {
        const milliseconds = Math.min(REST_MS, due - performance.now());
        yield { op: "delay", milliseconds, event: WAIT_CHECKPOINT_WRITE_DELAY };
      }
      yield TURN;
    });
    this.#counts.checkpointWrote(written);
    return written;
  }

  #syncFiles(control: Control): number {
    let files = 0;
    try {
      for (const { number } of Object.values(control.relations)) {
        const began = this.#counts.begin();
        this.#storage.flushSync(number, 0);
        this.#counts.fsync(began);
        files += 1;
      }
    } catch (error) {
      this.#journal.poison();
      throw error;
    }
    return files;
  }

  /**
   * A failure may leave open which document a start would find, and then nobody may go on. A disk
   * that was full before the document was replaced has changed nothing.
   */
  #commit(control: Control): void {
    try {
      writeControl(this.#storage, control);
    } catch (error) {
      if (!isDiskFull(error) || readControl(this.#storage)?.checkpoint === control.checkpoint) {
        this.#journal.poison();
      }
      throw error;
    }
  }

  /** Files that neither the commit nor the present knows: their relations were dropped before. */
  *#removeDropped(committed: Control): Routine<void> {
    const now = readRelations(this.#storage);
    const documents = [committed.relations, now?.relations ?? {}];
    const known = new Set(documents.flatMap(Object.values).map(({ number }) => number));
    for (const number of this.#storage.relationsSync()) {
      if (known.has(number) || number >= FIRST_TEMP_RELATION) continue;
      removeFiles(this.#storage, number);
    }
  }
}
