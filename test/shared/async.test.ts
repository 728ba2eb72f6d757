// The promise forms: they do what the synchronous ones do, tasks of one backend wait for each other
// and never for ever, a wait can be given up, and whatever ends one leaves nothing behind.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { type Backend, initPage, type Relation } from "../../bindings/index.ts";
import { groupOfOwnReads, ofOwnReads } from "../support/own-reads.ts";
import { builds } from "../support/region.ts";
import { Remote } from "../workers/commands.ts";
import { AT, aWhile, lockedPage, release, settled, World } from "./async.ts";

const BLOCKS = 40;
const selfWait = { code: "55P03", message: "this backend would wait for itself" };

const worlds: World[] = [];
const remotes: Remote[] = [];

afterEach(async () => {
  for (const remote of remotes.splice(0)) await remote.terminate();
  for (const world of worlds.splice(0)) await world.close();
});

interface Scene {
  readonly world: World;
  readonly a: Backend;
  readonly b: Backend;
  readonly t: Relation;
}

/** Two backends on this thread, and a relation of 40 pages, none of them in the pool. */
async function scene(checked: boolean, durable = false): Promise<Scene> {
  const world = await World.open(checked, durable);
  worlds.push(world);
  const [a, b] = [world.attach(), world.attach()];
  return { world, a, b, t: world.fill(a, BLOCKS) };
}

const add = (bytes: Uint8Array): void => {
  bytes[AT] = (bytes[AT] ?? 0) + 1;
};

describe.each(builds)("%s build", (_, checked) => {
  describe("promise forms", () => {
    it("do what the synchronous forms do", async () => {
      const { world, a } = await scene(checked);
      const made = await a.createRelation("made");
      expect(await a.buffers.extend(made, 3)).toBe(0);
      await a.buffers.change(made, 2, (bytes) => {
        initPage(bytes);
        bytes[AT] = 7;
      });
      expect(await a.buffers.flush(made)).toBe(1);
      expect((await a.checkpoint()).checkpoint).toBeGreaterThan(1);
      a.buffers.evictAllSync();
      {
        using page = await a.buffers.read(made, 2);
        expect(page.bytes[AT]).toBe(7);
      }
      const buffer = await a.buffers.pinAsync(made.id, 2);
      await a.buffers.lockShareAsync(buffer);
      a.buffers.unlock(buffer);
      await a.buffers.lockExclusiveAsync(buffer);
      a.buffers.unlock(buffer);
      await a.buffers.lockForCleanupAsync(buffer);
      release(a, buffer);
      await a.renameRelation("made", "renamed");
      await a.truncate(made, 1);
      expect(a.openRelationSync("renamed").blocksSync()).toBe(1);
      await a.dropRelation("renamed");
      expect(a.relationNamesSync()).toEqual(["t"]);
      expect(world.pinned()).toBe(0);
    });

    it("pass on a change that throws, with the page as it was", async () => {
      const { world, a, t } = await scene(checked);
      const wrong = a.buffers.change(t, 3, (bytes) => {
        add(bytes);
        throw new Error("on purpose");
      });
      await expect(wrong).rejects.toThrow("on purpose");
      using page = await a.buffers.read(t, 3);
      expect(page.bytes[AT]).toBe(3);
      expect(world.pinned()).toBe(1);
    });

    it("of two backends on one thread take turns", async () => {
      const { world, a, b, t } = await scene(checked);
      const turns = Array.from({ length: 200 }, (_, n) => {
        return (n % 2 === 0 ? a : b).buffers.change(t, n % 4, add);
      });
      await Promise.all(turns);
      using page = a.buffers.readSync(t, 3);
      expect(page.bytes[AT]).toBe(53);
      expect(world.pinned()).toBe(1);
    });
  });

  describe("two tasks of one backend", () => {
    it("share a share lock, also when both had to wait for it", async () => {
      const { world, a, b, t } = await scene(checked);
      const buffer = lockedPage(b, t, 0);
      const reads = [a.buffers.read(t, 0), a.buffers.read(t, 0), a.buffers.read(t, 0)];
      expect(await settled(Promise.race(reads))).toBe(false);
      release(b, buffer);
      const [first, ...others] = await Promise.all(reads);
      first?.[Symbol.dispose]();
      expect(others.map((page) => page.bytes[AT])).toEqual([0, 0]);
      const change = b.buffers.change(t, 0, add);
      expect(await settled(change)).toBe(false);
      for (const page of others) page[Symbol.dispose]();
      await change;
      expect(world.pinned()).toBe(0);
    });

    it("read a page once that both want", async () => {
      const { world, a, t } = await scene(checked);
      const before = world.shared.statistics().reads;
      world.gate.shut();
      const pins = [a.buffers.pinAsync(t.id, 5), a.buffers.pinAsync(t.id, 5)];
      await aWhile();
      world.gate.open();
      const [one, other] = await Promise.all(pins);
      expect(one).toBe(other);
      expect(world.shared.statistics().reads - before).toBe(1);
      for (const buffer of await Promise.all(pins)) a.buffers.unpin(buffer);
      expect(world.pinned()).toBe(0);
    });

    it("a change waits for a page that the other reads", async () => {
      const { world, a, t } = await scene(checked);
      const page = await a.buffers.read(t, 1);
      const change = a.buffers.change(t, 1, add);
      expect(await settled(change)).toBe(false);
      page[Symbol.dispose]();
      await change;
      expect(a.buffers.readSync(t, 1).bytes[AT]).toBe(2);
      expect(world.pinned()).toBe(1);
    });

    it("a checkpoint waits for a dirty page that the other reads", async () => {
      const { a, t } = await scene(checked);
      a.buffers.changeSync(t, 1, add);
      const page = await a.buffers.read(t, 1);
      const checkpoint = a.checkpoint();
      expect(await settled(checkpoint)).toBe(false);
      page[Symbol.dispose]();
      expect((await checkpoint).buffersWritten).toBe(1);
    });

    it("change two pages during a checkpoint, whose journal both need", async () => {
      const { world, a, b, t } = await scene(checked, true);
      for (let block = 0; block < 8; block += 1) a.buffers.changeSync(t, block, add);
      const checkpoint = b.checkpoint({ spreadSeconds: 0.3 });
      await aWhile(1);
      const changes = Array.from({ length: 8 }, (_, block) => a.buffers.change(t, block, add));
      await Promise.all(changes);
      await checkpoint;
      for (let block = 0; block < 8; block += 1) {
        using page = a.buffers.readSync(t, block);
        expect(page.bytes[AT]).toBe(block + 2);
      }
      expect(world.pinned()).toBe(0);
    });

    it("wait for two cleanup locks one after the other", async () => {
      const { world, a, b, t } = await scene(checked);
      const theirs = [b.buffers.pin(t.id, 0), b.buffers.pin(t.id, 1)];
      const ours = [a.buffers.pin(t.id, 0), a.buffers.pin(t.id, 1)];
      const locks = ours.map((buffer) => a.buffers.lockForCleanupAsync(buffer));
      expect(await settled(Promise.race(locks))).toBe(false);
      for (const buffer of theirs) b.buffers.unpin(buffer);
      await Promise.all(locks);
      for (const buffer of ours) release(a, buffer);
      // Nobody is taken for a waiter any more.
      const [mine, other] = [b.buffers.pin(t.id, 0), a.buffers.pin(t.id, 0)];
      const late = b.buffers.lockForCleanupAsync(mine);
      expect(await settled(late)).toBe(false);
      a.buffers.unpin(other);
      await late;
      release(b, mine);
      expect(world.pinned()).toBe(0);
    });

    it("end with 55P03 where a lock can never be had, and keep nothing of it", async () => {
      const { world, a, t } = await scene(checked);
      a.buffers.changeSync(t, 0, add);
      const page = await a.buffers.read(t, 0);
      const own = lockedPage(a, t, 1);
      const begin = performance.now();
      const waits = [
        a.buffers.change(t, 0, add),
        a.checkpoint(),
        a.buffers.flush(t),
        a.buffers.read(t, 1),
        a.buffers.lockShareAsync(own),
        a.buffers.lockExclusiveAsync(own),
        a.buffers.lockForCleanupAsync(own),
      ];
      for (const wait of waits.slice(0, -1)) wait.catch(() => {});
      const ends = await Promise.allSettled(waits);
      for (const end of ends.slice(0, 6)) expect(end).toMatchObject({ reason: selfWait });
      // The waiting read has a pin of its own.
      expect(ends[6]).toMatchObject({ status: "rejected" });
      expect(performance.now() - begin).toBeLessThan(15_000);
      page[Symbol.dispose]();
      release(a, own);
      expect(world.pinned()).toBe(0);
      await a.buffers.change(t, 0, add);
      expect((await a.checkpoint()).buffersWritten).toBe(1);
    });
  });

  describe("a synchronous call", () => {
    ofOwnReads("that would wait for a read of its own backend throws 55P03", async () => {
      const { world, a, t } = await scene(checked);
      world.gate.shut();
      const reading = a.buffers.pinAsync(t.id, 2);
      await aWhile();
      expect(world.gate.waiting).toBe(1);
      expect(() => a.buffers.pin(t.id, 2)).toThrowError(expect.objectContaining(selfWait));
      expect(() => a.buffers.readSync(t, 2)).toThrowError(expect.objectContaining(selfWait));
      world.gate.open();
      a.buffers.unpin(await reading);
      expect(world.pinned()).toBe(0);
    });

    it("that would wait for a checkpoint of its own backend throws 55P03", async () => {
      const { a, t } = await scene(checked);
      for (let block = 0; block < 8; block += 1) a.buffers.changeSync(t, block, add);
      const checkpoint = a.checkpoint({ spreadSeconds: 0.2 });
      await aWhile(1);
      expect(() => a.checkpointSync()).toThrowError(expect.objectContaining(selfWait));
      expect(() => a.dropRelationSync("t")).toThrowError(expect.objectContaining(selfWait));
      await checkpoint;
      a.dropRelationSync("t");
    });
  });

  describe("an AbortSignal", () => {
    it("gives up each kind of wait with 57014, and nothing of it stays", async () => {
      const { world, a, b, t } = await scene(checked);
      const theirs = lockedPage(b, t, 0);
      const [pinned, shared] = [b.buffers.pin(t.id, 1), b.buffers.pin(t.id, 2)];
      b.buffers.lockShare(shared);
      const ours = [0, 1, 2].map((block) => a.buffers.pin(t.id, block));
      const [first, second, third] = ours as [(typeof ours)[0], (typeof ours)[0], (typeof ours)[0]];
      const { signal, abort } = aborter();
      const waits = [
        a.buffers.lockShareAsync(first, signal),
        a.buffers.lockExclusiveAsync(third, signal),
        a.buffers.lockForCleanupAsync(second, signal),
        a.buffers.read(t, 0, { signal }),
        a.buffers.change(t, 0, add, signal),
      ];
      expect(await settled(Promise.race(waits))).toBe(false);
      abort("enough");
      for (const end of await Promise.allSettled(waits)) {
        expect(end).toMatchObject({ reason: { code: "57014", cause: "enough" } });
      }
      for (const buffer of ours) a.buffers.unpin(buffer);
      // Neither the owner's word nor the waiter's mark is left.
      b.buffers.unlock(shared);
      expect(b.buffers.tryLockExclusive(shared)).toBe(true);
      release(b, shared);
      const late = b.buffers.pin(t.id, 1);
      b.buffers.unpin(late);
      await b.buffers.lockForCleanupAsync(pinned);
      release(b, pinned);
      release(b, theirs);
      expect(world.pinned()).toBe(0);
    });

    ofOwnReads("gives up waiting for another backend's read, which goes on", async () => {
      const { world, a, b, t } = await scene(checked);
      world.gate.shut();
      const reading = a.buffers.pinAsync(t.id, 3);
      await aWhile();
      const { signal, abort } = aborter();
      const waiting = b.buffers.pinAsync(t.id, 3, { signal });
      expect(await settled(waiting)).toBe(false);
      abort();
      await expect(waiting).rejects.toMatchObject({ code: "57014" });
      world.gate.open();
      const buffer = await reading;
      expect(a.buffers.bytes(buffer)[AT]).toBe(3);
      a.buffers.unpin(buffer);
      expect(world.pinned()).toBe(0);
    });

    it("gives up a checkpoint; the next one is whole", async () => {
      const { world, a, b, t } = await scene(checked, true);
      for (let block = 0; block < 8; block += 1) a.buffers.changeSync(t, block, add);
      const { signal, abort } = aborter();
      const checkpoint = a.checkpoint({ spreadSeconds: 30 }, signal);
      expect(await settled(checkpoint)).toBe(false);
      abort();
      await expect(checkpoint).rejects.toMatchObject({ code: "57014" });
      expect(world.pinned()).toBe(0);
      b.buffers.changeSync(t, 0, add);
      const before = world.shared.recovery.checkpoint;
      expect((await b.checkpoint()).checkpoint).toBeGreaterThan(before);
      expect(world.shared.views.pgBuffercacheSummary().buffers_dirty).toBe(0);
    });

    it("that was never used leaves no listener", async () => {
      const { a, b, t } = await scene(checked);
      const { signal, listeners } = aborter();
      for (let turn = 0; turn < 20; turn += 1) {
        const buffer = lockedPage(b, t, 0);
        const reading = a.buffers.read(t, 0, { signal });
        await aWhile(1);
        release(b, buffer);
        (await reading)[Symbol.dispose]();
      }
      expect(listeners()).toBe(0);
    });
  });

  groupOfOwnReads("the end of a region or a backend", () => {
    ofOwnReads("rejects what waits with 57P01", async () => {
      const { world, a, b, t } = await scene(checked);
      const buffer = lockedPage(b, t, 0);
      world.gate.shut();
      const reading = b.buffers.pinAsync(t.id, 4);
      await aWhile();
      const waits = [a.buffers.read(t, 0), a.buffers.change(t, 0, add), a.buffers.read(t, 4)];
      expect(await settled(Promise.race(waits))).toBe(false);
      const all = Promise.allSettled([...waits, a.buffers.lockShareAsync(buffer)]);
      await world.shared.close();
      const ends = await all;
      for (const end of ends.slice(0, 3)) expect(end).toMatchObject({ reason: { code: "57P01" } });
      world.gate.open();
      await Promise.allSettled([reading]);
    });

    ofOwnReads(
      "a backend that detaches stops its promises, and they touch nobody's page",
      async () => {
        const { world, a, b, t } = await scene(checked);
        const shared = b.buffers.pin(t.id, 0);
        b.buffers.lockShare(shared);
        const ours = a.buffers.pin(t.id, 0);
        const draining = a.buffers.lockExclusiveAsync(ours);
        world.gate.shut();
        const reading = a.buffers.pinAsync(t.id, 6);
        draining.catch(() => {});
        reading.catch(() => {});
        await aWhile();
        const { slot } = a;
        a.detach();
        b.buffers.unlock(shared);
        const next = world.attach();
        expect(next.slot).toBe(slot);
        const mine = lockedPage(next, t, 0);
        // Every other frame gets a page, the one read into among them; then the read ends.
        const pages = Array.from({ length: 15 }, (_, n) => next.buffers.pin(t.id, 10 + n));
        world.gate.open();
        await expect(draining).rejects.toMatchObject({ message: "the backend is closed" });
        await expect(reading).rejects.toMatchObject({ message: "the backend is closed" });
        expect(pages.map((buffer) => next.buffers.bytes(buffer)[AT])).toEqual(
          pages.map((_, n) => 10 + n),
        );
        expect(b.buffers.tryLockShare(shared)).toBe(false);
        for (const buffer of pages) next.buffers.unpin(buffer);
        release(next, mine);
        b.buffers.unpin(shared);
        expect(world.pinned()).toBe(0);
      },
    );
  });

  describe("a worker that holds a lock", () => {
    it("is waited for while the thread's event loop goes on", async () => {
      const { world, a, t } = await scene(checked);
      const remote = await Remote.attached(world.shared.handle);
      remotes.push(remote);
      const buffer = await remote.call("pin", "t", 0);
      await remote.call("lockExclusive", buffer);
      const reading = a.buffers.read(t, 0);
      let ticks = 0;
      const timer = setInterval(() => {
        ticks += 1;
      }, 5);
      expect(await settled(reading)).toBe(false);
      await aWhile(100);
      clearInterval(timer);
      expect(ticks).toBeGreaterThan(3);
      await remote.call("unlock", buffer);
      expect((await reading).bytes[AT]).toBe(0);
    });
  });
});

describe("a script whose only work is an awaited read", () => {
  it("is not cut short while a worker holds the page's lock", () => {
    const file = fileURLToPath(new URL("await-only.mjs", import.meta.url));
    const { status, stdout, stderr } = spawnSync(process.execPath, [file], {
      encoding: "utf8",
      timeout: 30_000,
    });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "read 7\n", stderr: "" });
  });
});

/** A signal, what makes it abort, and how many listen to it. */
function aborter(): {
  readonly signal: AbortSignal;
  readonly abort: (reason?: unknown) => void;
  readonly listeners: () => number;
} {
  const controller = new AbortController();
  const { signal } = controller;
  let count = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: Parameters<typeof addEventListener>): void => {
    count += 1;
    addEventListener.apply(signal, args);
  };
  signal.removeEventListener = (...args: Parameters<typeof removeEventListener>): void => {
    count -= 1;
    removeEventListener.apply(signal, args);
  };
  return { signal, abort: (reason) => controller.abort(reason), listeners: () => count };
}
