// The owner word: one holder at a time, the holder's number in the word, and a flag when somebody
// has to be woken.

import { describe, expect, it } from "vitest";
import {
  CACHE_LINE_BYTES,
  LOCK_CONTROL,
  LOCK_WAITERS,
  ST_ALREADY_LOCKED,
  ST_NOT_LOCKED,
  ST_OK,
  ST_WAIT,
} from "../../assembly/common/constants.ts";
import { builds, RawRegion } from "../support/region.ts";

/** The word of the control lock. */
function word(region: RawRegion): number {
  const words = new Uint32Array(region.memory.buffer);
  return words[((words[104 / 4] ?? 0) + LOCK_CONTROL * CACHE_LINE_BYTES) / 4] ?? 0;
}

describe.each(builds)("%s build", (_, checked) => {
  it("the word holds the owner's number, and nothing when it is free", () => {
    const region = new RawRegion({ checked });
    expect(region.backend(2).lockNamed(LOCK_CONTROL)).toBe(ST_OK);
    expect(word(region)).toBe(2 + 1);
    expect(region.backend(2).unlockNamed(LOCK_CONTROL)).toBe(ST_OK);
    expect(word(region)).toBe(0);
  });

  it("who finds it taken leaves a flag, and who frees it takes the flag away", () => {
    const region = new RawRegion({ checked });
    region.backend(1).lockNamed(LOCK_CONTROL);
    expect(region.backend(2).lockNamed(LOCK_CONTROL)).toBe(ST_WAIT);
    expect(word(region)).toBe(((1 + 1) | LOCK_WAITERS) >>> 0);
    expect(region.backend(1).unlockNamed(LOCK_CONTROL)).toBe(ST_OK);
    expect(word(region)).toBe(0);
    expect(region.backend(2).lockNamed(LOCK_CONTROL)).toBe(ST_OK);
  });

  it("taking it twice, or freeing what another holds, is refused", () => {
    const region = new RawRegion({ checked });
    region.backend(1).lockNamed(LOCK_CONTROL);
    expect(region.backend(1).lockNamed(LOCK_CONTROL)).toBe(ST_ALREADY_LOCKED);
    expect(region.backend(2).unlockNamed(LOCK_CONTROL)).toBe(ST_NOT_LOCKED);
    expect(word(region)).toBe(1 + 1);
  });
});
