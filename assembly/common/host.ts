// What the modules ask of the program around them. Kept as small as possible: an import call costs
// as much as a whole allocation.

/** Never returns: the host throws a CorruptionError that names `code`. */
export declare function panic(code: i32): void;
