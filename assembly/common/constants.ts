// Every size, shift, limit and code that both sides of the wasm boundary must agree on.
//
// Read by assembly/, by bindings/ and by the twin in test/; hence bare literals only: no imports,
// no expressions, no types that only one of the compilers knows. Constants used by one file alone
// stay in that file.

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
/**
 * Owner kinds in the low four bits of a chunk header; 0, 1, 2 and 8 to 15 are invalid on purpose.
 */
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

// ── Process memory: Generation, Slab, Bump, aligned chunks ───────────────────────────────────────

/** The context header is 76 bytes, its keeper begins at 80. */
export const GENERATION_CONTEXT_BYTES = 80;
export const GENERATION_BLOCK_HEADER_BYTES = 32;
export const GENERATION_CHUNK_FRACTION = 8;
export const SLAB_CONTEXT_BYTES = 104;
export const SLAB_BLOCK_HEADER_BYTES = 32;
/** Blocks without room, and two lists of blocks with some. */
export const SLAB_LISTS = 3;
/** Blocks all of whose chunks are free that a slab keeps. */
export const SLAB_MAX_EMPTY_BLOCKS = 10;
/** A freed chunk holds the link to the next. */
export const SLAB_MIN_CHUNK_BYTES = 4;
export const SLAB_DEFAULT_BLOCK_BYTES = 8192; // 8 kB
export const SLAB_LARGE_BLOCK_BYTES = 8388608; // 8 MB
/** The context header is 68 bytes, its keeper begins at 72. */
export const BUMP_CONTEXT_BYTES = 72;
export const BUMP_BLOCK_HEADER_BYTES = 16;
export const BUMP_CHUNK_FRACTION = 8;
/** Alignments are powers of two below this. */
export const MAX_ALIGNMENT_BYTES = 134217728; // 128 MB

// ── Process memory: map of the memory ────────────────────────────────────────────────────────────

/**
 * Header page of a process memory; blocks follow. Its first bytes are never written: null is zero.
 */
export const PROCESS_HEADER_BYTES = 4096; // 4 kB
/** Where the header's words begin. */
export const PROCESS_HEADER_ADDRESS = 64;
/** Where statistics are left for the caller: eight words. */
export const STATISTICS_ADDRESS = 256;
/** The block provider's counters: requests, returns, resizes, live bytes, live blocks, peak of live
 * bytes, footprint, peak of footprint; one word each. */
export const BLOCK_STATISTICS_ADDRESS = 80;
/** Where a context below a ceiling says what it wants: its address, then the bytes. */
export const ADMISSION_ADDRESS = 144;
/** Instead of a handle, in the call that runs callbacks: asks leave for a block. */
export const ADMISSION_CALL = 0x40000000;
/** Smallest and largest process memory. */
export const PROCESS_MIN_BYTES = 65536; // 64 kB
export const PROCESS_MAX_BYTES = 4294967296; // 4 GB
export const PROCESS_DEFAULT_BYTES = 67108864; // 64 MB

// ── Process memory: block provider ───────────────────────────────────────────────────────────────

/** The tag before every area: size of the area below it, own size and whether it is taken. */
export const AREA_HEADER_BYTES = 8;
/** Smallest area, tag included: a free one holds the two links of the tree. */
export const AREA_MIN_BYTES = 16;
/** A memory that grows grows by at least this fraction of its size: 1 / 4. */
export const GROWTH_FRACTION_SHIFT = 2;

// ── Process memory: context header ───────────────────────────────────────────────────────────────

export const CONTEXT_HEADER_BYTES = 44;
export const CONTEXT_KIND_OFFSET = 0;
export const CONTEXT_GUARDED_OFFSET = 6;
export const CONTEXT_HANDLE_OFFSET = 12;
export const CONTEXT_PARENT_OFFSET = 16;
export const CONTEXT_FIRST_CHILD_OFFSET = 20;
export const CONTEXT_NEXT_SIBLING_OFFSET = 28;
export const CONTEXT_NAME_OFFSET = 32;
export const CONTEXT_IDENT_OFFSET = 36;

// ── Process memory: answers ──────────────────────────────────────────────────────────────────────

/** A call that did what it was asked. */
export const STATUS_OK = 0;
/** The pointer is no chunk of this memory; nothing was changed. */
export const STATUS_INVALID_POINTER = -1;

/** Which call of another wasm module was refused. */
export const CALL_PALLOC = 1;
export const CALL_REPALLOC = 2;
export const CALL_PFREE = 3;

// ── Process memory: broken invariants (panic codes and results of the heap walk) ─────────────────

export const PANIC_AREA_TAG = 201; // an area's tag disagrees with its neighbour's
export const PANIC_AREA_TREE = 202; // a free area is missing from the tree, or the order is wrong
export const PANIC_AREA_UNMERGED = 203; // two free areas side by side
export const PANIC_AREA_COUNT = 204; // what is taken differs from what is counted
export const PANIC_CONTEXT_KIND = 211; // a context header without a valid kind
export const PANIC_CONTEXT_LINK = 212; // parent, child and sibling links disagree
export const PANIC_CONTEXT_CLOSED = 213; // an operation on a context that was deleted
export const PANIC_BLOCK_HEADER = 221; // a block header is implausible
export const PANIC_BLOCK_WALK = 222; // the chunks of a block do not end at its free pointer
export const PANIC_CHUNK_HEADER = 223; // a chunk header is implausible
export const PANIC_FREE_LIST = 224; // a free list holds a chunk of another size or owner
export const PANIC_ACCOUNTING = 225; // the blocks do not add up to what the context accounts for
export const PANIC_WRITE_PAST_END = 231; // a write past the end of a chunk
export const PANIC_WRITE_AFTER_FREE = 232; // a write into a freed chunk

// ── Process memory: fill patterns of the checked build; none is a valid kind ─────────────────────

export const FILL_FRESH = 0x7a;
export const FILL_FREED = 0x7f;
export const FILL_SLACK = 0x7e;

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
export const REGION_VERSION = 2;
/** Owner words hold a backend number + 1 in ten bits; slot 0 is the region's owner. */
export const MAX_BACKENDS = 1022;
/** Slots beside those of max_connections: the background writer and the checkpointer. */
export const WRITER_SLOTS = 2;
export const CACHE_LINE_BYTES = 64;
export const BUFFER_PARTITIONS = 128;
export const MAX_USAGE = 5;
/** A relation number and its fork make one word: relation << 2 | fork. */
export const FORK_BITS = 2;
export const MAX_RELATION_NUMBER = 0x3fffffff;
/**
 * The topmost numbers are those of temporary relations: a range for each backend slot, so that two
 * backends never give out the same one.
 */
export const TEMP_RELATION_BITS = 16; // temporary relations of one backend: 65,536
export const FIRST_TEMP_RELATION = 0x3c000000; // 1,024 ranges up to MAX_RELATION_NUMBER
export const FORK_MAIN = 0;
export const FORK_FSM = 1;
export const FORK_VM = 2;
export const FORK_INIT = 3;

// ── Shared memory: results of the pool's functions ───────────────────────────────────────────────

/** A buffer number fits below these two flags, which say what the caller must do with it next. */
export const BUFFER_MASK = 0x0fffffff;
/** The frame is this backend's to read into; finish with finishRead. */
export const NEED_READ = 0x10000000;
/** The frame is in this backend's write: write a copy of it, finish with finishWrite. */
export const NEED_WRITE = 0x20000000;
/** Somebody else reads into the frame; sleep, then ensureValid. */
export const IN_PROGRESS = 0x40000000;

export const ST_OK = 0;
/** Not found by the short way; take the long one. */
export const ST_MISS = -1;
/** The word to wait for is registered in the slot: sleep, then call again. */
export const ST_WAIT = -2;
/** As ST_WAIT, while holding the exclusive lock: sleep, then drainShares. */
export const ST_DRAIN = -3;
/** Tried a bounded number of times; nothing is held, call again. */
export const ST_BUSY = -4;
/** The region was shut down or has crashed. */
export const ST_GONE = -5;
/** Every buffer is pinned. */
export const ST_NO_BUFFERS = -6;
/** This backend has no pin on the buffer. */
export const ST_NOT_PINNED = -7;
/** This backend holds no lock on the buffer, or not the one needed. */
export const ST_NOT_LOCKED = -8;
/** This backend holds a lock on the buffer already. */
export const ST_ALREADY_LOCKED = -9;
/** This backend is changing a page, and may change one at a time. */
export const ST_CHANGING = -10;
/** A backend would wait for itself. */
export const ST_SELF = -11;
/** A pin count would overflow. */
export const ST_TOO_MANY_PINS = -12;
/** No free backend slot. */
export const ST_NO_SLOT = -13;
/** A buffer number that is none. */
export const ST_BAD_BUFFER = -14;
/** The page as it was before the change must go into the journal first; then end it again. */
export const ST_JOURNAL = -15;
/** For a cleanup lock this backend must have pinned the buffer exactly once. */
export const ST_PINNED_AGAIN = -16;
/** Somebody else waits for the cleanup lock already. */
export const ST_CLEANUP_TAKEN = -17;
/** The lock is not to be had at once, and the caller does not wait. */
export const ST_NOT_AVAILABLE = -40;
/** To wait for the lock would be a deadlock; its edges stand on the scratch page. */
export const ST_DEADLOCK = -41;
/** The lock table has no record left. */
export const ST_LOCKS_FULL = -42;
/** This backend does not hold the lock in that mode at that level. */
export const ST_NOT_OWNED = -43;
/** A lock was taken more often than can be counted. */
export const ST_TOO_MANY_LOCKS = -44;
/** This backend waits for another lock already. */
export const ST_WAITING = -45;
/** Not a status below 0: the mode was held before, and is counted once more. */
export const ST_ALREADY_HELD = 1;
/** Somebody asked this backend to cancel what it does, or to end; it did not sleep. */
export const ST_INTERRUPTED = -18;
/** Not a status below 0: a deadlock was avoided by another order of the queues. */
export const ST_REARRANGED = 2;
/** Nothing was taken: the lock was free for a moment after the call had begun to wait. */
export const ST_FREED = -50;

/** What a page about to be written in place needs first: its old image in these journals. */
export const IMAGE_COMMITTED = 1; // the journal of the last committed checkpoint
export const IMAGE_CURRENT = 2; // the journal that the running checkpoint has begun

/** What verifyFrame finds. */
export const PAGE_GOOD = 0;
export const PAGE_BAD_CHECKSUM = 1;
export const PAGE_BAD_HEADER = 2;
/** Checksum and header both. */
export const PAGE_BAD_BOTH = 3;

// ── Shared memory: region header (at address 0) and its parts ────────────────────────────────────

export const REGION_HEADER_BYTES = 256;
export const REGION_BACKENDS_OFFSET = 16;
export const REGION_STATUS_OFFSET = 24;
export const REGION_REQUESTS_OFFSET = 28;
/** Number of the interval between checkpoints that changes belong to now. */
export const REGION_INTERVAL_OFFSET = 32;
/** Number of the last checkpoint that was committed; the interval, or one less while one runs. */
export const REGION_COMMITTED_OFFSET = 36;
/** Records in, and records known to be durable in, the journals of even and of odd intervals. */
export const REGION_JOURNAL_RECORDS_OFFSET = 40; // two words
export const REGION_JOURNAL_SYNCED_OFFSET = 48; // two words
/** 1 when pages may be written in place only after their old image stands in a journal. */
export const REGION_JOURNALLED_OFFSET = 56;
/** Not 0 while somebody waits for the checkpoint under way to end. */
export const REGION_HURRY_OFFSET = 60;
/** Not 0 once the region is shutting down: nobody may attach any more. */
export const REGION_CLOSING_OFFSET = 140;
/** Why the region was poisoned: a POISON_, and above it the number of a lock or a slot. */
export const REGION_POISON_OFFSET = 184;
export const STATUS_RUNNING = 0;
export const STATUS_SHUTDOWN = 1;
export const STATUS_CRASHED = 2;
/** Reasons of a poisoned region. */
export const POISON_BITS = 8;
export const POISON_MASK = 0xff;
export const POISON_REQUESTED = 1;
export const POISON_LOCK = 2; // who held a lock that says so has died; its number is above
export const POISON_SYNC = 3; // a sync failed
export const POISON_REPAIR = 4; // repairing a slot failed; its number is above

/** An entry of the shmem index: name, offset, bytes asked for, bytes taken. */
export const INDEX_ENTRY_BYTES = 64;
export const INDEX_NAME_BYTES = 48;
export const INDEX_OFFSET_OFFSET = 48;
export const INDEX_SIZE_OFFSET = 52;
/** Segments of the user's own that one region can have. */
export const MAX_SEGMENTS = 64;

/** Parts in the order in which they are carved; user segments follow. */
export const PART_HEADER = 0;
export const PART_INDEX = 1;
export const PART_SLOTS = 2;
export const PART_LOCKS = 3;
export const PART_PARTITIONS = 4;
export const PART_STRATEGY = 5;
export const PART_DEPARTED = 6;
export const PART_STATISTICS = 7;
export const PART_DESCRIPTORS = 8;
export const PART_TABLE = 9;
export const PART_HOLDS = 10;
export const PART_CHECKPOINT = 11;
export const PART_IMAGED = 12;
export const PART_SLOT_PAGES = 13;
export const PART_IO_QUEUE = 14;
export const PART_LOCK_RECORDS = 15;
export const PART_LOCK_TABLE = 16;
export const PART_LOCK_PARTITIONS = 17;
export const PART_STRONG = 18;
export const PART_FAST_PATH = 19;
export const PART_ACTIVITY = 20;
export const PART_DEADLOCK = 21;
export const PART_LWLOCKS = 22;
export const PART_CONDITIONS = 23;
export const PART_SINVAL = 24;
export const PART_CATALOG = 25;
export const PART_BLOCKS = 26;
export const PARTS = 27;

// ── Shared memory: backend slots ─────────────────────────────────────────────────────────────────

export const SLOT_BYTES = 128;
export const SLOT_LIFE_OFFSET = 0;
export const SLOT_GENERATION_OFFSET = 4;
export const SLOT_SLEEPING_ON_OFFSET = 8;
export const SLOT_SLEEP_VALUE_OFFSET = 12;
export const SLOT_CHANGING_OFFSET = 16;
export const SLOT_MAY_BLOCK_OFFSET = 20;
export const SLOT_KIND_OFFSET = 24;
export const SLOT_LATCH_OFFSET = 28;
export const SLOT_DIRTY_BEFORE_OFFSET = 32;
export const SLOT_CLEANUP_OFFSET = 36;
export const SLOT_INTERRUPTS_OFFSET = 40;
export const SLOT_WAIT_EVENT_OFFSET = 44;
export const SLOT_WATCHER_OFFSET = 48;
export const SLOT_WRITING_OFFSET = 52;
/** What a backend is asked to do at its next wait. */
export const INTERRUPT_CANCEL = 1;
export const INTERRUPT_TERMINATE = 2;
export const INTERRUPT_CATCH_UP = 4;
/** Those that end a wait. */
export const INTERRUPTS_THAT_BREAK = 3;
/** What a backend is, for the rows of statistics. */
export const BACKEND_CLIENT = 0;
export const BACKEND_WRITER = 1; // the background writer
export const BACKEND_CHECKPOINTER = 2;
export const BACKEND_IO_WORKER = 3;
export const BACKEND_KINDS = 4;
/** The life word: state in the low four bits, thread id above. */
export const LIFE_STATE_BITS = 4;
export const LIFE_STATE_MASK = 15;
export const LIFE_FREE = 0;
export const LIFE_CLAIMED = 1;
export const LIFE_ACTIVE = 2;
export const LIFE_EXITING = 3;
export const LIFE_DEAD = 4;
export const LIFE_REFUSED = 5;
/** Its thread has stopped, says the thread that watched it; the owner makes it DEAD. */
export const LIFE_ENDED = 6;
/** As CLAIMED; another thread than the owner watches this one's thread. */
export const LIFE_WATCHED = 7;
/** In the watcher's word: that thread would also notice the owner's end. */
export const WATCHER_SEES_OWNER = -0x80000000; // bit 31
/** An exception has torn a call into shared memory: as good as dead, by its own word. */
export const LIFE_CRASHED = 15;

/** What a backend does to pages is counted in one row a context. */
export const IO_CONTEXT_NORMAL = 0;
export const IO_CONTEXT_BULKREAD = 1;
export const IO_CONTEXT_BULKWRITE = 2;
export const IO_CONTEXT_VACUUM = 3;
export const IO_CONTEXT_TEMP = 4; // temp relations, context normal
export const IO_CONTEXTS = 5;
export const IO_ROW_SHIFT = 7;
export const IO_ROW_BYTES = 128;
/** Counters of a row: u64 each, operations but for HITS, EVICTIONS, REUSES and DIRTIED, pages. */
export const COUNTER_HITS = 0;
export const COUNTER_READS = 8;
export const COUNTER_READ_BYTES = 16;
export const COUNTER_WRITES = 24;
export const COUNTER_WRITE_BYTES = 32;
export const COUNTER_EXTENDS = 40;
export const COUNTER_EXTEND_BYTES = 48;
export const COUNTER_EVICTIONS = 56;
export const COUNTER_REUSES = 64;
export const COUNTER_FSYNCS = 72;
export const COUNTER_DIRTIED = 80;
export const COUNTER_WAITS = 88;
/** From here on a row holds milliseconds, f64 each. */
export const COUNTER_READ_TIME = 96;
export const COUNTER_WRITE_TIME = 104;
export const COUNTER_EXTEND_TIME = 112;
export const COUNTER_FSYNC_TIME = 120;
/** All rows of a backend; the departed have as many for each kind of backend. */
export const COUNTERS_BYTES = 640;

/** Each backend's column: its counters, its pin count, then its hold words. */
export const COLUMN_HEADER_BYTES = 704;
/** Buffers this backend has pinned, u32, in a cache line of its own. */
export const COLUMN_PINNED_OFFSET = 640;

/** Statistics of checkpoints and of the background writer: u64, or f64 where it is a time. */
export const STATISTICS_BYTES = 128;
export const STATISTIC_NUM_TIMED = 0;
export const STATISTIC_NUM_REQUESTED = 8;
export const STATISTIC_NUM_DONE = 16;
export const STATISTIC_WRITE_TIME = 24; // f64, ms
export const STATISTIC_SYNC_TIME = 32; // f64, ms
export const STATISTIC_BUFFERS_WRITTEN = 40;
export const STATISTIC_SLRU_WRITTEN = 48; // stays 0: there is no SLRU
export const STATISTIC_BUFFERS_CLEAN = 64;
export const STATISTIC_MAXWRITTEN_CLEAN = 72;
export const STATISTIC_DEADLOCKS = 80;
/** When counting began, f64, milliseconds since 1970. */
export const STATISTIC_RESET = 120;

/** A hold word: pins of one backend on one buffer, and whether it holds the content lock shared. */
export const HOLD_COUNT_MASK = 0x7fff;
export const HOLD_SHARE = 0x8000;

// ── Shared memory: words that name an owner ──────────────────────────────────────────────────────

export const OWNER_BITS = 10;
export const OWNER_MASK = 0x3ff;

/** The state word of a descriptor. */
export const USAGE_SHIFT = 10;
export const USAGE_BITS = 3;
export const USAGE_MASK = 0x1c00;
export const USAGE_ONE = 0x400;
export const STATE_CLAIM = 0x2000; // bit 13
export const STATE_IO = 0x4000; // bit 14
export const STATE_WRITING = 0x8000; // bit 15
export const STATE_VALID = 0x10000; // bit 16
export const STATE_TAG_VALID = 0x20000; // bit 17
export const STATE_DIRTY = 0x40000; // bit 18
export const STATE_JUST_DIRTIED = 0x80000; // bit 19
export const STATE_IO_ERROR = 0x100000; // bit 20
export const STATE_IO_WAITERS = 0x200000; // bit 21
export const STATE_PIN_WAITER = 0x400000; // bit 22
export const STATE_CHECKPOINT_NEEDED = 0x800000; // bit 23

/** Flags of an owner-word lock and of a content lock. */
export const LOCK_WAITERS = 0x40000000; // bit 30
export const LOCK_DRAIN = 0x20000000; // bit 29

/** Locks that may be held across I/O: index into PART_LOCKS. */
export const LOCK_CHECKPOINT = 0;
export const LOCK_CONTROL = 1;
export const LOCK_EXTENSION = 2; // and the following
export const EXTENSION_LOCKS = 13;
export const LOCK_JOURNAL = 15;
export const NAMED_LOCKS = 16;

// ── Broken invariants ────────────────────────────────────────────────────────────────────────────

export const PANIC_OWNER = 101;
export const PANIC_CHAIN = 102;
export const PANIC_STATE = 103;
export const PANIC_LAYOUT = 105;
export const PANIC_LOCK_TABLE = 106; // a lock chain, a record or its counts disagree
