/**
 * The bytes of a journal file (drawn in journal.ts): writing and reading its header and records.
 *
 * Journals take four files in turn, which are written over and neither removed nor emptied: names
 * that stay need no sync of their directory, and a file that keeps its blocks is synced in a third
 * of the time. Four, because a checkpoint that was given up leaves its journal in use when the next
 * but one is begun. The header says whose journal a file is, and every record too, within its
 * digest: what is behind a journal's own records is of an earlier one, and matches no more. Within
 * one life of a region no number is a journal's twice; each start empties all files but one, and
 * that is durable before a checkpoint begun since is committed.
 *
 * A journal that was followed by another loses its first bytes, so that nobody takes it for one
 * that still counts, and what it has beyond 4 MB.
 *
 * The first bytes of a journal are its header, made durable before its checkpoint is committed; a
 * journal whose header does not match is damage. A record that does not match its digest was never
 * synced: its block was not overwritten, and it is passed over.
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { DataCorruptedError, hasCode } from "../abi/errors.ts";
import type { Fork, StorageManager } from "../storage/manager.ts";
import { type Control, decodeControl, encodeControl } from "./control.ts";

const MAGIC = 0x4a6c6170; // "palJ"
const PREFIX_BYTES = 8;
/** Records begin at a multiple of this. */
const ALIGN_BYTES = 4096;
/** What stands before each image. */
export const RECORD_HEADER_BYTES = 32;
/** A header and an image. */
export const RECORD_BYTES = 8224;
const MIX = 0x85ebca6b;
const JOURNAL_FILES = 4;
/** A journal's file keeps so many bytes for the next one. */
const KEPT_BYTES = 4194304; // 4 MB
/** SQLSTATE of a file that is not there. */
const UNDEFINED_FILE = "58P01";

/** What a journal begins with. */
export interface JournalHeader {
  /** What was cut: relations and their lengths. */
  readonly control: Control;
  /** Byte position of the first record. */
  readonly recordsAt: number;
  /** Length of a relation's main fork at the cut; 0 if it was not there. */
  lengthOf(relation: number): number;
}

/** A record's header. */
export interface RecordHeader {
  readonly journal: number;
  readonly relation: number;
  readonly fork: Fork;
  readonly block: number;
  /** `pageDigest` of the image. */
  readonly digest: number;
}

/** Number of the file that a checkpoint's journal is in. */
export function journalFile(checkpoint: number): number {
  return checkpoint % JOURNAL_FILES;
}

/** Empties the journals of all checkpoints but one. */
export function emptyOtherJournals(storage: StorageManager, checkpoint: number): void {
  const kept = journalFile(checkpoint);
  for (const file of storage.journalsSync()) {
    if (file !== kept && storage.journalBytesSync(file) > 0) storage.createJournalSync(file);
  }
}

/** Ends a journal that was followed by another, or given up. */
export function retireJournal(storage: StorageManager, checkpoint: number): void {
  const file = journalFile(checkpoint);
  if (storage.journalBytesSync(file) > KEPT_BYTES) storage.createJournalSync(file);
  else storage.writeJournalSync(file, 0, [new Uint8Array(PREFIX_BYTES)]);
}

/** Begins a journal in its file, with its header; not yet durable. */
export function beginJournal(storage: StorageManager, control: Control): void {
  const file = journalFile(control.checkpoint);
  if (bytesIn(storage, file) === undefined) storage.createJournalSync(file);
  storage.writeJournalSync(file, 0, [encodeJournalHeader(control)]);
}

/** Bytes of a journal's file, or undefined if it was never made. */
function bytesIn(storage: StorageManager, file: number): number | undefined {
  try {
    return storage.journalBytesSync(file);
  } catch (error) {
    if (hasCode(error, UNDEFINED_FILE)) return undefined;
    throw error;
  }
}

/** Makes a journal's first bytes, padded to where its records begin. */
export function encodeJournalHeader(control: Control): Uint8Array {
  const text = encodeControl(control);
  const end = PREFIX_BYTES + text.length;
  const bytes = new Uint8Array(Math.ceil(end / ALIGN_BYTES) * ALIGN_BYTES);
  new DataView(bytes.buffer).setUint32(0, MAGIC, true);
  new DataView(bytes.buffer).setUint32(4, text.length, true);
  bytes.set(text, PREFIX_BYTES);
  return bytes;
}

/**
 * Reads a journal's header.
 *
 * @throws {@link DataCorruptedError} XX001, naming the file, if it is missing or does not match
 */
export function readJournalHeader(storage: StorageManager, journal: number): JournalHeader {
  const file = journalFile(journal);
  const name = `palloc.journal.${file}`;
  const bytes = bytesIn(storage, file);
  if (bytes === undefined) throw damagedJournal(name, "it is missing");
  const prefix = new Uint8Array(PREFIX_BYTES);
  const got = storage.readJournalSync(file, 0, prefix);
  const view = new DataView(prefix.buffer);
  if (got < PREFIX_BYTES || view.getUint32(0, true) !== MAGIC) {
    throw damagedJournal(name, "it has no header");
  }
  const text = new Uint8Array(Math.min(view.getUint32(4, true), bytes));
  storage.readJournalSync(file, PREFIX_BYTES, text);
  const control = decodeControl(text, name);
  if (control.checkpoint !== journal) {
    throw damagedJournal(name, `it belongs to checkpoint ${control.checkpoint}`);
  }
  const entries = Object.values(control.relations);
  const lengths = new Map(entries.map(({ number, blocks }) => [number, blocks]));
  return {
    control,
    recordsAt: Math.ceil((PREFIX_BYTES + text.length) / ALIGN_BYTES) * ALIGN_BYTES,
    lengthOf: (relation) => lengths.get(relation) ?? 0,
  };
}

/** Makes the 32 bytes before an image. */
export function recordHeader(record: RecordHeader): Uint8Array {
  const bytes = new Uint8Array(RECORD_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  const words = [MAGIC, record.journal, record.relation, record.fork, record.block];
  words.forEach((word, index) => {
    view.setUint32(index * 4, word, true);
  });
  view.setUint32(20, mixed(words, record.digest), true);
  return bytes;
}

/** Reads the 32 bytes before an image; undefined unless they and the image's digest match. */
export function matchRecord(bytes: Uint8Array, digest: number): RecordHeader | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const words = [0, 4, 8, 12, 16].map((at) => view.getUint32(at, true));
  const [magic, journal = 0, relation = 0, fork = 0, block = 0] = words;
  if (magic !== MAGIC || view.getUint32(20, true) !== mixed(words, digest)) return undefined;
  return { journal, relation, fork: fork as Fork, block, digest };
}

/** A record's identity and its image's digest in one word. */
function mixed(words: readonly number[], digest: number): number {
  let sum = digest;
  for (const word of words) {
    sum = Math.imul(sum ^ word, MIX);
    sum ^= sum >>> 15;
  }
  return sum >>> 0;
}

function damagedJournal(name: string, reason: string): DataCorruptedError {
  return new DataCorruptedError(
    `journal "${name}" is damaged: ${reason}`,
    { relation: name },
    {
      detail:
        "Without it the pages written since the last checkpoint cannot be put back. Or it is not " +
        "the last one's, because the newest control document is damaged.",
      hint: "Restore the data directory from a copy, or begin a new one.",
    },
  );
}

if (RECORD_BYTES !== RECORD_HEADER_BYTES + BLOCK_BYTES) throw new Error("a record is one image");
