// Every size, shift, limit and code that both sides of the wasm boundary must agree on.
//
// Read by assembly/, by bindings/ and by the twin in test/; hence bare literals only: no imports, no
// expressions, no types that only one of the compilers knows. Constants used by one file alone stay
// in that file.

// ── Both memories ────────────────────────────────────────────────────────────────────────────────

/** Alignment of every chunk, block and header, in bytes. */
export const MAX_ALIGN = 8;
/** One page of WebAssembly memory. */
export const WASM_PAGE_BYTES = 65536; // 64 kB

// ── Process memory: requests ─────────────────────────────────────────────────────────────────────

/** Largest ordinary request. */
export const MAX_ALLOC_BYTES = 0x3fffffff; // 1 GB - 1
/** Largest request with ALLOC_HUGE. */
export const MAX_ALLOC_HUGE_BYTES = 0x7fffffff; // 2 GB - 1
/** Raises the limit of a request to MAX_ALLOC_HUGE_BYTES. */
export const ALLOC_HUGE = 1;
/** A request that cannot be served returns 0 instead of failing. */
export const ALLOC_NO_OOM = 2;
/** Clears the bytes asked for. */
export const ALLOC_ZERO = 4;

// ── Process memory: chunk header ─────────────────────────────────────────────────────────────────

/** The header before every chunk, except in Bump contexts. */
export const CHUNK_HEADER_BYTES = 8;
/** Owner kinds in the low four bits of a chunk header; 0, 1, 2 and 8 to 15 are invalid on purpose. */
export const KIND_ASET = 3;
export const KIND_GENERATION = 4;
export const KIND_SLAB = 5;
export const KIND_ALIGNED = 6;
export const KIND_BUMP = 7;
/** Largest value and largest block offset a chunk header can hold. */
export const CHUNK_MAX_VALUE = 0x3fffffff;

// ── Process memory: AllocSet ─────────────────────────────────────────────────────────────────────

export const ASET_CONTEXT_BYTES = 112;
export const ASET_BLOCK_HEADER_BYTES = 24;
export const ASET_MIN_CHUNK_SHIFT = 3; // 8 bytes
export const ASET_FREELISTS = 11; // 8 bytes to 8 kB
export const ASET_CHUNK_LIMIT = 8192;
export const ASET_CHUNK_FRACTION = 4;
export const ASET_MIN_BLOCK_BYTES = 1024;
/** Below this a failed block request is not halved and tried again. */
export const ASET_BACKOFF_BYTES = 1048576; // 1 MB
export const ASET_MAX_FREE_CONTEXTS = 100;
export const ASET_DEFAULT_INIT_BYTES = 8192; // 8 kB
export const ASET_DEFAULT_MAX_BYTES = 8388608; // 8 MB
export const ASET_SMALL_INIT_BYTES = 1024; // 1 kB
export const ASET_SMALL_MAX_BYTES = 8192; // 8 kB

// ── Process memory: statistics text ──────────────────────────────────────────────────────────────

/** Levels and children per context that the text of MemoryContextStats shows. */
export const STATS_MAX_LEVEL = 100;
export const STATS_MAX_CHILDREN = 100;
/** Bytes of an identifier shown in that text. */
export const STATS_IDENT_BYTES = 100;

// ── Shared memory: pages ─────────────────────────────────────────────────────────────────────────

/** One buffer, one block of a relation. */
export const BLOCK_BYTES = 8192; // 8 kB
export const BLOCK_SHIFT = 13;
export const MAX_BLOCK_NUMBER = 0xfffffffe;
/** Page header, spec: PostgreSQL's bufpage.h. */
export const PAGE_HEADER_BYTES = 24;
export const PAGE_CHECKSUM_OFFSET = 8; // u16
export const PAGE_FLAGS_OFFSET = 10; // u16
export const PAGE_LOWER_OFFSET = 12; // u16
export const PAGE_UPPER_OFFSET = 14; // u16
export const PAGE_SPECIAL_OFFSET = 16; // u16
export const PAGE_SIZE_VERSION_OFFSET = 18; // u16
export const PAGE_SIZE_VERSION = 0x2004; // 8192 | layout 4
export const PAGE_VALID_FLAGS = 7;

// ── Shared memory: region ────────────────────────────────────────────────────────────────────────

export const REGION_MAGIC = 0x70614c63;
export const REGION_VERSION = 1;
/** Owner words hold a backend number + 1 in ten bits; slot 0 is the region's owner. */
export const MAX_BACKENDS = 1022;
export const CACHE_LINE_BYTES = 64;
export const BUFFER_PARTITIONS = 128;
export const MAX_USAGE = 5;
/** A relation number and its fork make one word: relation << 2 | fork. */
export const FORK_BITS = 2;
export const MAX_RELATION_NUMBER = 0x3fffffff;
export const FORK_MAIN = 0;
export const FORK_FSM = 1;
export const FORK_VM = 2;
export const FORK_INIT = 3;
