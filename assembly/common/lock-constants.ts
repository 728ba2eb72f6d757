// What both sides of the wasm boundary must agree on about heavyweight locks, and about locks of
// the user: constants.ts has no room for it. The same rules: bare literals only.

/** Modes, PostgreSQL's numbers; 0 is none. */
export const ACCESS_SHARE_LOCK = 1;
export const ROW_SHARE_LOCK = 2;
export const ROW_EXCLUSIVE_LOCK = 3;
export const SHARE_UPDATE_EXCLUSIVE_LOCK = 4;
export const SHARE_LOCK = 5;
export const SHARE_ROW_EXCLUSIVE_LOCK = 6;
export const EXCLUSIVE_LOCK = 7;
export const ACCESS_EXCLUSIVE_LOCK = 8;
export const LOCK_MODES = 8;
/** Kinds of what is locked, PostgreSQL's numbers. */
export const LOCKTAG_RELATION = 0;
export const LOCKTAG_PAGE = 3;
export const LOCKTAG_TUPLE = 4;
export const LOCKTAG_TRANSACTION = 5;
export const LOCKTAG_OBJECT = 8;
export const LOCKTAG_ADVISORY = 10;
/** field1 of all tags of a region: it is one database. */
export const REGION_DATABASE = 1;
export const DEFAULT_LOCK_METHOD = 1;
export const USER_LOCK_METHOD = 2;
/** The last word of a tag: field4 in the low half, then type, then method. */
export const TAG_TYPE_SHIFT = 16;
export const TAG_METHOD_SHIFT = 24;
/** Who gives a lock back: the end of the transaction, or the session alone. */
export const LEVEL_SESSION = 0;
export const LEVEL_TRANSACTION = 1;
export const LOCK_LEVELS = 2;

/** One backend's hold on, or wait for, one lock. */
export const LOCK_RECORD_BYTES = 64;
export const LOCK_RECORD_SHIFT = 6;
export const RECORD_TAG_OFFSET = 8; // four words
export const RECORD_TICKET_OFFSET = 24; // u64
/** u16 a mode: those of the session, then those of the transaction. */
export const RECORD_COUNTS_OFFSET = 32;
/** The word of a record: the owner in the low ten bits; bit 10 + m says that mode m is held. */
export const RECORD_HOLD_SHIFT = 10;
export const RECORD_HOLD_MASK = 0x7f800; // bits 11 to 18
export const RECORD_WAIT_SHIFT = 19;
export const RECORD_WAIT_MASK = 0x780000; // bits 19 to 22: the mode waited for, or 0
export const RECORD_STRONG = 0x800000; // bit 23: a relation in a mode that ends its fast path
export const RECORD_MOVING = 0x1000000; // bit 24: being moved from a fast path; holds nothing yet

export const LOCK_PARTITIONS = 16;
export const LOCK_PARTITION_MASK = 15;
/** Flags that say of a class of relations that somebody has or wants a strong lock on one. */
export const STRONG_SLOTS = 1024;
export const STRONG_SLOT_MASK = 1023;
export const MIN_LOCK_HEADS = 1024;

/** What the lock manager keeps for one backend, before its fast path. */
export const LOCK_STATE_BYTES = 64;
export const LOCK_STATE_WAIT_RECORD_OFFSET = 0;
export const LOCK_STATE_WAIT_START_OFFSET = 32; // f64, milliseconds since 1970
export const FAST_PATH_ENTRIES = 16; // of one group
export const FAST_PATH_ENTRY_BYTES = 32;
export const FAST_PATH_GROUP_SHIFT = 9; // 512 bytes
export const MAX_FAST_PATH_GROUPS = 1024;
/** The high word of an entry: bits 1 to 3 are modes, and whether it has been moved to the table. */
export const FAST_PATH_MODES = 14;
export const FAST_PATH_MOVED = 16;

/** The detector's work area: a line, then so many arrays of a word a backend. */
export const DEADLOCK_ARRAYS = 31;
/** So many orders of the queues are tried; then a deadlock counts as one that none resolves. */
export const DEADLOCK_TESTS = 10000;
/** An edge of a deadlock, as reported: waiter, mode, blocker, 0, and the tag waited for. */
export const DEADLOCK_EDGE_BYTES = 32;

// ── Shared memory: locks and conditions of the user ──────────────────────────────────────────────

/** Locks, and conditions, of one region. */
export const MAX_LWLOCKS = 4096;
/** The word of an LWLock: the owner, its tenure, and the flags above. */
export const TENURE_SHIFT = 10;
export const TENURE_ONE = 0x400;
export const TENURE_MASK = 0x0ffffc00; // 18 bits
/** Word, then what the death of an owner means; the row of share bytes begins a line further. */
export const LWLOCK_POLICY_OFFSET = 4;
export const LWLOCK_ROW_OFFSET = 64;
export const ON_DEATH_RELEASE = 0;
export const ON_DEATH_POISON = 1;
export const ON_DEATH_CALL = 2;
/** How a backend holds an LWLock. */
export const LWLOCK_FREE = 0;
export const LWLOCK_SHARED = 1;
export const LWLOCK_EXCLUSIVE = 2;
/** The word of a condition: whether somebody may sleep on it, and how often it was signalled. */
export const CONDITION_SLEEPERS = 1;
export const CONDITION_ONE = 2;
