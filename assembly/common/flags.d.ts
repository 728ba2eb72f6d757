// The compile-time switches of asconfig.json (`use`), declared for editors and tsc.
// asc replaces them by constants, so that a branch on one vanishes from the builds that lack it.

/** 1 in the checked builds: invariants, guard bytes, wiped memory. */
declare const CHECKING: i32;
/** 1 in the simulation build: every atomic step may hand control to a scheduler. */
declare const SIMULATION: i32;
/** 1 in the points build: every atomic step is announced, so that a thread can be ended there. */
declare const POINTS: i32;
