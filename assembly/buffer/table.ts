// The buffer table: page identity → buffer.
//
//   heads[hash & mask] → buffer + 1 → descriptor.next → … → 0
//
// An array of heads, twice as many as buffers; chains run through the descriptors. There is nothing
// to allocate and nothing to run out of, and an entry never moves. One partition lock guards the
// heads that share their low seven bits. Every chain is finite and ends in 0 at every instant: a
// link is one store, an unlink is one store.
//
// Readers on the hit path walk without a lock. Changes may lead them astray; they may miss, or meet
// a wrong tag, and neither matters (pool.ts).
//
// PostgreSQL: src/backend/storage/buffer/buf_table.c, BufTableLookup (a shared dynahash there)

import { Atomic } from "../common/atomics";
import { invariant } from "../common/check";
import { BUFFER_PARTITIONS, CACHE_LINE_BYTES, PANIC_CHAIN } from "../common/constants";
import { Region } from "../ipc/region";
import { OwnerLock } from "../lmgr/owner";
import { BufferDesc } from "./desc";

/** Nothing found. */
export const NO_BUFFER: i32 = -1;

export class BufferTable {
  @inline static head(hash: u32): usize {
    const region = Region.get();
    return region.heads + ((<usize>(hash & region.headMask)) << 2);
  }

  /** The lock of the partition that the bucket of `hash` belongs to. */
  @inline static partition(hash: u32): OwnerLock {
    const index = hash & Region.get().headMask & (BUFFER_PARTITIONS - 1);
    return OwnerLock.at(Region.get().partitions + index * CACHE_LINE_BYTES);
  }

  /** The buffer of a page, or NO_BUFFER. The partition lock is held. */
  static find(hash: u32, file: u32, block: u32): i32 {
    const tag = BufferDesc.tagOf(file, block);
    let reference = Atomic.load(BufferTable.head(hash));
    let steps: u32 = 0;
    while (reference != 0) {
      const desc = BufferDesc.at(reference - 1);
      if (desc.looksLike(tag)) return reference - 1;
      reference = Atomic.load(desc.nextAddress());
      if (CHECKING) invariant(Region.get().buffers >= ++steps, PANIC_CHAIN);
    }
    return NO_BUFFER;
  }

  /** Puts a tagged frame at the front of its chain. The partition lock is held. */
  static link(hash: u32, buffer: u32): void {
    const head = BufferTable.head(hash);
    Atomic.store(BufferDesc.at(buffer).nextAddress(), Atomic.load(head));
    Atomic.store(head, buffer + 1);
  }

  /** Takes a frame out of its chain; false if it was not there. The partition lock is held. */
  static unlink(hash: u32, buffer: u32): bool {
    let at = BufferTable.head(hash);
    while (true) {
      const reference = Atomic.load(at);
      if (reference == 0) return false;
      const next = BufferDesc.at(reference - 1).nextAddress();
      if (reference - 1 == buffer) {
        Atomic.store(at, Atomic.load(next));
        return true;
      }
      at = next;
    }
  }
}
