/**
 * Temporary relations of one backend by name. Names are kept here and nowhere else, so they are
 * private to it, are looked up before those of the control document, as pg_temp is, and end with
 * the backend.
 *
 * Files have numbers of the backend's slot, temporary files without a name too (temporary-file.ts).
 * No control document names them: those of a killed process are removed at the next start, those of
 * a killed thread by the owner of the region before it gives the slot back, and what could not be
 * removed then by the next backend in that slot.
 *
 * PostgreSQL: src/backend/catalog/namespace.c, InitTempTableNamespace, RemoveTempRelations
 */

import { FORK_INIT } from "../../assembly/common/constants.ts";
import { PallocError, RelationError } from "../abi/errors.ts";
import type { Fork, StorageManager } from "../storage/manager.ts";
import type { LocalBuffers } from "./local-buffers.ts";
import { isOwnTemporary, MAX_TEMP_RELATIONS, tempNumber } from "./temp-numbers.ts";

/** What temporary relations are made of. @internal */
export interface TempRelationsOptions {
  readonly storage: StorageManager;
  readonly buffers: LocalBuffers;
  /** This backend's place in the region. */
  readonly slot: number;
}

/** Names of a backend's temporary relations, and their files. @internal */
export class TempRelations {
  readonly #storage: StorageManager;
  readonly #buffers: LocalBuffers;
  readonly #slot: number;
  readonly #numbers = new Map<string, number>();
  readonly #names = new Map<number, string>();
  /** Numbers of temporary files. */
  readonly #files = new Set<number>();
  #count = 0;
  #cleaned = false;

  constructor({ storage, buffers, slot }: TempRelationsOptions) {
    this.#storage = storage;
    this.#buffers = buffers;
    this.#slot = slot;
  }

  /**
   * Makes an empty relation. A shared one of that name is hidden from now on. May wait for storage.
   *
   * @returns its number
   * @throws {@link RelationError} 42P07 if this backend has a temporary one of that name
   */
  create(name: string): number {
    if (this.#numbers.has(name)) throw alreadyExists(name);
    const number = this.#createFork();
    this.#note(name, number);
    return number;
  }

  /** Makes an empty file without a name. May wait for storage. @returns its number */
  createFile(): number {
    const number = this.#createFork();
    this.#files.add(number);
    return number;
  }

  /** Removes a file; nothing happens if it is gone. */
  removeFile(number: number): void {
    if (this.#files.delete(number)) unlinkForks(this.#storage, number);
  }

  #createFork(): number {
    this.#removeLeftOvers();
    const number = this.#freeNumber();
    unlinkForks(this.#storage, number);
    this.#storage.createSync(number, 0);
    return number;
  }

  /** The number of a temporary relation, or undefined: then the name may be a shared one's. */
  open(name: string): number | undefined {
    return this.#numbers.get(name);
  }

  /**
   * Gives a temporary relation another name. @returns false if there is none of the first name
   *
   * @throws {@link RelationError} 42P07 if there is one of the second name
   */
  rename(from: string, to: string): boolean {
    const number = this.#numbers.get(from);
    if (number === undefined) return false;
    if (this.#numbers.has(to)) throw alreadyExists(to);
    this.#numbers.delete(from);
    this.#note(to, number);
    return true;
  }

  /**
   * Removes a temporary relation with its pages and files; a shared one of its name is seen again.
   *
   * @returns false if there is none
   * @throws {@link PallocError} 55006 if pages of it are pinned; then nothing has changed
   */
  drop(name: string): boolean {
    const number = this.#numbers.get(name);
    if (number === undefined) return false;
    this.#buffers.dropForks(number);
    unlinkForks(this.#storage, number);
    this.#numbers.delete(name);
    this.#names.delete(number);
    return true;
  }

  /** Names of this backend's temporary relations, oldest first. */
  names(): string[] {
    return [...this.#numbers.keys()];
  }

  /** The name of a temporary relation, or undefined. */
  nameOf(number: number): string | undefined {
    return this.#names.get(number);
  }

  /**
   * Ends all temporary relations and files: pages are forgotten, pinned or not, and files removed.
   * Every file is tried. Idempotent.
   *
   * @throws what storage threw, as an `AggregateError` if several did
   */
  detach(): void {
    this.#buffers.detach();
    const thrown: unknown[] = [];
    for (const number of [...this.#names.keys(), ...this.#files]) {
      try {
        unlinkForks(this.#storage, number);
      } catch (error) {
        thrown.push(error);
      }
    }
    this.#names.clear();
    this.#numbers.clear();
    this.#files.clear();
    if (thrown.length > 1) {
      throw new AggregateError(thrown, `${thrown.length} temporary relations were not removed`);
    }
    if (thrown.length === 1) throw thrown[0];
  }

  /** What a backend that was in this slot before left behind. */
  #removeLeftOvers(): void {
    if (this.#cleaned) return;
    removeTemporaries(this.#storage, this.#slot);
    this.#cleaned = true;
  }

  #freeNumber(): number {
    if (this.#names.size + this.#files.size >= MAX_TEMP_RELATIONS) {
      const message = `a backend has ${MAX_TEMP_RELATIONS} temporary files at most`;
      throw new PallocError("54000", message, { hint: "Drop one first." });
    }
    // Ends: fewer numbers are in use than there are.
    for (;;) {
      const number = tempNumber(this.#slot, this.#count);
      this.#count += 1;
      if (!this.#names.has(number) && !this.#files.has(number)) return number;
    }
  }

  #note(name: string, number: number): void {
    this.#numbers.set(name, number);
    this.#names.set(number, name);
  }
}

/** From the last to the main one. */
const FORKS = Array.from({ length: FORK_INIT + 1 }, (_, index) => (FORK_INIT - index) as Fork);

/** Removes all forks, the main one last: it is the one that left-overs are found by. */
function unlinkForks(storage: StorageManager, number: number): void {
  for (const fork of FORKS) storage.unlinkSync(number, fork);
}

/**
 * Removes the files of a slot's temporary relations, whoever was the backend in it and is no more.
 *
 * @internal
 */
export function removeTemporaries(storage: StorageManager, slot: number): void {
  for (const number of storage.relationsSync()) {
    if (isOwnTemporary(number, slot)) unlinkForks(storage, number);
  }
}

function alreadyExists(name: string): RelationError {
  return new RelationError("42P07", `relation "${name}" already exists`);
}
