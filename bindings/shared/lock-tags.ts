/**
 * Modes and tags of heavyweight locks: PostgreSQL's names for them, the numbers wasm knows, and the
 * words of messages.
 *
 * PostgreSQL: src/backend/storage/lmgr/lmgr.c, DescribeLockTag; src/include/storage/locktag.h
 */

import {
  DEFAULT_LOCK_METHOD,
  LOCKTAG_ADVISORY,
  LOCKTAG_OBJECT,
  LOCKTAG_PAGE,
  LOCKTAG_RELATION,
  LOCKTAG_TRANSACTION,
  LOCKTAG_TUPLE,
  REGION_DATABASE,
  TAG_METHOD_SHIFT,
  TAG_TYPE_SHIFT,
  USER_LOCK_METHOD,
} from "../../assembly/common/lock-constants.ts";

/** The modes of locks, from the weakest; each number is its place. */
const MODES = [
  "NoLock",
  "AccessShareLock",
  "RowShareLock",
  "RowExclusiveLock",
  "ShareUpdateExclusiveLock",
  "ShareLock",
  "ShareRowExclusiveLock",
  "ExclusiveLock",
  "AccessExclusiveLock",
] as const;

/** A mode of a heavyweight lock, by PostgreSQL's name. */
export type LockMode = Exclude<(typeof MODES)[number], "NoLock">;

/** The number of each mode. @internal */
export const modeNumbers: Readonly<Record<LockMode, number>> = Object.fromEntries(
  MODES.map((name, number) => [name, number]).slice(1),
) as Record<LockMode, number>;

/** The name of a mode. @internal */
export function modeName(mode: number): LockMode {
  return MODES[mode] as LockMode;
}

/** What is locked. Numbers are 32 bits, but for those a comment says otherwise of. */
export type LockTag =
  | { readonly type: "relation"; readonly relation: number }
  | { readonly type: "page"; readonly relation: number; readonly page: number }
  | {
      readonly type: "tuple";
      readonly relation: number;
      readonly page: number;
      /** 16 bits. */
      readonly tuple: number;
    }
  | { readonly type: "transactionid"; readonly transactionid: number }
  | {
      readonly type: "object";
      readonly classid: number;
      readonly objid: number;
      /** 16 bits. Default 0, the whole object. */
      readonly objsubid?: number;
    }
  | AdvisoryTag;

/** An advisory lock, by its two keys; objsubid 1: halves of one key of 64 bits, 2: two keys. */
export interface AdvisoryTag {
  readonly type: "advisory";
  readonly classid: number;
  readonly objid: number;
  readonly objsubid: 1 | 2;
}

/** The four words of a tag, as wasm knows it. @internal */
export type TagWords = readonly [field1: number, field2: number, field3: number, rest: number];

const FIELD4_MASK = 0xffff;
const BYTE_MASK = 0xff;

function restOf(type: number, field4 = 0, method = DEFAULT_LOCK_METHOD): number {
  return (field4 & FIELD4_MASK) | (type << TAG_TYPE_SHIFT) | (method << TAG_METHOD_SHIFT);
}

const RELATION_REST = restOf(LOCKTAG_RELATION);
/** `rest` of advisory tags, by objsubid. @internal */
export const ADVISORY_REST: readonly [number, number, number] = [
  0,
  restOf(LOCKTAG_ADVISORY, 1, USER_LOCK_METHOD),
  restOf(LOCKTAG_ADVISORY, 2, USER_LOCK_METHOD),
];

/** @throws RangeError for a number that does not fit @internal */
export function wordsOf(tag: LockTag): TagWords {
  switch (tag.type) {
    case "relation":
      return [REGION_DATABASE, u32(tag.relation), 0, RELATION_REST];
    case "page":
      return [REGION_DATABASE, u32(tag.relation), u32(tag.page), restOf(LOCKTAG_PAGE)];
    case "tuple":
      return [
        REGION_DATABASE,
        u32(tag.relation),
        u32(tag.page),
        restOf(LOCKTAG_TUPLE, u16(tag.tuple)),
      ];
    case "transactionid":
      return [u32(tag.transactionid), 0, 0, restOf(LOCKTAG_TRANSACTION)];
    case "object":
      return [
        REGION_DATABASE,
        u32(tag.classid),
        u32(tag.objid),
        restOf(LOCKTAG_OBJECT, u16(tag.objsubid ?? 0)),
      ];
    case "advisory":
      if (tag.objsubid !== 1 && tag.objsubid !== 2) {
        throw new RangeError(`objsubid of an advisory lock is 1 or 2, not ${tag.objsubid}`);
      }
      return [REGION_DATABASE, tag.classid, tag.objid, ADVISORY_REST[tag.objsubid]];
    default:
      throw new TypeError(`no kind of lock: ${String((tag as { type?: unknown }).type)}`);
  }
}

function u32(value: number): number {
  if (value >>> 0 !== value) throw new RangeError(`a number of 32 bits, not ${value}`);
  return value;
}

function u16(value: number): number {
  if ((value & FIELD4_MASK) !== value) throw new RangeError(`a number of 16 bits, not ${value}`);
  return value;
}

/** The parts of `rest`. @internal */
export function partsOfRest(rest: number): { type: number; field4: number; method: number } {
  return {
    field4: rest & FIELD4_MASK,
    type: (rest >>> TAG_TYPE_SHIFT) & BYTE_MASK,
    method: rest >>> TAG_METHOD_SHIFT,
  };
}

/** A tag in the words of PostgreSQL's messages. @internal */
export function describe([field1, field2, field3, rest]: TagWords): string {
  const [first, second, third] = [field1 >>> 0, field2 >>> 0, field3 >>> 0];
  const { type, field4 } = partsOfRest(rest >>> 0);
  switch (type) {
    case LOCKTAG_RELATION:
      return `relation ${second} of database ${first}`;
    case LOCKTAG_PAGE:
      return `page ${third} of relation ${second} of database ${first}`;
    case LOCKTAG_TUPLE:
      return `tuple (${third},${field4}) of relation ${second} of database ${first}`;
    case LOCKTAG_TRANSACTION:
      return `transaction ${first}`;
    case LOCKTAG_OBJECT:
      return `object ${third} of class ${second} of database ${first}`;
    case LOCKTAG_ADVISORY:
      return `advisory lock [${first},${second},${third},${field4}]`;
    default:
      return `unrecognized locktag type ${type}`;
  }
}
