// What a heavyweight lock is on: sixteen bytes exactly as PostgreSQL lays them out, so that rows
// and messages read the same, and their hash.
//
//  0        4        8        12       14     15      16
//  ┌────────┬────────┬────────┬────────┬──────┬────────┐
//  │ field1 │ field2 │ field3 │ field4 │ type │ method │
//  └────────┴────────┴────────┴────────┴──────┴────────┘
//                             └───────  rest  ─────────┘
//
// No padding: tags are compared and hashed whole. The hash decides three things at once: the chain
// (hash & head mask), the strong slot (hash mod 1,024) and the partition (hash mod 16). There are
// at least 1,024 heads, so that a chain lies in one strong slot and a strong slot in one partition.
//
// A tag that somebody asks for is kept in his own LockState (lock-state.ts); those of records never
// change while the record is linked.
//
// PostgreSQL: src/include/storage/locktag.h, LOCKTAG

import { WAIT_LOCK } from "../common/activity-constants";
import {
  ACCESS_SHARE_LOCK,
  DEFAULT_LOCK_METHOD,
  LOCKTAG_RELATION,
  REGION_DATABASE,
  ROW_EXCLUSIVE_LOCK,
  SHARE_LOCK,
  TAG_METHOD_SHIFT,
  TAG_TYPE_SHIFT,
} from "../common/lock-constants";

const TYPE_MASK: u32 = 0xff;
const FIELD1_FACTOR: u32 = 0x85ebca6b;
const FIELD2_FACTOR: u32 = 0x9e3779b1;
const FIELD3_FACTOR: u32 = 0x27d4eb2f;
const REST_FACTOR: u32 = 0x165667b1;
const FIRST_MIX: u32 = 0x7feb352d;
const SECOND_MIX: u32 = 0x846ca68b;
/** `rest` of every relation's tag: no field4, type 0, method 1. */
const RELATION_REST: u32 = (DEFAULT_LOCK_METHOD << TAG_METHOD_SHIFT) | LOCKTAG_RELATION;

@unmanaged
export class LockTag {
  field1: u32;
  field2: u32;
  field3: u32;
  /** field4 in the low half, then the type, then the method. */
  rest: u32;

  @inline static at(address: usize): LockTag {
    return changetype<LockTag>(address);
  }

  @inline fill(field1: u32, field2: u32, field3: u32, rest: u32): void {
    this.field1 = field1;
    this.field2 = field2;
    this.field3 = field3;
    this.rest = rest;
  }

  /** The tag of a relation of this region. */
  @inline fillRelation(relation: u32): void {
    this.fill(REGION_DATABASE, relation, 0, RELATION_REST);
  }

  /** Takes over the bytes of another tag. */
  @inline copy(other: LockTag): void {
    this.fill(other.field1, other.field2, other.field3, other.rest);
  }

  @inline equals(other: LockTag): bool {
    return (
      this.field2 == other.field2 &&
      this.field3 == other.field3 &&
      this.field1 == other.field1 &&
      this.rest == other.rest
    );
  }

  /** Every bit depends on every field: the low ones choose chain, strong slot and partition. */
  hash(): u32 {
    let hash =
      (this.field1 * FIELD1_FACTOR) ^
      (this.field2 * FIELD2_FACTOR) ^
      (this.field3 * FIELD3_FACTOR) ^
      (this.rest * REST_FACTOR);
    hash = (hash ^ (hash >>> 16)) * FIRST_MIX;
    hash = (hash ^ (hash >>> 15)) * SECOND_MIX;
    return hash ^ (hash >>> 16);
  }

  /** Under which a wait for such a lock is seen. */
  @inline waitEvent(): u32 {
    return WAIT_LOCK | ((this.rest >>> TAG_TYPE_SHIFT) & TYPE_MASK);
  }

  /** A relation of this region, so that it has a fast path. */
  @inline isRelation(): bool {
    return this.rest == RELATION_REST && this.field1 == REGION_DATABASE && this.field3 == 0;
  }

  /** Whether a lock of this mode on this tag is first tried on the fast path. */
  @inline isWeak(mode: u32): bool {
    return mode <= <u32>ROW_EXCLUSIVE_LOCK && this.isRelation();
  }

  /**
   * Whether a lock of this mode on this tag stops the fast path: it conflicts with modes 1 to 3.
   */
  @inline isStrong(mode: u32): bool {
    return mode >= <u32>SHARE_LOCK && this.isRelation();
  }
}

if (offsetof<LockTag>() != 16) ERROR("a tag is 16 bytes, PostgreSQL's");
if (ACCESS_SHARE_LOCK != 1) ERROR("the fast path's modes begin with 1");
