// What the modules ask of the program around them. Kept as small as possible: an import call costs
// as much as a whole allocation. The last three exist in the
// simulation build alone; the points build has `step`.

/** Never returns: the host throws a CorruptionError that names `code`. */
export declare function panic(code: i32): void;

/**
 * Process memory: runs what is registered for the context of a handle, the newest first. With
 * ADMISSION_CALL instead, leave is asked for a block; a host that does nothing then agrees.
 */
export declare function callbacks(handle: u32): void;

/**
 * Process memory: another wasm module made a call of `kind` that cannot be answered. The host tries
 * it once more in its own way, which throws the error that says why.
 */
export declare function refused(kind: i32, address: usize, bytes: u32): usize;

/** A shared word at `at` is about to be touched; the scheduler may run somebody else first. */
export declare function step(kind: i32, at: usize): void;
/** Returns when the word at `at` no longer equals `value`, or after a notify. */
export declare function blocked(at: usize, value: u32): void;
/** Wakes everybody who is blocked on the word at `at`. */
export declare function woken(at: usize): void;
