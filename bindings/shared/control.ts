/**
 * The control document: what a data directory is, which relations it has, and how long each was at
 * the last checkpoint. Small, text, replaced whole and durably by the storage manager; each
 * replacement is a commit point. Changed under the control lock alone.
 *
 * The journal of before-images that makes a checkpoint a commit will be named here as well.
 *
 * PostgreSQL: src/include/catalog/pg_control.h, ControlFileData; pg_filenode.map
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { DataCorruptedError, PallocError } from "../abi/errors.ts";
import type { StorageManager } from "../storage/manager.ts";

/** Version of the layout of a data directory. */
export const FORMAT_VERSION = 1;
/** Numbers below are left for the catalogs of later versions. PostgreSQL: FirstNormalObjectId */
const FIRST_RELATION = 16384;
const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

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
  /** Checkpoints completed since the directory was made. */
  readonly checkpoint: number;
  readonly nextRelation: number;
  readonly relations: Readonly<Record<string, RelationEntry>>;
}

/** A new directory: no relations. */
export function newControl(dataChecksums: boolean): Control {
  return { dataChecksums, checkpoint: 0, nextRelation: FIRST_RELATION, relations: {} };
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
  if (bytes === undefined) return undefined;
  const fields = parse(new TextDecoder().decode(bytes));
  checkFormat(fields);
  const { checksum, ...content } = fields;
  if (checksum !== checksumOf(content)) throw damaged("its checksum does not match");
  const { dataChecksums, checkpoint, nextRelation, relations } = content as unknown as Control;
  return { dataChecksums, checkpoint, nextRelation, relations };
}

/** Replaces the control document. Returns when it is durable. */
export function writeControl(storage: StorageManager, control: Control): void {
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
  storage.writeControlSync(new TextEncoder().encode(`${text}\n`));
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

function parse(text: string): Record<string, unknown> {
  try {
    const fields: unknown = JSON.parse(text);
    if (typeof fields === "object" && fields !== null) return fields as Record<string, unknown>;
  } catch (cause) {
    throw damaged("it is no JSON", cause);
  }
  throw damaged("it is no JSON object");
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

function damaged(reason: string, cause?: unknown): DataCorruptedError {
  const parts = { hint: "Restore the data directory from a copy, or begin a new one.", cause };
  return new DataCorruptedError(
    `control document is damaged: ${reason}`,
    { relation: "palloc.control" },
    parts,
  );
}

/** FNV-1a over the document's text; guards against damage, not against intent. */
function checksumOf(content: Record<string, unknown>): number {
  let hash = FNV_OFFSET;
  for (const byte of new TextEncoder().encode(JSON.stringify(content))) {
    hash = Math.imul(hash ^ byte, FNV_PRIME) >>> 0;
  }
  return hash;
}
