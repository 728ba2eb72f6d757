// What both sides of the wasm boundary must agree on about the catalog cache and the ring of
// invalidations: constants.ts has no room for it. The same rules: bare literals only.

/** Messages of the ring, PostgreSQL's numbers. */
export const SINVAL_MESSAGES = 4096;
export const SINVAL_MESSAGE_MASK = 4095;
export const SINVAL_MESSAGE_SHIFT = 4; // 16 bytes
/** Received at a time. */
export const SINVAL_BATCH = 32;
/** Who is further behind than this is asked to catch up; looked at once in so many messages. */
export const SINVAL_CATCH_UP = 2048;
export const SINVAL_LOOK_MASK = 255;
/** A message: catalog, hash of the key, kind, its own number. */
export const MESSAGE_CATALOG_OFFSET = 0;
export const MESSAGE_HASH_OFFSET = 4;
export const MESSAGE_KIND_OFFSET = 8;
export const MESSAGE_KEY = 1; // entries of one catalog and one hash
export const MESSAGE_ALL = 2; // all of one catalog

/** The ring: its lock, its positions, a row a backend, the messages. */
export const SINVAL_LOCK_OFFSET = 0;
export const SINVAL_RESERVED_OFFSET = 64;
export const SINVAL_WRITTEN_OFFSET = 68;
export const SINVAL_CATALOG_OFFSET = 72; // where the catalog cache begins
export const SINVAL_ROWS_OFFSET = 128;
/** A backend's row: what others look at, then what it and its wasm tell each other. */
export const SINVAL_ROW_BYTES = 1152;
export const ROW_POSITION_OFFSET = 0;
export const ROW_RECEIVING_OFFSET = 4;
export const ROW_INVALIDATING_OFFSET = 8;
export const ROW_HASH_OFFSET = 64;
export const ROW_DATA_OFFSET = 68;
export const ROW_DATA_BYTES_OFFSET = 72;
export const ROW_KEYS_OFFSET = 128;
export const ROW_MESSAGES_OFFSET = 640;
/** Bytes that the keys of an entry may have in all. */
export const CATALOG_KEY_BYTES = 512;
/** Keys of a catalog. */
export const CATALOG_KEYS = 4;

/** The shared catalog cache: a header, names of catalogs, heads, classes of pages, holds, pages. */
export const CATALOG_HEADER_BYTES = 64;
export const CATALOGS = 64;
export const CATALOG_NAME_BYTES = 64; // its length, then at most 63 bytes
/** Entries begin at multiples of this. */
export const CATALOG_GRANULE_SHIFT = 7; // 128 bytes
export const CATALOG_PAGE_SHIFT = 13; // 8 kB
export const CATALOG_PAGE_GRANULES = 64;
/** Sizes of entries are 128 bytes << class. */
export const CATALOG_CLASSES = 7;
/** Header of an entry; keys follow, then the row. */
export const ENTRY_HEADER_BYTES = 32;
/** The state of an entry: its builder in the low ten bits while it is BUILDING; 0 is free. */
export const ENTRY_BUILDING = 1024;
export const ENTRY_LIVE = 2048;
export const ENTRY_DEAD = 4096;
export const ENTRY_NEGATIVE = 8192;

/** Receiving: too far behind, everything must go. */
export const ST_RESET = -50;
/** It is known that there is no such row. */
export const ST_NO_ROW = -51;
/** Changed while it was being read: read again. */
export const ST_STALE = -52;
/** There is no room; or it is too large. */
export const ST_NO_ROOM = -53;
