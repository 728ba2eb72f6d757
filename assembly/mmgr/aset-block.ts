// The header of a block of a general context: who owns it, its neighbours in the list, how far it
// is used. Its last word is spare in PostgreSQL's 24 bytes; here it tells a block header from other
// bytes, so that a forged or stale chunk header leads nowhere.
//
//    0     4          8      12     16    20
//   ┌─────┬──────────┬──────┬──────┬─────┬──────┐
//   │ set │ previous │ next │ free │ end │ mark │   then chunks
//   └─────┴──────────┴──────┴──────┴─────┴──────┘
//
// PostgreSQL: src/backend/utils/mmgr/aset.c, AllocBlockData

import { ASET_BLOCK_HEADER_BYTES } from "../common/constants";
import { AllocSet } from "./aset";
import { ChunkHeader } from "./chunk";

/** Each live block header carries its own address under this pattern; see AllocBlock.isGenuine. */
const BLOCK_MARK: usize = 0x5eb10c4d;

/** The header of a block. */
@unmanaged
export class AllocBlock {
  set: AllocSet;
  previous: AllocBlock | null;
  next: AllocBlock | null;
  /** Where the next chunk is cut; equal to `end` in a dedicated block. */
  free: usize;
  end: usize;
  /** Tells a block header from other bytes; cleared when the block is given back. */
  private mark: usize;

  @inline static at(address: usize): AllocBlock {
    return changetype<AllocBlock>(address);
  }

  @inline get address(): usize {
    return changetype<usize>(this);
  }

  /** Where the first chunk's header lies. */
  @inline get start(): usize {
    return changetype<usize>(this) + ASET_BLOCK_HEADER_BYTES;
  }

  @inline get size(): u32 {
    return <u32>(this.end - changetype<usize>(this));
  }

  /** Whether a block of some living context begins here: what a forged chunk header cannot know. */
  @inline get isGenuine(): bool {
    return this.mark == (changetype<usize>(this) ^ BLOCK_MARK);
  }

  @inline get isDedicated(): bool {
    return ChunkHeader.at(this.start).isExternal && this.free == this.end;
  }

  @inline sign(): void {
    this.mark = changetype<usize>(this) ^ BLOCK_MARK;
  }

  @inline unsign(): void {
    this.mark = 0;
  }

  /** Makes this the empty block of `set` that ends at `end`, in no list. */
  open(set: AllocSet, end: usize): void {
    this.set = set;
    this.previous = null;
    this.next = null;
    this.free = this.start;
    this.end = end;
    this.sign();
  }
}

if (offsetof<AllocBlock>() > <usize>ASET_BLOCK_HEADER_BYTES) ERROR("the block header is 24 bytes");
