// Chains of entries by their hash. Changed under the lock of the ring, walked by everybody: to link
// and to unlink is one store each, so that chains are well formed at every instant. A walk without
// the lock may be led astray by an entry that is taken away under it, even into the bytes of a row;
// so it believes in no number beyond the last, and ends after a while. Then it has missed, and who
// misses asks again under the lock.
//
// PostgreSQL: src/backend/utils/cache/catcache.c, cc_bucket

import { Atomic } from "../common/atomics";
import { Entry } from "./entry";

/** Entries that a walk looks at before it gives up. */
const LONGEST_WALK: u32 = 64;
const FIRST_FACTOR: u32 = 0x85ebca6b;
const SECOND_FACTOR: u32 = 0xc2b2ae35;
const WORD_BYTES: u32 = 4;

export class Chain {
  /** Hash of keys, which are whole words. */
  static hash(catalog: u32, keys: usize, keyBytes: u32): u32 {
    let hash = (catalog + 1) * SECOND_FACTOR;
    for (let at: u32 = 0; at < keyBytes; at += WORD_BYTES) {
      hash = rotl<u32>(hash ^ (load<u32>(keys + at) * FIRST_FACTOR), 13);
      hash = hash * 5 + SECOND_FACTOR;
    }
    hash ^= hash >>> 16;
    hash *= FIRST_FACTOR;
    return hash ^ (hash >>> 13);
  }

  @inline static head(hash: u32): usize {
    return <usize>Entry.header().heads + <usize>(hash & Entry.header().headMask) * sizeof<u32>();
  }

  /** The number + 1 of an entry that looks right, from `reference` on; 0 if there is none. */
  static search(reference: u32, catalog: u32, hash: u32, keys: usize, keyBytes: u32): u32 {
    const last = Entry.granules();
    for (let steps = LONGEST_WALK; reference != 0 && reference <= last && steps > 0; --steps) {
      const entry = Entry.at(reference - 1);
      if (entry.matches(catalog, hash, keys, keyBytes) && entry.isLive()) return reference;
      reference = Atomic.load(entry.nextAddress());
    }
    return 0;
  }

  static link(granule: u32): void {
    const entry = Entry.at(granule);
    const head = Chain.head(entry.hash);
    Atomic.store(entry.nextAddress(), Atomic.load(head));
    Atomic.store(head, granule + 1);
  }

  /** Takes an entry out of its chain, if it is in it. */
  static unlink(granule: u32): void {
    const entry = Entry.at(granule);
    let at = Chain.head(entry.hash);
    for (let left = Entry.granules(); left > 0; --left) {
      const reference = Atomic.load(at);
      if (reference == 0) return;
      if (reference == granule + 1) {
        Atomic.store(at, Atomic.load(entry.nextAddress()));
        return;
      }
      at = Entry.at(reference - 1).nextAddress();
    }
  }
}
