// A process killed while threads of it change pages and take checkpoints, again and again over one
// directory. The system's cache survives that, so it proves less than crash-disk.ts: that what was
// said follows what was done, that a start recovers, and that a dead owner holds nothing any more.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { SharedMemory } from "../../bindings/index.ts";
import { readRelations } from "../../bindings/shared/control.ts";
import type { StorageManager } from "../../bindings/storage/manager.ts";
import { nodeFiles } from "../../bindings/storage/node-fs.ts";
import { Random, seed } from "../support/random.ts";
import { misprint } from "./pages.ts";

const VICTIM = new URL("../../dist/test/durability/victim.js", import.meta.url).pathname;
const SEGMENT_BLOCKS = 16;
const LONG = isLong(process.env);
const KILLS = LONG ? 300 : 20;
/** Where the machine is slow, fewer kills are enough. */
const LONGEST_MS = LONG ? 20 * 60_000 : 15_000;
const FEWEST_KILLS = 3;

function isLong({ PALLOC_LONG }: NodeJS.ProcessEnv): boolean {
  return PALLOC_LONG !== undefined;
}

const directory = mkdtempSync(join(tmpdir(), "palloc-kill-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function open(): StorageManager {
  return nodeFiles(directory, { segmentBlocks: SEGMENT_BLOCKS });
}

/** Changes in a relation, if it is what so many changes make of it. */
function changesIn(storage: StorageManager, n: number): number {
  const entry = readRelations(storage)?.relations[`changer ${n}`];
  if (entry === undefined) return 0;
  const blocks = storage.blocksSync(entry.number, 0);
  const pages = Array.from({ length: blocks }, (_, block) => {
    const page = new Uint8Array(BLOCK_BYTES);
    storage.readSync(entry.number, 0, block, page);
    return page;
  });
  const versions = pages.map((page) => new Uint32Array(page.buffer)[8] ?? 0);
  const changes = versions.reduce((sum, version) => sum + version, 0);
  for (const [block, page] of pages.entries()) {
    const version = Math.ceil((changes - block) / blocks);
    expect(misprint(page, { uid: n, block, version })).toBeUndefined();
  }
  return changes;
}

/** What a victim has said last, once it has been killed. */
class Victim {
  readonly #process: ChildProcess;
  /** Checkpoint, and what it has at least. */
  said: readonly number[] | undefined;
  #rest = "";

  constructor() {
    this.#process = spawn(process.execPath, [VICTIM, directory], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#process.stdout?.on("data", (bytes: Buffer) => {
      const lines = (this.#rest + bytes.toString()).split("\n");
      this.#rest = lines.pop() ?? "";
      const last = lines.at(-1);
      if (last !== undefined) this.said = last.split(" ").map(Number);
    });
  }

  async spoken(): Promise<void> {
    const ended = once(this.#process, "exit");
    while (this.said === undefined) {
      await Promise.race([once(this.#process.stdout ?? this.#process, "data"), ended]);
      if (this.#process.exitCode !== null) throw new Error("the victim has ended by itself");
    }
  }

  async kill(): Promise<void> {
    const closed = once(this.#process, "close");
    this.#process.kill("SIGKILL");
    await closed;
  }
}

test(
  "a killed process leaves the last checkpoint that it told of, or the next",
  async () => {
    const random = new Random(seed);
    const began = performance.now();
    let kills = 0;
    for (; kills < KILLS; kills += 1) {
      if (kills >= FEWEST_KILLS && performance.now() - began > LONGEST_MS) break;
      const victim = new Victim();
      await victim.spoken();
      if (kills === 0) {
        const second = SharedMemory.create({ storage: open() });
        await expect(second).rejects.toMatchObject({ code: "55006" });
      }
      await new Promise((resolve) => setTimeout(resolve, random.below(150)));
      await victim.kill();
      const [checkpoint = 0, ...least] = victim.said ?? [];
      const storage = open();
      const shared = await SharedMemory.create({ storage });
      const { recovery } = shared;
      expect([checkpoint, checkpoint + 1]).toContain(recovery.checkpoint);
      for (const [n, changes] of least.entries()) {
        expect(changesIn(storage, n)).toBeGreaterThanOrEqual(changes);
      }
      await shared.close();
    }
    expect(kills).toBeGreaterThanOrEqual(FEWEST_KILLS);
  },
  30 * 60_000,
);
