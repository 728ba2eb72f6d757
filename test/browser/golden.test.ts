// Proves that the numbers are PostgreSQL's in a browser, too: every recorded history replays
// without a difference on both builds, on the main thread of a page.

import { describe, expect, it } from "vitest";
import { replay } from "../../dist/test/golden/replay.js";
import type { Trace } from "../golden/trace.ts";

declare global {
  interface ImportMeta {
    /** Vite's: modules by pattern. */
    glob(pattern: string, options: { eager: true }): Record<string, { default: unknown }>;
  }
}

/** The recorded histories, bundled: a page has no directory to read. */
const files = import.meta.glob("../golden/traces/*.json", {
  eager: true,
});
const traces = Object.values(files).flatMap(({ default: content }) => {
  return Array.isArray(content) ? [] : [content as Trace];
});

describe("the recorded histories", () => {
  it("are all here", () => {
    expect(traces).toHaveLength(46);
  });

  describe.each([{ checked: false }, { checked: true }])("with checked: $checked", (build) => {
    it.each(traces.map((trace) => [trace.name, trace] as const))("%s replays", (_name, trace) => {
      expect(() => replay(trace, build).dispose()).not.toThrow();
    });
  });
});
