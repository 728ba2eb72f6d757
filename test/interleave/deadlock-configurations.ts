// Backends that entangle themselves, for every order of steps: two and three in a circle, readers
// that an order of the queues frees, and one whose rearrangement is dangerous if half done.

import type { LockConfiguration } from "./deadlock-setting.ts";

const SHARE = 1;
const EXCLUSIVE = 8;

/** Two that lock a and b crosswise. */
export const crosswise: LockConfiguration = {
  name: "two take two objects crosswise",
  lockers: [
    { holds: [["1", EXCLUSIVE]], wants: [["2", EXCLUSIVE]] },
    { holds: [["2", EXCLUSIVE]], wants: [["1", EXCLUSIVE]] },
  ],
  victims: 1,
};

/** The same, from nothing: there need not be a deadlock, but never two victims. */
export const lateCrosswise: LockConfiguration = {
  name: "two take two objects crosswise, and look late",
  lockers: crosswise.lockers.map((locker) => ({ ...locker, late: true })),
  victims: 1,
};

/** Three in a circle. */
export const circle: LockConfiguration = {
  name: "three in a circle",
  lockers: [
    { holds: [["1", EXCLUSIVE]], wants: [["2", EXCLUSIVE]] },
    { holds: [["2", EXCLUSIVE]], wants: [["3", EXCLUSIVE]] },
    { holds: [["3", EXCLUSIVE]], wants: [["1", EXCLUSIVE]] },
  ],
  victims: 1,
};

/** PostgreSQL's isolation test deadlock-soft. */
export const readers: LockConfiguration = {
  name: "two readers behind writers that wait for them",
  lockers: [
    { holds: [["1", SHARE]], wants: [["2", SHARE]] },
    { holds: [["2", SHARE]], wants: [["1", SHARE]] },
    { waits: ["1", EXCLUSIVE] },
    { waits: ["2", EXCLUSIVE] },
  ],
  victims: 0,
};

/**
 * The last one must pass the third. With only the second's ticket given, the second would stand
 * behind the third, which waits for it: both have looked already, and would wait for ever.
 */
export const halfDone: LockConfiguration = {
  name: "a rearrangement that is a deadlock when half done",
  lockers: [
    { holds: [["2", 3]], waits: ["1", 4] },
    { holds: [["2", SHARE]], waits: ["2", 5] },
    { waits: ["2", EXCLUSIVE] },
    { holds: [["1", 4]], wants: [["2", SHARE]] },
  ],
  victims: 0,
};

/** The second looks when it has let others go on. */
export const oneLate: LockConfiguration = {
  name: "two crosswise, the second looks later",
  lockers: [
    { holds: [["1", EXCLUSIVE]], wants: [["2", EXCLUSIVE]] },
    { holds: [["2", EXCLUSIVE]], wants: [["1", EXCLUSIVE]], late: true },
  ],
  victims: 1,
};
