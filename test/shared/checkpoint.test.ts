// Checkpoints through the public calls: what they report, that one that is spread over time makes
// room and still hurries for who waits, and that others change pages meanwhile. What a crash finds
// is the business of test/durability.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Backend, initPage, type Relation, SharedMemory } from "../../bindings/index.ts";
import { nodeFiles, openStorage } from "../../bindings/storage/node-fs.ts";
import { withThisMethod } from "../support/io-methods.ts";
import { builds } from "../support/region.ts";

const PAGES = 40;

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "palloc-checkpoint-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

describe.each(builds)("checkpoints, %s build", (_, checked) => {
  async function withTwo(
    work: (one: Backend, two: Backend, relation: Relation) => Promise<void>,
  ): Promise<void> {
    const settings = { shared_buffers: "1MB", max_connections: 2 };
    const storage = nodeFiles(directory);
    const shared = await SharedMemory.create(withThisMethod({ settings, storage, checked }));
    const one = Backend.attachSync(shared.handle, { storage: openStorage });
    const two = Backend.attachSync(shared.handle, { storage: openStorage });
    try {
      const relation = one.createRelationSync("pages");
      one.buffers.extendSync(relation, PAGES);
      dirty(one, relation, 1);
      await work(one, two, relation);
    } finally {
      two.detach();
      one.detach();
      await shared.close();
    }
  }

  it("reports what was written, synced and committed, and its progress", async () => {
    await withTwo(async (one) => {
      const seen: [number, number][] = [];
      const result = one.checkpointSync({ onProgress: (done, total) => seen.push([done, total]) });
      expect(result).toMatchObject({ checkpoint: 2, buffersWritten: PAGES, filesSynced: 1 });
      expect(seen.at(-1)).toEqual([PAGES, PAGES]);
      expect(one.checkpointSync()).toMatchObject({ checkpoint: 3, buffersWritten: 0 });
    });
  });

  it("one that is spread over an hour ends at once when somebody waits for it", async () => {
    await withTwo(async (one, two) => {
      two.createRelationSync("dropped");
      const checkpoint = one.checkpoint({ spreadSeconds: 3600 });
      await two.dropRelation("dropped");
      expect((await checkpoint).buffersWritten).toBe(PAGES);
    });
  });

  it("what others change while it runs is left to the next one", async () => {
    await withTwo(async (one, two, relation) => {
      const checkpoint = one.checkpoint({ spreadSeconds: 3600 });
      await new Promise((resolve) => setTimeout(resolve, 5));
      dirty(two, two.openRelationSync("pages"), 2);
      two.createRelationSync("late");
      await two.dropRelation("late");
      await checkpoint;
      expect(one.checkpointSync().buffersWritten).toBe(PAGES);
      const page = one.buffers.readSync(relation, 0);
      expect(page.bytes[100]).toBe(2);
      page[Symbol.dispose]();
    });
  });

  it("a signal gives one up, and the next goes on from there", async () => {
    await withTwo(async (one) => {
      const controller = new AbortController();
      const checkpoint = one.checkpoint({ spreadSeconds: 3600 }, controller.signal);
      setTimeout(() => controller.abort(), 5);
      await expect(checkpoint).rejects.toMatchObject({ code: "57014" });
      expect(one.checkpointSync()).toMatchObject({ checkpoint: 4 });
    });
  });
});

/** Writes a number into every page. */
function dirty(backend: Backend, relation: Relation, value: number): void {
  for (let block = 0; block < PAGES; block += 1) {
    backend.buffers.changeSync(relation, block, (bytes) => {
      if (bytes[18] === 0) initPage(bytes);
      bytes[100] = value;
    });
  }
}
