// Forgetting the pages of a relation that goes away. The caller excludes its users; what may still
// be met are guards of evicting backends and writes under way, which end by themselves.
//
// Looks each block up when there are few, else scans all descriptors, taking tags as hints; decides
// each under its partition lock. Dirty pages are discarded.
//
// PostgreSQL: src/backend/storage/buffer/bufmgr.c, DropRelationBuffers, InvalidateBuffer

import { ST_BUSY, ST_OK, ST_SELF, STATE_TAG_VALID } from "../common/constants";
import { Hash } from "../common/hash";
import { Region } from "../ipc/region";
import { BufferDesc, State } from "./desc";
import { Evict } from "./evict";
import { Hold } from "./hold";
import { Pool } from "./pool";
import { BufferTable, NO_BUFFER } from "./table";

/** Relations shorter than this part of the pool are looked up block by block. */
const PROBE_FRACTION: u32 = 32;

export class Drop {
  /**
   * Forgets the `blocks` pages of `file` from `firstBlock` on, and more behind them: ST_OK when
   * none is left, ST_BUSY if some are in use for a moment (call again), ST_SELF if this backend
   * itself has one pinned.
   */
  static pages(file: u32, firstBlock: u32, blocks: u32): i32 {
    const few = Region.get().buffers / PROBE_FRACTION;
    if (blocks < few) return Drop.probe(file, firstBlock, blocks);
    let result: i32 = ST_OK;
    for (let buffer = Region.get().buffers; buffer-- > 0; ) {
      const desc = BufferDesc.at(buffer);
      if (desc.file != file || desc.block < firstBlock) continue;
      const dropped = Drop.one(desc, buffer, file, desc.block);
      if (dropped == ST_SELF) return dropped;
      if (dropped != ST_OK) result = dropped;
    }
    return result;
  }

  /** As `pages`, for the few blocks that there can be. */
  private static probe(file: u32, firstBlock: u32, blocks: u32): i32 {
    let result: i32 = ST_OK;
    for (let block = firstBlock; block < firstBlock + blocks; ++block) {
      const hash = Hash.tag(file, block);
      const partition = BufferTable.partition(hash);
      if (!partition.acquire()) return Pool.refused();
      const buffer = BufferTable.find(hash, file, block);
      partition.release();
      if (buffer == NO_BUFFER) continue;
      const dropped = Drop.one(BufferDesc.at(buffer), buffer, file, block);
      if (dropped == ST_SELF) return dropped;
      if (dropped != ST_OK) result = dropped;
    }
    return result;
  }

  /**
   * Whether pages of `file` from `firstBlock` on are held: ST_OK, ST_BUSY by another backend,
   * ST_SELF by this one.
   */
  static inUse(file: u32, firstBlock: u32): i32 {
    let result: i32 = ST_OK;
    for (let buffer = Region.get().buffers; buffer-- > 0; ) {
      const desc = BufferDesc.at(buffer);
      if (desc.file != file || desc.block < firstBlock) continue;
      if ((desc.getState() & STATE_TAG_VALID) == 0) continue;
      if (Hold.count(Hold.get(buffer)) != 0) return ST_SELF;
      if (Hold.byOthers(buffer)) result = ST_BUSY;
    }
    return result;
  }

  private static one(desc: BufferDesc, buffer: u32, file: u32, block: u32): i32 {
    if (Hold.count(Hold.get(buffer)) != 0) return ST_SELF;
    const hash = Hash.tag(file, block);
    const partition = BufferTable.partition(hash);
    if (!partition.acquire()) return Pool.refused();
    let result: i32 = ST_OK;
    // Not the tag: a victim keeps its old one, and may be published with another after that look.
    if (BufferTable.find(hash, file, block) == <i32>buffer) {
      result = Drop.take(desc, buffer);
      if (result == ST_OK) BufferTable.unlink(hash, buffer);
    }
    partition.release();
    if (result == ST_OK && State.isMine(desc.getState())) desc.setState(0);
    return result;
  }

  /** Claims a mapped frame for good, whatever it holds; ST_BUSY if somebody uses it. */
  private static take(desc: BufferDesc, buffer: u32): i32 {
    const seen = desc.getState();
    if (State.owner(seen) != 0 || !desc.swapState(seen, seen | Evict.claimed())) return ST_BUSY;
    if (Hold.byOthers(buffer)) {
      desc.changeState(Evict.claimed(), 0);
      return ST_BUSY;
    }
    desc.setState(Evict.claimed());
    return ST_OK;
  }
}
