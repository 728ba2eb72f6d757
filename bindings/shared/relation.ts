/**
 * Relations by name: made, opened, renamed and dropped through the relations document (control.ts).
 * Names are kept there and nowhere else; storage and pool know a relation by its number.
 *
 * Each change reads the document, changes it and replaces it, all under the control lock. It is
 * seen by all at once, and durable with the next checkpoint, together with the pages. Files that no
 * relation names are removed after a checkpoint, or at the next start.
 */

import { FORK_BITS, LOCK_CONTROL } from "../../assembly/common/constants.ts";
import { DataCorruptedError, RelationError } from "../abi/errors.ts";
import type { ForkId } from "../abi/pointers.ts";
import type { StorageManager } from "../storage/manager.ts";
import type { Attachment } from "./attachment.ts";
import {
  type Control,
  findRelation,
  readRelations,
  withRelation,
  writeRelations,
} from "./control.ts";
import type { Routine } from "./routine.ts";

/** Longest name of a relation in bytes of UTF-8. PostgreSQL: NAMEDATALEN - 1 */
const MAX_NAME_BYTES = 63;

/** An open relation. Holds nothing that must be given back. */
export class Relation {
  readonly name: string;
  /** Names its files; never given out twice. */
  readonly number: number;
  /** The main fork, as the pool's number forms want it. */
  readonly id: ForkId;
  readonly #storage: StorageManager;

  /** @internal */
  constructor(name: string, number: number, storage: StorageManager) {
    this.name = name;
    this.number = number;
    this.id = ((number << FORK_BITS) >>> 0) as ForkId;
    this.#storage = storage;
  }

  /**
   * Length of the main fork in blocks of 8 kB, asked of the storage at each call. May wait for it.
   */
  blocksSync(): number {
    return this.#storage.blocksSync(this.number, 0);
  }
}

/** The relations of one data directory, as one backend sees them. @internal */
export class RelationMap {
  readonly #attachment: Attachment;
  readonly #storage: StorageManager;
  /** Names of the relations this backend has opened, for its error messages. */
  readonly #names = new Map<number, string>();

  constructor(attachment: Attachment, storage: StorageManager) {
    this.#attachment = attachment;
    this.#storage = storage;
  }

  names(): string[] {
    return Object.keys(this.read().relations);
  }

  open(name: string): Relation {
    const entry = findRelation(this.read(), name);
    if (entry === undefined) throw doesNotExist(name);
    return this.#opened(name, entry.number);
  }

  *create(name: string): Routine<Relation> {
    checkName(name);
    return yield* this.#change((control) => {
      if (findRelation(control, name) !== undefined) throw alreadyExists(name);
      const number = control.nextRelation;
      // Files of that number are those of a creation that never came to its end.
      this.#storage.unlinkSync(number, 0);
      this.#storage.createSync(number, 0);
      const next = { ...control, nextRelation: number + 1 };
      const relation = this.#opened(name, number);
      return [withRelation(next, name, { number, blocks: 0 }), relation];
    });
  }

  *rename(from: string, to: string): Routine<void> {
    checkName(to);
    yield* this.#change((control) => {
      const entry = findRelation(control, from);
      if (entry === undefined) throw doesNotExist(from);
      if (findRelation(control, to) !== undefined) throw alreadyExists(to);
      this.#opened(to, entry.number);
      return [withRelation(withRelation(control, from, undefined), to, entry), undefined];
    });
  }

  /**
   * Takes the name away; returns the relation, whose pages are the caller's to forget. Its files
   * stay until a checkpoint no longer knows it.
   */
  *forget(name: string): Routine<Relation> {
    return yield* this.#change((control) => {
      const entry = findRelation(control, name);
      if (entry === undefined) throw doesNotExist(name);
      return [withRelation(control, name, undefined), this.#opened(name, entry.number)];
    });
  }

  /** The name under which an error message should show a relation. */
  nameOf(number: number): string {
    return this.#names.get(number) ?? String(number);
  }

  read(): Control {
    const control = readRelations(this.#storage);
    if (control !== undefined) return control;
    throw new DataCorruptedError("the relations document is gone", {
      relation: "palloc.relations",
    });
  }

  #opened(name: string, number: number): Relation {
    this.#names.set(number, name);
    return new Relation(name, number, this.#storage);
  }

  *#change<Result>(work: (control: Control) => [Control, Result]): Routine<Result> {
    yield* this.#attachment.lockNamed(LOCK_CONTROL);
    try {
      const [control, result] = work(this.read());
      writeRelations(this.#storage, control);
      return result;
    } finally {
      this.#attachment.exports.unlockNamed(LOCK_CONTROL);
    }
  }
}

/** @throws RangeError unless this can be a relation's name @internal */
export function checkName(name: string): void {
  if (typeof name !== "string") throw new TypeError(`a relation's name is a string, not ${name}`);
  const bytes = new TextEncoder().encode(name).length;
  if (bytes >= 1 && bytes <= MAX_NAME_BYTES) return;
  throw new RangeError(
    `a relation's name has 1 to ${MAX_NAME_BYTES} bytes, "${name}" has ${bytes}`,
  );
}

function doesNotExist(name: string): RelationError {
  return new RelationError("42P01", `relation "${name}" does not exist`);
}

function alreadyExists(name: string): RelationError {
  return new RelationError("42P07", `relation "${name}" already exists`);
}
