// Constants of activity: where the words of a backend's row lie, and the numbers of what it waits
// for. As constants.ts, read by assembly and by TypeScript.

/** A row of the activity part, one a slot; written by its backend alone (shared/activity.ts). */
export const ACTIVITY_BYTES = 1024; // 1 kB
export const ACTIVITY_CHANGES_OFFSET = 0; // u32, odd while the row is being written
export const ACTIVITY_STATE_OFFSET = 4;
export const ACTIVITY_BACKEND_START_OFFSET = 8; // f64, milliseconds since 1970; so the next
export const ACTIVITY_QUERY_START_OFFSET = 16;
export const ACTIVITY_STATE_CHANGE_OFFSET = 24;
/** Texts in UTF-8, ended by a 0. */
export const ACTIVITY_USER_OFFSET = 64;
export const ACTIVITY_APPLICATION_OFFSET = 128;
export const ACTIVITY_QUERY_OFFSET = 192;
export const ACTIVITY_NAME_BYTES = 64;

/** What a sleeper waits for: class << 24 | number within it, PostgreSQL's classes. */
export const WAIT_CLASS_SHIFT = 24;
export const WAIT_LWLOCK = 0x01000000;
export const WAIT_LOCK = 0x03000000; // | type of the lock's tag
export const WAIT_BUFFER_PIN = 0x04000000;
export const WAIT_ACTIVITY = 0x05000000;
export const WAIT_EXTENSION = 0x07000000;
export const WAIT_IPC = 0x08000000;
export const WAIT_TIMEOUT = 0x09000000;
export const WAIT_IO = 0x0a000000;
export const WAIT_BUFFER_CONTENT = 0x01000001;
export const WAIT_BUFFER_MAPPING = 0x01000002;
export const WAIT_CONTROL_FILE = 0x01000003;
export const WAIT_WAL_WRITE_LOCK = 0x01000004;
export const WAIT_LOCK_MANAGER = 0x01000005;
export const WAIT_SINVAL_WRITE = 0x01000010;
/** | number of a lock of the user's. */
export const WAIT_USER_LWLOCK = 0x01001000;
export const WAIT_LOCK_EXTEND = 0x03000001;
export const WAIT_IO_WORKER_MAIN = 0x05000001;
export const WAIT_BGWRITER_MAIN = 0x05000002;
export const WAIT_BGWRITER_HIBERNATE = 0x05000003;
export const WAIT_CHECKPOINTER_MAIN = 0x05000004;
/** | number of a condition of the user's. */
export const WAIT_USER_CONDITION = 0x07001000;
export const WAIT_BUFFER_IO = 0x08000001;
export const WAIT_CHECKPOINT_DONE = 0x08000002;
export const WAIT_CHECKPOINT_WRITE_DELAY = 0x09000001;
export const WAIT_DATA_FILE_READ = 0x0a000001;
export const WAIT_DATA_FILE_WRITE = 0x0a000002;
export const WAIT_WAL_WRITE = 0x0a000003;
export const WAIT_WAL_SYNC = 0x0a000004;
export const WAIT_AIO_COMPLETION = 0x0a000005;
