/**
 * A document that is replaced whole and durably by one write and one sync: it has two files, and a
 * replacement goes into the one that does not have the newest.
 *
 *   palloc.control.0   palloc document 6: 812 bytes, digest 1c9d02aa ⏎ the document …
 *   palloc.control.1   palloc document 7: 830 bytes, digest 90ab11c4 ⏎ the document …   the newest
 *
 * Replacements are numbered from 1; the even ones are in the first file. The digest is of number,
 * length and document: what a crash leaves of a replacement does not match it, and the other file
 * has the one before. Behind a document there may be the end of a longer one.
 *
 * - What is read may be a replacement whose sync never returned, because its thread or process
 *   ended, or failed. Before the file that has the one before is written over, the newest is
 *   written once more where it is, byte for byte, and synced; unless this object wrote it itself.
 * - Who reads while somebody writes meets one file in order, or, if two replacements come
 *   meanwhile, none, and looks again.
 * - As long as the second file was never made, nothing was durable unless the first is in order.
 *
 * A name is made durable once, when its file is new; a rename would need that each time.
 *
 * PostgreSQL: none; its control file is written in place, and must fit into one sector of the disk
 * (src/include/catalog/pg_control.h, PG_CONTROL_MAX_SAFE_SIZE)
 */

import { digestOf } from "../abi/digest.ts";
import { type DataFile, type Descriptors, type Directory, dataFile } from "./descriptors.ts";
import { type FileCalls, fileError, readFully, writeParts } from "./file-calls.ts";
import { StorageError } from "./manager.ts";

const FIRST_LINE = /^palloc document (\d+): (\d+) bytes, digest ([0-9a-f]{8})\n/;
const FIRST_LINE_BYTES = 80;

/** A replacement that matches its digest. */
interface Replacement {
  readonly number: number;
  readonly bytes: Uint8Array;
}

/** A small document in two files of the data directory, as one thread has them. */
export class TwoPlaces {
  readonly #calls: FileCalls;
  readonly #open: Descriptors;
  readonly #directory: Directory;
  readonly #places: readonly [DataFile, DataFile];
  /** The last replacement made here; it is durable. */
  #made = 0;

  /** @param name - of the document; its files are `name.0` and `name.1` */
  constructor(calls: FileCalls, open: Descriptors, directory: Directory, name: string) {
    const place = (n: number): DataFile =>
      dataFile(directory, `${name}.${n}`, `${directory.path}/${name}.${n}`);
    this.#calls = calls;
    this.#open = open;
    this.#directory = directory;
    this.#places = [place(0), place(1)];
  }

  /**
   * @returns the bytes as last replaced, or undefined if they never were
   * @throws {@link StorageError} XX001 if neither file is in order
   */
  read(): Uint8Array | undefined {
    return this.#newest()?.bytes;
  }

  /** Replaces the bytes. */
  write(bytes: Uint8Array): void {
    this.#open.requireSynced(this.#places[0]);
    const newest = this.#newest();
    if (newest !== undefined && newest.number !== this.#made) this.#put(newest);
    const next = { number: (newest?.number ?? 0) + 1, bytes };
    this.#put(next);
    this.#made = next.number;
  }

  /** As long as no file is in order, and they change, somebody is writing. */
  #newest(): Replacement | undefined {
    let before: number | undefined;
    for (;;) {
      const files = this.#places.map((place) => this.#bytesOf(place));
      const whole = files.flatMap((bytes) => replacementIn(bytes) ?? []);
      if (whole.length > 0) return whole.reduce((a, b) => (a.number > b.number ? a : b));
      if (files[0] === undefined) return undefined;
      const digest = files.reduce((sum, bytes = new Uint8Array()) => digestOf(bytes, sum), 0);
      if (digest === before) throw this.#damaged();
      before = digest;
    }
  }

  #bytesOf(place: DataFile): Uint8Array | undefined {
    const descriptor = this.#open.find(place);
    if (descriptor < 0) return undefined;
    const bytes = new Uint8Array(this.#open.stat(place).size);
    try {
      return bytes.subarray(0, readFully(this.#calls, descriptor, bytes, 0));
    } catch (cause) {
      throw fileError(`could not read file "${place.name}"`, place.path, cause);
    }
  }

  #put({ number, bytes }: Replacement): void {
    const place = this.#places[number % 2] as DataFile;
    if (this.#open.find(place) < 0) this.#open.create(place);
    const descriptor = this.#open.writable(place);
    place.written = true;
    try {
      writeParts(this.#calls, descriptor, [firstLine(number, bytes), bytes], 0);
    } catch (cause) {
      throw fileError(`could not write file "${place.name}"`, place.path, cause);
    }
    this.#open.sync(place);
    this.#open.requireName(place);
    this.#open.syncNames(this.#directory);
  }

  #damaged(): StorageError {
    const [{ name, path }, { name: other }] = this.#places;
    return new StorageError("XX001", `files "${name}" and "${other}" are damaged`, path, {
      detail: "Neither matches its digest.",
      hint: "Restore the data directory from a copy, or begin a new one.",
    });
  }
}

function firstLine(number: number, bytes: Uint8Array): Uint8Array {
  const begin = `palloc document ${number}: ${bytes.length} bytes, digest`;
  const digest = digestOf(bytes, digestOf(new TextEncoder().encode(begin)));
  return new TextEncoder().encode(`${begin} ${digest.toString(16).padStart(8, "0")}\n`);
}

/** The replacement that a file has, if it is whole. */
function replacementIn(file: Uint8Array | undefined): Replacement | undefined {
  if (file === undefined) return undefined;
  const line = FIRST_LINE.exec(
    new TextDecoder("latin1").decode(file.subarray(0, FIRST_LINE_BYTES)),
  );
  if (line === null) return undefined;
  const [text, number, length] = [line[0], Number(line[1]), Number(line[2])];
  const bytes = file.subarray(text.length, text.length + length);
  const expected = new TextDecoder().decode(firstLine(number, bytes));
  return text === expected ? { number, bytes } : undefined;
}
