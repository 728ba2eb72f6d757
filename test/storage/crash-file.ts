// One file of a disk that can crash: what its readers see, what is durable of it, and the list of
// what came since its last sync. After a crash any subset of that list is there: writes in any
// order between two cuts, each in whatever of its sectors, and each change of length, or a part of
// it, or not. What was before a cut that is there does not come back.

import type { Random } from "../support/random.ts";

export const SECTOR_BYTES = 512;

/** Bytes with a length of their own, in an array that has room. */
class Content {
  bytes: Uint8Array;
  length: number;

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.bytes = bytes;
    this.length = bytes.length;
  }

  /** Makes it `length` long; what is cut off is zero if it grows again. */
  resize(length: number): void {
    if (length < this.length) this.bytes.fill(0, length, this.length);
    this.#reserve(length);
    this.length = length;
  }

  /** Writes, whatever the length is, and leaves it. */
  put(position: number, bytes: Uint8Array): void {
    this.#reserve(position + bytes.length);
    this.bytes.set(bytes, position);
  }

  copy(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  /** The bytes themselves, for one who goes on with them. */
  taken(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  #reserve(bytes: number): void {
    if (bytes <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(bytes, 2 * this.bytes.length));
    larger.set(this.bytes);
    this.bytes = larger;
  }
}

/** A write or a change of length that was not synced. */
interface Change {
  readonly position: number;
  /** What was written; none if the file was cut. */
  readonly bytes: Uint8Array | undefined;
  /** Length it gave the file, or undefined if it left it. */
  readonly length: number | undefined;
}

/** Is told what is not there after a crash, or only in part. */
type Lost = (what: string) => void;

/** What is kept of a change, or of everything: of a hundred, how many. */
export type Kept = 0 | 10 | 50 | 90 | 100;

/** A file. */
export class StoredFile {
  /** How many names lead to it. */
  names = 0;
  /** The same as {@link #durable} until something is changed: most files of an image are not. */
  #cache: Content;
  readonly #durable: Content;
  #pending: Change[] = [];

  /** @param bytes - what is durable of it from the beginning */
  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.#durable = new Content(bytes);
    this.#cache = this.#durable;
  }

  get size(): number {
    return this.#cache.length;
  }

  read(position: number, into: Uint8Array): number {
    const got = Math.max(0, Math.min(into.length, this.#cache.length - position));
    into.set(this.#cache.bytes.subarray(position, position + got));
    return got;
  }

  write(position: number, parts: readonly Uint8Array[]): number {
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    this.#part();
    const end = position + bytes.length;
    const length = end > this.#cache.length ? end : undefined;
    this.#pending.push({ position, bytes, length });
    if (length !== undefined) this.#cache.resize(length);
    this.#cache.put(position, bytes);
    return bytes.length;
  }

  truncate(length: number): void {
    if (length === this.#cache.length) return;
    this.#part();
    this.#pending.push({ position: 0, bytes: undefined, length });
    this.#cache.resize(length);
  }

  #part(): void {
    if (this.#cache === this.#durable) this.#cache = new Content(this.#durable.copy());
  }

  sync(): void {
    if (this.#cache === this.#durable) return;
    for (const { position, bytes, length } of this.#pending) {
      if (length !== undefined) this.#durable.resize(length);
      if (bytes !== undefined) this.#durable.put(position, bytes);
    }
    this.#durable.resize(this.#cache.length);
    this.#pending = [];
  }

  /** As Linux after a failed sync: what was to be written stays in the cache alone, as if clean. */
  dropPending(): void {
    this.#pending = [];
  }

  /** The file after a crash. @param kept - how likely an unsynced change is to be there */
  afterCrash(random: Random, kept: Kept, lost: Lost): StoredFile {
    const content = new Content(this.#durable.copy());
    const writes: Change[] = [];
    const settle = (): void => {
      if (kept < 100 && random.below(2) === 0) shuffle(writes, random);
      for (const write of writes.splice(0)) survivingSectors(content, write, random, kept, lost);
    };
    for (const change of this.#pending) {
      if (change.bytes === undefined) settle();
      else writes.push(change);
      survivingLength(content, change, random, kept, lost);
    }
    settle();
    return new StoredFile(content.taken());
  }
}

/** Gives the file the length of a change, or, if it is an extension, a part of it, or leaves it. */
function survivingLength(
  content: Content,
  { bytes, length }: Change,
  random: Random,
  kept: Kept,
  lost: Lost,
): void {
  if (length === undefined || (bytes !== undefined && length <= content.length)) return;
  if (random.below(100) >= kept) {
    lost(`length ${length}`);
  } else if (bytes !== undefined && kept < 100 && random.below(4) === 0) {
    const sectors = Math.floor((length - content.length) / SECTOR_BYTES);
    content.resize(content.length + random.below(sectors + 1) * SECTOR_BYTES);
    lost(`length ${length}, ${content.length} of it there`);
  } else {
    content.resize(length);
  }
}

/** Puts a write, or some of its sectors, or none, where there is room for it. */
function survivingSectors(
  content: Content,
  { position, bytes }: Change,
  random: Random,
  kept: Kept,
  lost: Lost,
): void {
  if (bytes === undefined) return;
  const room = bytes.subarray(0, Math.max(0, content.length - position));
  if (random.below(100) >= kept) {
    lost(`write of ${bytes.length} at ${position}`);
  } else if (kept === 100 || random.below(2) === 0) {
    content.put(position, room);
  } else {
    let written = 0;
    for (let at = 0; at < room.length; ) {
      const end = Math.min(room.length, at + SECTOR_BYTES - ((position + at) % SECTOR_BYTES));
      if (random.below(2) === 0) {
        content.put(position + at, room.subarray(at, end));
        written += end - at;
      }
      at = end;
    }
    if (written < room.length) {
      lost(`write of ${bytes.length} at ${position}, ${written} of it there`);
    }
  }
}

function shuffle<Item>(items: Item[], random: Random): void {
  for (let at = items.length - 1; at > 0; at--) {
    const other = random.below(at + 1);
    [items[at], items[other]] = [items[other] as Item, items[at] as Item];
  }
}
