/**
 * The catalog cache of the region, seen from one backend: what wasm is asked, and the messages of
 * the ring as they come in.
 *
 * A batch is taken off the ring before any of it is applied, and what is applied may itself take
 * more: so messages stand in a queue of the backend's, and whoever receives empties it first.
 *
 * PostgreSQL: src/backend/storage/ipc/sinval.c, ReceiveSharedInvalidMessages
 */

import {
  CATALOG_NAME_BYTES,
  MESSAGE_ALL,
  MESSAGE_CATALOG_OFFSET,
  MESSAGE_HASH_OFFSET,
  MESSAGE_KIND_OFFSET,
  ROW_DATA_BYTES_OFFSET,
  ROW_DATA_OFFSET,
  ROW_HASH_OFFSET,
  ROW_KEYS_OFFSET,
  ROW_MESSAGES_OFFSET,
  SINVAL_BATCH,
  SINVAL_MESSAGE_SHIFT,
  ST_NO_ROOM,
  ST_NO_ROW,
  ST_RESET,
  ST_STALE,
} from "../../assembly/common/cache-constants.ts";
import { ST_BUSY, ST_MISS, ST_OK } from "../../assembly/common/constants.ts";
import { PallocError } from "../abi/errors.ts";
import type { Attachment } from "./attachment.ts";
import { type CatalogKey, KeyWriter } from "./catalog-keys.ts";
import type { Routine } from "./routine.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
const NO_ROW = -1;

/** Something that must not be believed any more. @internal */
export interface Invalidation {
  readonly catalog: number;
  /** Undefined: all of the catalog. */
  readonly hash: number | undefined;
}

/** Who applies what is received. @internal */
export interface Receiver {
  invalidate(message: Invalidation): void;
  reset(): void;
}

/** A row found in the shared cache: its bytes are copied; undefined, there is none. @internal */
export interface Found {
  readonly row: Uint8Array | undefined;
}

/** One backend's way to the shared catalog cache. @internal */
export class CatalogRing {
  readonly #attachment: Attachment;
  readonly #runSync: <Result>(routine: Routine<Result>) => Result;
  readonly #receiver: Receiver;
  readonly #row: number;
  readonly #keys: KeyWriter;
  readonly #u8: Uint8Array;
  #joined = false;
  /** Received and not yet applied. */
  readonly #queue: Invalidation[] = [];

  constructor(
    attachment: Attachment,
    runSync: <Result>(routine: Routine<Result>) => Result,
    receiver: Receiver,
  ) {
    this.#attachment = attachment;
    this.#runSync = runSync;
    this.#receiver = receiver;
    this.#row = attachment.exports.catalogRow() >>> 0;
    this.#keys = new KeyWriter(attachment.buffer, this.#row + ROW_KEYS_OFFSET);
    this.#u8 = new Uint8Array(attachment.buffer);
  }

  /** Whether this backend receives. */
  get joined(): boolean {
    return this.#joined;
  }

  #word(offset: number): number {
    return this.#attachment.i32[(this.#row + offset) / WORD_BYTES] ?? 0;
  }

  #untilDone(call: () => number): number {
    const status = call();
    return status === ST_BUSY ? this.#runSync(this.#attachment.untilDone(call)) : status;
  }

  /** The number of a catalog, the same in all backends. @throws 54000 if there are 64 */
  register(name: string): number {
    const text = new TextEncoder().encode(name);
    if (text.length < 1 || text.length >= CATALOG_NAME_BYTES) {
      throw new RangeError(`a catalog's name has 1 to ${CATALOG_NAME_BYTES - 1} bytes: "${name}"`);
    }
    const { exports } = this.#attachment;
    exports.catalogJoin();
    this.#joined = true;
    const number = this.#untilDone(() => {
      const at = this.#row + ROW_MESSAGES_OFFSET;
      this.#u8.fill(0, at, at + CATALOG_NAME_BYTES);
      this.#u8[at] = text.length;
      this.#u8.set(text, at + 1);
      return exports.catalogNumber();
    });
    if (number === ST_NO_ROOM) throw new PallocError("54000", "too many catalogs in one region");
    return this.#attachment.check(number);
  }

  /** The hash by which messages name these keys. */
  hashOf(catalog: number, keys: readonly CatalogKey[]): number {
    return this.#attachment.exports.catalogHash(catalog, this.#keys.write(keys)) >>> 0;
  }

  /** What the shared cache knows; undefined if nothing. */
  find(catalog: number, keys: readonly CatalogKey[]): Found | undefined {
    const { exports } = this.#attachment;
    const entry = exports.catalogFind(catalog, this.#keys.write(keys));
    if (entry === ST_MISS) return undefined;
    if (entry === ST_NO_ROW) return { row: undefined };
    const at = this.#word(ROW_DATA_OFFSET) >>> 0;
    const row = this.#u8.slice(at, at + this.#word(ROW_DATA_BYTES_OFFSET));
    exports.catalogRelease(entry);
    return { row };
  }

  /** Holds an entry that is found by numbers; below 0 if there is none. */
  hold(
    catalog: number,
    count: number,
    one: number,
    two: number,
    three: number,
    four: number,
  ): number {
    return this.#attachment.exports.catalogFindWords(catalog, count, one, two, three, four);
  }

  /** Gives an entry back. */
  release(entry: number): void {
    this.#attachment.check(this.#attachment.exports.catalogRelease(entry));
  }

  /** The hash of what was just looked for. */
  get lastHash(): number {
    return this.#word(ROW_HASH_OFFSET) >>> 0;
  }

  /** To be asked before a row is read that is to be published. */
  begin(): number {
    return this.#attachment.exports.catalogBegin();
  }

  /**
   * Gives others a row that was read since `since`. Where there is no room they do without.
   *
   * @returns false if it has changed meanwhile, or may have: read it again
   */
  publish(
    catalog: number,
    keys: readonly CatalogKey[],
    row: Uint8Array | undefined,
    since: number,
  ): boolean {
    const { exports } = this.#attachment;
    const bytes = row?.length ?? NO_ROW;
    const reserve = (): number => exports.catalogReserve(catalog, this.#keys.write(keys), bytes);
    const entry = this.#untilDone(reserve);
    if (entry === ST_NO_ROOM) return true;
    this.#attachment.check(entry);
    try {
      if (row !== undefined) this.#u8.set(row, this.#word(ROW_DATA_OFFSET) >>> 0);
    } catch (error) {
      exports.catalogDiscard(entry);
      throw error;
    }
    return this.#untilDone(() => exports.catalogPublish(entry, since)) !== ST_STALE;
  }

  // ── Messages ───────────────────────────────────────────────────────────────────────────────────

  /** Says that something others may have cached is about to change, or that all of it is sent. */
  announce(coming: boolean): void {
    this.#attachment.exports.catalogAnnounce(coming ? 1 : 0);
  }

  /** Kills shared entries and tells everybody, this backend too. */
  send({ catalog, hash }: Invalidation): void {
    const { exports } = this.#attachment;
    const call = (): number =>
      hash === undefined
        ? exports.catalogInvalidateAll(catalog)
        : exports.catalogInvalidate(catalog, hash);
    const status = this.#untilDone(call);
    if (status !== ST_OK) this.#attachment.check(status);
  }

  /** Applies every message that was sent before this call. */
  receive(): void {
    if (!this.#joined) return;
    this.#drain();
    for (;;) {
      const count = this.#attachment.exports.catalogReceive();
      if (count === 0) return;
      if (count === ST_RESET) {
        this.#receiver.reset();
        continue;
      }
      this.#take(this.#attachment.check(count));
      this.#drain();
      if (count < SINVAL_BATCH) return;
    }
  }

  #take(count: number): void {
    for (let index = 0; index < count; index += 1) {
      const at = ROW_MESSAGES_OFFSET + (index << SINVAL_MESSAGE_SHIFT);
      const isAll = this.#word(at + MESSAGE_KIND_OFFSET) === MESSAGE_ALL;
      const hash = isAll ? undefined : this.#word(at + MESSAGE_HASH_OFFSET) >>> 0;
      this.#queue.push({ catalog: this.#word(at + MESSAGE_CATALOG_OFFSET), hash });
    }
  }

  #drain(): void {
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      this.#receiver.invalidate(next);
    }
  }
}
