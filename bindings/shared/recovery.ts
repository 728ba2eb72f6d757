/**
 * What a start does before anybody reads a page: it makes the data directory what it was at its
 * last committed checkpoint, whether it was left in order or not.
 *
 *   control document → c · it and journal c are made durable · relations get their length at c ·
 *   images of journal c go back in place, the first of each block · relations that c does not know
 *   go · files made durable · other journals are emptied · the relations document is made anew
 *
 * Journal c stays and is appended to: its images are still those of c. So nothing else here needs
 * an order, and a crash in the middle is followed by the same work once more.
 *
 * PostgreSQL: src/backend/access/transam/xlogrecovery.c, PerformWalRecovery (the role)
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { DataCorruptedError, hasCode } from "../abi/errors.ts";
import type { StorageManager } from "../storage/manager.ts";
import {
  type Control,
  newControl,
  type RelationEntry,
  writeControl,
  writeRelations,
} from "./control.ts";
import {
  beginJournal,
  emptyOtherJournals,
  type JournalHeader,
  journalFile,
  matchRecord,
  RECORD_BYTES,
  RECORD_HEADER_BYTES,
  readJournalHeader,
} from "./journal-format.ts";

/** What recovery did. */
export interface RecoveryResult {
  /** The checkpoint that the storage is at. */
  readonly checkpoint: number;
  /** Blocks put back to what they were. */
  readonly blocksRestored: number;
  /** Relations made since, whose files were removed. */
  readonly relationsRemoved: number;
  /** Records of journal c, up to its last image; new ones come behind. */
  readonly records: number;
}

/** Sums the 8 kB of a page as `pageDigest` does. @internal */
export type Digest = (image: Uint8Array) => number;

/**
 * Initialises new storage: no relations, checkpoint 1. What a crash within that has left is new.
 *
 * @throws {@link DataCorruptedError} XX001 if it is not new, but has lost its control document
 * @internal
 */
export function initialiseStorage(storage: StorageManager, dataChecksums: boolean): Control {
  const control = newControl(dataChecksums);
  const first = journalFile(control.checkpoint);
  const isOld = storage.journalsSync().some((file) => file !== first);
  if (isOld || storage.relationsSync().length > 0) throw controlMissing();
  beginJournal(storage, control);
  storage.syncJournalSync(first);
  writeControl(storage, control);
  return control;
}

/** Removes every fork of a relation. @internal */
export function removeFiles(storage: StorageManager, relation: number): void {
  for (const fork of [3, 2, 1, 0] as const) storage.unlinkSync(relation, fork);
}

/** Begins anew with an empty journal, by a checkpoint of what was recovered. @internal */
export function restart(
  storage: StorageManager,
  control: Control,
  recovered: RecoveryResult,
): RecoveryResult {
  if (recovered.records === 0) return recovered;
  const next = { ...control, checkpoint: control.checkpoint + 1 };
  beginJournal(storage, next);
  storage.syncJournalSync(journalFile(next.checkpoint));
  writeControl(storage, next);
  emptyOtherJournals(storage, next.checkpoint);
  writeRelations(storage, next);
  return { ...recovered, checkpoint: next.checkpoint, records: 0 };
}

/**
 * Brings storage to its last committed checkpoint.
 *
 * @throws {@link DataCorruptedError} XX001, naming what is missing or damaged
 * @internal
 */
export function recover(storage: StorageManager, control: Control, digest: Digest): RecoveryResult {
  const journal = journalFile(control.checkpoint);
  const header = readJournalHeader(storage, control.checkpoint);
  // What a killed process left may be in the system's memory alone: nothing that the document
  // leads to is changed before it is durable.
  writeControl(storage, control);
  storage.syncJournalSync(journal);
  const { images, records } = findImages(storage, header, digest);
  for (const [name, entry] of Object.entries(control.relations)) {
    mend(storage, name, entry, images.get(entry.number));
  }
  const restored = restoreImages(storage, journal, images);
  const known = new Set(Object.values(control.relations).map(({ number }) => number));
  const unknown = storage.relationsSync().filter((number) => !known.has(number));
  for (const number of unknown) removeFiles(storage, number);
  for (const number of known) storage.flushSync(number, 0);
  emptyOtherJournals(storage, control.checkpoint);
  writeRelations(storage, control);
  return {
    checkpoint: control.checkpoint,
    blocksRestored: restored,
    relationsRemoved: unknown.length,
    records,
  };
}

/** Byte position of the first image of each block of the main fork, by relation and block. */
type Images = ReadonlyMap<number, ReadonlyMap<number, number>>;

/** The images of a journal, and how many records it has up to its last one. */
function findImages(
  storage: StorageManager,
  header: JournalHeader,
  digest: Digest,
): { readonly images: Images; readonly records: number } {
  const { checkpoint } = header.control;
  const file = journalFile(checkpoint);
  const end = storage.journalBytesSync(file);
  const bytes = new Uint8Array(RECORD_BYTES);
  const image = bytes.subarray(RECORD_HEADER_BYTES);
  const images = new Map<number, Map<number, number>>();
  let records = 0;
  for (let at = header.recordsAt; at + RECORD_BYTES <= end; at += RECORD_BYTES) {
    storage.readJournalSync(file, at, bytes);
    const record = matchRecord(bytes, digest(image));
    if (record === undefined || record.journal !== checkpoint) continue;
    records = (at - header.recordsAt) / RECORD_BYTES + 1;
    const { relation, block } = record;
    if (block >= header.lengthOf(relation)) continue;
    const blocks = images.get(relation) ?? new Map<number, number>();
    images.set(relation, blocks);
    if (!blocks.has(block)) blocks.set(block, at + RECORD_HEADER_BYTES);
  }
  return { images, records };
}

function restoreImages(storage: StorageManager, journal: number, images: Images): number {
  const image = new Uint8Array(BLOCK_BYTES);
  let restored = 0;
  for (const [relation, blocks] of images) {
    for (const [block, position] of blocks) {
      storage.readJournalSync(journal, position, image);
      storage.writeSync(relation, 0, block, image);
      restored += 1;
    }
  }
  return restored;
}

/**
 * Gives a relation its length. One that was cut short since, and perhaps made longer again, may
 * end anyhow: shorter, within a block, behind a gap. All that was cut off has images, so it is cut
 * where these begin, and their blocks are made anew.
 */
function mend(
  storage: StorageManager,
  name: string,
  { number, blocks }: RelationEntry,
  images: ReadonlyMap<number, number> | undefined,
): void {
  if (!storage.existsSync(number, 0)) throw damaged(name, number, blocks, "has no file");
  const found = orderlyLength(storage, number);
  if (found !== undefined && found > blocks) storage.truncateSync(number, 0, blocks);
  if (found !== undefined && found >= blocks) return;
  let kept = blocks;
  while (kept > 0 && images?.has(kept - 1) === true) kept -= 1;
  try {
    storage.truncateSync(number, 0, kept);
  } catch (cause) {
    throw damaged(name, number, blocks, `has ${found ?? `less than ${kept}`} blocks`, cause);
  }
  storage.extendSync(number, 0, blocks);
}

/** Blocks of a relation, or undefined if its end is in disorder. */
function orderlyLength(storage: StorageManager, number: number): number | undefined {
  try {
    return storage.blocksSync(number, 0);
  } catch (error) {
    if (hasCode(error, "XX001")) return undefined;
    throw error;
  }
}

function controlMissing(): DataCorruptedError {
  return new DataCorruptedError(
    "control document is missing",
    { relation: "palloc.control" },
    {
      detail: "There are relations or journals, and nothing says which of them count.",
      hint: "Restore the data directory from a copy, or begin a new one.",
    },
  );
}

function damaged(
  name: string,
  number: number,
  blocks: number,
  has: string,
  cause?: unknown,
): DataCorruptedError {
  const message = `relation "${name}" ${has}, but had ${blocks} at the last checkpoint`;
  return new DataCorruptedError(
    message,
    { relation: name },
    {
      detail: `File "base/${number}" should have at least ${blocks * BLOCK_BYTES} bytes in all.`,
      hint: "Restore the data directory from a copy, or begin a new one.",
      cause,
    },
  );
}
