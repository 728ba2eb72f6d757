/**
 * Heavyweight locks as the rows of pg_locks, and who blocks whom.
 *
 * First every backend's fast path is read as it is, then the table with all its partitions locked:
 * that part is of one moment. A lock that is moved in between appears twice.
 *
 * PostgreSQL: src/backend/utils/adt/lockfuncs.c, pg_lock_status, pg_blocking_pids
 */

import {
  LIFE_STATE_BITS,
  OWNER_MASK,
  PART_FAST_PATH,
  PART_LOCK_RECORDS,
} from "../../assembly/common/constants.ts";
import {
  FAST_PATH_ENTRY_BYTES,
  FAST_PATH_MODES,
  FAST_PATH_MOVED,
  LOCK_MODES,
  LOCK_RECORD_BYTES,
  LOCK_STATE_BYTES,
  LOCK_STATE_WAIT_START_OFFSET,
  LOCKTAG_ADVISORY,
  LOCKTAG_OBJECT,
  LOCKTAG_PAGE,
  LOCKTAG_RELATION,
  LOCKTAG_TRANSACTION,
  LOCKTAG_TUPLE,
  RECORD_HOLD_SHIFT,
  RECORD_MOVING,
  RECORD_TAG_OFFSET,
  RECORD_TICKET_OFFSET,
  RECORD_WAIT_MASK,
  RECORD_WAIT_SHIFT,
} from "../../assembly/common/lock-constants.ts";
import type { Attachment } from "./attachment.ts";
import { type LockMode, modeName, partsOfRest, type TagWords, wordsOf } from "./lock-tags.ts";
import type { Routine } from "./routine.ts";
import { partOf } from "./statistics.ts";

/** A row of `pg_locks`. */
export interface LockRow {
  readonly locktype: string;
  readonly database: number | null;
  readonly relation: number | null;
  readonly page: number | null;
  readonly tuple: number | null;
  readonly virtualxid: string | null;
  readonly transactionid: number | null;
  readonly classid: number | null;
  readonly objid: number | null;
  readonly objsubid: number | null;
  /** Slot of the backend, and 0: it has no virtual transactions. */
  readonly virtualtransaction: string;
  /** Thread of the backend, as in pg_stat_activity; several backends may share it. */
  readonly pid: number;
  readonly mode: LockMode;
  readonly granted: boolean;
  readonly fastpath: boolean;
  readonly waitstart: Date | null;
  /** Slot of the backend. Not in PostgreSQL. */
  readonly slot: number;
}

/** One record of the table, or one entry of a fast path. */
interface Seen {
  readonly slot: number;
  readonly words: TagWords;
  /** Bit `1 << mode`. */
  readonly held: number;
  readonly awaited: number;
  readonly ticket: bigint;
  readonly fastpath: boolean;
}

const WORD_BYTES = Uint32Array.BYTES_PER_ELEMENT;
const MODE_BITS = (1 << (LOCK_MODES + 1)) - 2;
const TYPES: Readonly<Record<number, string>> = {
  [LOCKTAG_RELATION]: "relation",
  [LOCKTAG_PAGE]: "page",
  [LOCKTAG_TUPLE]: "tuple",
  [LOCKTAG_TRANSACTION]: "transactionid",
  [LOCKTAG_OBJECT]: "object",
  [LOCKTAG_ADVISORY]: "advisory",
};
/** What each mode excludes, bit `1 << mode`. */
const CONFLICTS = [0, 0x100, 0x180, 0x1e0, 0x1f0, 0x1d8, 0x1f8, 0x1fc, 0x1fe];

/** Looks at the locks of a region. @internal */
export class LockViews {
  readonly #attachment: Attachment;
  readonly #slots: number;

  constructor(attachment: Attachment, slots: number) {
    this.#attachment = attachment;
    this.#slots = slots;
  }

  *rows(): Routine<LockRow[]> {
    return (yield* this.#look()).flatMap((seen) => this.#rowsOf(seen));
  }

  *blockingPids(pid: number): Routine<number[]> {
    const all = yield* this.#look();
    const waiting = all.filter((seen) => seen.awaited !== 0 && this.pid(seen.slot) === pid);
    return waiting.flatMap((waiter) =>
      all.filter((other) => blocks(other, waiter)).map(({ slot }) => this.pid(slot)),
    );
  }

  /** Who holds a lock, in whatever mode, and who waits for it, the first in the queue first. */
  *queueOn(words: TagWords): Routine<{ holders: number[]; waiters: number[] }> {
    const key = keyOf(words);
    const seen = (yield* this.#look()).filter((other) => keyOf(other.words) === key);
    const queue = seen.filter(({ awaited }) => awaited !== 0);
    queue.sort((one, other) => (one.ticket < other.ticket ? -1 : 1));
    return {
      holders: seen.filter(({ held }) => held !== 0).map(({ slot }) => this.pid(slot)),
      waiters: queue.map(({ slot }) => this.pid(slot)),
    };
  }

  *#look(): Routine<Seen[]> {
    const fast = this.#fastPaths();
    const { exports, buffer } = this.#attachment;
    this.#attachment.check(yield* this.#attachment.untilDone(() => exports.lockTableStill()));
    const { off, size } = partOf(buffer, PART_LOCK_RECORDS);
    const bytes = new Uint8Array(new ArrayBuffer(size));
    try {
      bytes.set(new Uint8Array(buffer, off, size));
    } finally {
      exports.lockTableFree();
    }
    return [...fast, ...recordsIn(bytes.buffer)];
  }

  #fastPaths(): Seen[] {
    const { buffer } = this.#attachment;
    const { off, size } = partOf(buffer, PART_FAST_PATH);
    const found: Seen[] = [];
    const bytes = size / this.#slots;
    for (let slot = 0; slot < this.#slots; slot += 1) {
      const first = off + slot * bytes + LOCK_STATE_BYTES;
      for (let at = first; at < off + (slot + 1) * bytes; at += FAST_PATH_ENTRY_BYTES) {
        const word = Atomics.load(new BigUint64Array(buffer, at, 1), 0);
        const modes = Number(word >> 32n);
        const held = (modes & FAST_PATH_MOVED) !== 0 ? 0 : modes & FAST_PATH_MODES;
        const relation = Number(BigInt.asUintN(32, word));
        const words = wordsOf({ type: "relation", relation });
        if (held !== 0) found.push({ slot, words, held, awaited: 0, ticket: 0n, fastpath: true });
      }
    }
    return found;
  }

  #rowsOf(seen: Seen): LockRow[] {
    const rows: LockRow[] = [];
    for (let mode = 1; mode <= LOCK_MODES; mode += 1) {
      if ((seen.held & (1 << mode)) !== 0) rows.push(this.#row(seen, mode, true));
    }
    if (seen.awaited !== 0) rows.push(this.#row(seen, seen.awaited, false));
    return rows;
  }

  #row(seen: Seen, mode: number, granted: boolean): LockRow {
    return {
      ...columnsOf(seen.words),
      virtualtransaction: `${seen.slot}/0`,
      pid: this.pid(seen.slot),
      mode: modeName(mode),
      granted,
      fastpath: seen.fastpath,
      waitstart: granted ? null : this.#waitStart(seen.slot),
      slot: seen.slot,
    };
  }

  /** The thread of a slot, as errors and rows name a backend. */
  pid(slot: number): number {
    return this.#attachment.exports.slotLife(slot) >>> LIFE_STATE_BITS;
  }

  #waitStart(slot: number): Date | null {
    const { buffer } = this.#attachment;
    const { off, size } = partOf(buffer, PART_FAST_PATH);
    const at = off + (slot * size) / this.#slots + LOCK_STATE_WAIT_START_OFFSET;
    const time = new DataView(buffer).getFloat64(at, true);
    return time === 0 ? null : new Date(time);
  }
}

function keyOf(words: TagWords): string {
  return words.map((word) => word >>> 0).join(".");
}

function recordsIn(bytes: ArrayBuffer): Seen[] {
  const words = new Uint32Array(bytes);
  const tickets = new BigUint64Array(bytes);
  const found: Seen[] = [];
  for (let at = 0; at < bytes.byteLength; at += LOCK_RECORD_BYTES) {
    const word = words[at / WORD_BYTES] ?? 0;
    if (word === 0 || (word & RECORD_MOVING) !== 0) continue;
    const tag = (at + RECORD_TAG_OFFSET) / WORD_BYTES;
    found.push({
      slot: (word & OWNER_MASK) - 1,
      words: Array.from(words.subarray(tag, tag + 4)) as unknown as TagWords,
      held: (word >>> RECORD_HOLD_SHIFT) & MODE_BITS,
      awaited: (word & RECORD_WAIT_MASK) >>> RECORD_WAIT_SHIFT,
      ticket: tickets[(at + RECORD_TICKET_OFFSET) / BigUint64Array.BYTES_PER_ELEMENT] ?? 0n,
      fastpath: false,
    });
  }
  return found;
}

/** Whether `other` holds what excludes the waiter, or waits for it before him. */
function blocks(other: Seen, waiter: Seen): boolean {
  if (other.slot === waiter.slot) return false;
  if (other.words.some((word, index) => word !== waiter.words[index])) return false;
  const excluded = CONFLICTS[waiter.awaited] ?? 0;
  const ahead = other.awaited !== 0 && other.ticket < waiter.ticket ? 1 << other.awaited : 0;
  return ((other.held | ahead) & excluded) !== 0;
}

type TagColumns = Pick<
  LockRow,
  | "locktype"
  | "database"
  | "relation"
  | "page"
  | "tuple"
  | "virtualxid"
  | "transactionid"
  | "classid"
  | "objid"
  | "objsubid"
>;

function columnsOf([field1, field2, field3, rest]: TagWords): TagColumns {
  const { type, field4 } = partsOfRest(rest);
  const onRelation = [LOCKTAG_RELATION, LOCKTAG_PAGE, LOCKTAG_TUPLE].includes(type);
  const onPage = type === LOCKTAG_PAGE || type === LOCKTAG_TUPLE;
  const onObject = type === LOCKTAG_OBJECT || type === LOCKTAG_ADVISORY;
  return {
    locktype: TYPES[type] ?? "unknown",
    database: type === LOCKTAG_TRANSACTION ? null : field1,
    relation: onRelation ? field2 : null,
    page: onPage ? field3 : null,
    tuple: type === LOCKTAG_TUPLE ? field4 : null,
    virtualxid: null,
    transactionid: type === LOCKTAG_TRANSACTION ? field1 : null,
    classid: onObject ? field2 : null,
    objid: onObject ? field3 : null,
    objsubid: onObject ? field4 : null,
  };
}
