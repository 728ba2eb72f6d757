// Hash of a page's identity. One multiplication a word and a final mix, so that neighbouring blocks
// of one relation, by far the most common neighbours, spread over the whole table and over all
// partitions.
//
// PostgreSQL: src/common/hashfn.c, hash_bytes (another function; only its role is the same)

const FILE_FACTOR: u32 = 0x85ebca6b;
const BLOCK_FACTOR: u32 = 0x9e3779b1;
const MIX_FACTOR: u32 = 0xc2b2ae35;

export class Hash {
  @inline static tag(file: u32, block: u32): u32 {
    let hash = (file * FILE_FACTOR) ^ (block * BLOCK_FACTOR);
    hash ^= hash >>> 15;
    hash *= MIX_FACTOR;
    return hash ^ (hash >>> 13);
  }
}
