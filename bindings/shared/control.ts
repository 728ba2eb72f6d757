/**
 * What a data directory is, which relations it has, and how long each was at a checkpoint. Small
 * and text; the same form stands in three places:
 *
 * - the control document: the last committed checkpoint. Its replacement by the next one, whole and
 *   durable, is the commit. Who finds it after somebody's end writes it once more, as it is;
 * - the relations document: what holds now, changed under the control lock. Not durable, and made
 *   anew from the control document at each start;
 * - the header of a journal: what was cut there, so that a checkpoint whose backend died can be
 *   completed by another.
 *
 * PostgreSQL: src/include/catalog/pg_control.h, ControlFileData; pg_filenode.map
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { digestOf } from "../abi/digest.ts";
import { DataCorruptedError, PallocError } from "../abi/errors.ts";
import type { StorageManager } from "../storage/manager.ts";

/** Version of the layout of a data directory. */
export const FORMAT_VERSION = 4;
/** Numbers below are left for the catalogs of later versions. PostgreSQL: FirstNormalObjectId */
const FIRST_RELATION = 16384;
/** Names the control document in errors. */
const CONTROL_NAME = "palloc.control";

/** A relation as the control document knows it. */
export interface RelationEntry {
  /** Names its files. Never given out twice. */
  readonly number: number;
  /** Length of the main fork in blocks at the last checkpoint. */
  readonly blocks: number;
}

/** What the control document says. */
export interface Control {
  readonly dataChecksums: boolean;
  /** Number of the checkpoint: 1 is the new, empty directory. Its journal has the same number. */
  readonly checkpoint: number;
  readonly nextRelation: number;
  readonly relations: Readonly<Record<string, RelationEntry>>;
}

/** A new directory: no relations. */
export function newControl(dataChecksums: boolean): Control {
  return { dataChecksums, checkpoint: 1, nextRelation: FIRST_RELATION, relations: {} };
}

/**
 * Reads the control document.
 *
 * @returns undefined in new storage
 * @throws {@link PallocError} 55000 if the storage has another format or block size
 * @throws {@link DataCorruptedError} XX001 if it is damaged
 */
export function readControl(storage: StorageManager): Control | undefined {
  const bytes = storage.readControlSync();
  return bytes === undefined ? undefined : decodeControl(bytes, CONTROL_NAME);
}

/** Replaces the control document. Returns when it is durable. */
export function writeControl(storage: StorageManager, control: Control): void {
  storage.writeControlSync(encodeControl(control));
}

/** Reads what holds now; see {@link readControl}. */
export function readRelations(storage: StorageManager): Control | undefined {
  const bytes = storage.readRelationsSync();
  return bytes === undefined ? undefined : decodeControl(bytes, "palloc.relations");
}

/** Replaces what holds now; durable with the next checkpoint. */
export function writeRelations(storage: StorageManager, control: Control): void {
  storage.writeRelationsSync(encodeControl(control));
}

/** Reads a document. @param source - names it in errors */
export function decodeControl(bytes: Uint8Array, source: string): Control {
  const fields = parse(new TextDecoder().decode(bytes), source);
  checkFormat(fields);
  const { checksum, ...content } = fields;
  if (checksum !== checksumOf(content)) throw damaged(source, "its checksum does not match");
  const { dataChecksums, checkpoint, nextRelation, relations } = content as unknown as Control;
  return { dataChecksums, checkpoint, nextRelation, relations };
}

/** Writes a document: text, with a checksum over the rest of it. */
export function encodeControl(control: Control): Uint8Array {
  const { dataChecksums, checkpoint, nextRelation, relations } = control;
  const content = {
    format: "palloc data directory",
    version: FORMAT_VERSION,
    blockBytes: BLOCK_BYTES,
    dataChecksums,
    checkpoint,
    nextRelation,
    relations,
  };
  const text = JSON.stringify({ ...content, checksum: checksumOf(content) }, undefined, 2);
  return new TextEncoder().encode(`${text}\n`);
}

/** Looks a relation up by its name; inherited property names are no relations. */
export function findRelation(control: Control, name: string): RelationEntry | undefined {
  return Object.hasOwn(control.relations, name) ? control.relations[name] : undefined;
}

/** The control document with one relation put in, replaced, or (undefined) taken out. */
export function withRelation(
  control: Control,
  name: string,
  entry: RelationEntry | undefined,
): Control {
  const others = Object.entries(control.relations).filter(([each]) => each !== name);
  const all: [string, RelationEntry][] = entry === undefined ? others : [...others, [name, entry]];
  // fromEntries defines properties, so that even "__proto__" is a name like any other.
  return { ...control, relations: Object.fromEntries(all) };
}

function parse(text: string, source: string): Record<string, unknown> {
  try {
    const fields: unknown = JSON.parse(text);
    if (typeof fields === "object" && fields !== null) return fields as Record<string, unknown>;
  } catch (cause) {
    throw damaged(source, "it is no JSON", cause);
  }
  throw damaged(source, "it is no JSON object");
}

function checkFormat(fields: Record<string, unknown>): void {
  const { version, blockBytes } = fields;
  if (version === FORMAT_VERSION && blockBytes === BLOCK_BYTES) return;
  throw new PallocError("55000", "database files are incompatible with this version of palloc", {
    detail:
      `The data directory has format version ${String(version)} and blocks of ` +
      `${String(blockBytes)} bytes; supported are version ${FORMAT_VERSION} and ${BLOCK_BYTES}.`,
    hint: "Use another data directory, or the version of palloc that made this one.",
  });
}

function damaged(source: string, reason: string, cause?: unknown): DataCorruptedError {
  const parts = { hint: "Restore the data directory from a copy, or begin a new one.", cause };
  const what = source === CONTROL_NAME ? "control document" : `"${source}"`;
  return new DataCorruptedError(`${what} is damaged: ${reason}`, { relation: source }, parts);
}

/** Over the document's text; guards against damage, not against intent. */
function checksumOf(content: Record<string, unknown>): number {
  return digestOf(new TextEncoder().encode(JSON.stringify(content)));
}
