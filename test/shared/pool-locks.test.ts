// Content locks and pins of several backends of one pool: who waits for whom, what the conditional
// forms say, and what is refused. What must wait waits in promises.

import { describe, expect, it } from "vitest";
import type { Backend, BufferId, Relation } from "../../bindings/index.ts";
import { codeOf, everywhere, openPool, stamped, stampOf } from "../support/pool.ts";

interface Two {
  readonly a: Backend;
  readonly b: Backend;
  readonly relation: Relation;
  /** Block 0, pinned by both. */
  readonly buffer: BufferId;
}

async function two(checked: boolean, files: boolean): Promise<Two> {
  const pool = await openPool({ checked, files });
  const [a, b] = [pool.attach(), pool.attach()];
  const relation = stamped(a, "t", 4);
  const buffer = a.buffers.pin(relation.id, 0);
  expect(b.buffers.pin(relation.id, 0)).toBe(buffer);
  return { a, b, relation, buffer };
}

/** Whether a promise is still pending after a while. */
async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol("pending");
  const later = new Promise((resolve) => setTimeout(() => resolve(pending), 20));
  return (await Promise.race([promise, later])) === pending;
}

describe.each(everywhere)("%s", (_, checked, files) => {
  it("share locks go together, an exclusive one goes alone", async () => {
    const { a, b, buffer } = await two(checked, files);
    a.buffers.lockShare(buffer);
    expect(b.buffers.tryLockShare(buffer)).toBe(true);
    b.buffers.unlock(buffer);
    expect(b.buffers.tryLockExclusive(buffer)).toBe(false);
    a.buffers.unlock(buffer);
    expect(b.buffers.tryLockExclusive(buffer)).toBe(true);
    expect(a.buffers.tryLockShare(buffer)).toBe(false);
    expect(a.buffers.tryLockExclusive(buffer)).toBe(false);
    b.buffers.unlock(buffer);
    a.buffers.lockExclusive(buffer);
    a.buffers.unlock(buffer);
  });

  it("an exclusive lock is waited for until the last reader has gone", async () => {
    const { a, b, buffer } = await two(checked, files);
    a.buffers.lockShare(buffer);
    const waiting = b.buffers.lockExclusiveAsync(buffer);
    expect(await isPending(waiting)).toBe(true);
    a.buffers.unlock(buffer);
    await waiting;
    const reader = a.buffers.lockShareAsync(buffer);
    expect(await isPending(reader)).toBe(true);
    b.buffers.unlock(buffer);
    await reader;
    a.buffers.unlock(buffer);
  });

  it("a wait for a lock that is given up leaves the lock as it was", async () => {
    const { a, b, buffer } = await two(checked, files);
    a.buffers.lockShare(buffer);
    const giveUp = new AbortController();
    const waiting = b.buffers.lockExclusiveAsync(buffer, giveUp.signal);
    expect(await isPending(waiting)).toBe(true);
    giveUp.abort();
    await expect(waiting).rejects.toMatchObject({ code: "57014" });
    a.buffers.unlock(buffer);
    expect(a.buffers.tryLockExclusive(buffer)).toBe(true);
    a.buffers.unlock(buffer);
  });

  it("a lock needs a pin, is had once a backend, and is given back once", async () => {
    const { a, relation, buffer } = await two(checked, files);
    const free = a.buffers.pin(relation.id, 1);
    a.buffers.unpin(free);
    for (const take of [
      "lockShare",
      "lockExclusive",
      "tryLockShare",
      "tryLockExclusive",
    ] as const) {
      expect(codeOf(() => a.buffers[take](free))).toBe("55000");
      a.buffers.lockShare(buffer);
      expect(codeOf(() => a.buffers[take](buffer))).toBe("55000");
      a.buffers.unlock(buffer);
    }
    expect(codeOf(() => a.buffers.unlock(buffer))).toBe("55000");
    expect(codeOf(() => a.buffers.lockShare(9999 as BufferId))).toBe("22023");
    a.buffers.lockShare(buffer);
    expect(codeOf(() => a.buffers.unpin(buffer))).toBe("55000");
    a.buffers.unlock(buffer);
    a.buffers.unpin(buffer);
    expect(codeOf(() => a.buffers.unpin(buffer))).toBe("55000");
  });

  it("several readSync() of one page share one lock, which goes with the last", async () => {
    const { a, b, relation, buffer } = await two(checked, files);
    const [first, second] = [a.buffers.readSync(relation, 0), a.buffers.readSync(relation, 0)];
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    expect(b.buffers.tryLockExclusive(buffer)).toBe(false);
    expect(() => first.bytes).toThrow(/closed|page/);
    second[Symbol.dispose]();
    expect(b.buffers.tryLockExclusive(buffer)).toBe(true);
    b.buffers.unlock(buffer);
  });
});

describe.each(everywhere)("cleanup locks, %s", (_, checked, files) => {
  it("wait for the pins of other backends, and not for pins that come later", async () => {
    const { a, b, relation, buffer } = await two(checked, files);
    const waiting = a.buffers.lockForCleanupAsync(buffer);
    expect(await isPending(waiting)).toBe(true);
    b.buffers.unpin(buffer);
    await waiting;
    expect(b.buffers.pin(relation.id, 0)).toBe(buffer);
    expect(b.buffers.tryLockShare(buffer)).toBe(false);
    a.buffers.unlock(buffer);
    expect(b.buffers.tryLockShare(buffer)).toBe(true);
    b.buffers.unlock(buffer);
  });

  it("let others read while they wait", async () => {
    const { a, b, relation, buffer } = await two(checked, files);
    const waiting = a.buffers.lockForCleanupAsync(buffer);
    expect(await isPending(waiting)).toBe(true);
    expect(stampOf(b, relation, 0)).toBe(1);
    b.buffers.lockExclusive(buffer);
    b.buffers.unlock(buffer);
    expect(await isPending(waiting)).toBe(true);
    b.buffers.unpin(buffer);
    await waiting;
    a.buffers.unlock(buffer);
  });

  it("are refused to a second who would wait", async () => {
    const { a, b, buffer } = await two(checked, files);
    const waiting = a.buffers.lockForCleanupAsync(buffer);
    expect(await isPending(waiting)).toBe(true);
    await expect(b.buffers.lockForCleanupAsync(buffer)).rejects.toMatchObject({
      code: "55000",
      message: "multiple backends attempting to wait for pincount 1",
    });
    expect(codeOf(() => b.buffers.lockForCleanup(buffer))).toBe("55000");
    b.buffers.unpin(buffer);
    await waiting;
    a.buffers.unlock(buffer);
  });

  it("that are given up leave the place to the next", async () => {
    const { a, b, buffer } = await two(checked, files);
    const giveUp = new AbortController();
    const waiting = a.buffers.lockForCleanupAsync(buffer, giveUp.signal);
    expect(await isPending(waiting)).toBe(true);
    giveUp.abort();
    await expect(waiting).rejects.toMatchObject({ code: "57014" });
    const next = b.buffers.lockForCleanupAsync(buffer);
    expect(await isPending(next)).toBe(true);
    a.buffers.unpin(buffer);
    await next;
    b.buffers.unlock(buffer);
  });

  it("want exactly one pin of their own", async () => {
    const { a, b, relation, buffer } = await two(checked, files);
    b.buffers.unpin(buffer);
    a.buffers.pin(relation.id, 0);
    const twice = {
      code: "55000",
      message: "incorrect local pin count for a cleanup lock",
    };
    expect(() => a.buffers.lockForCleanup(buffer)).toThrow(expect.objectContaining(twice));
    expect(() => a.buffers.tryLockForCleanup(buffer)).toThrow(expect.objectContaining(twice));
    expect(() => b.buffers.lockForCleanup(buffer)).toThrow(
      expect.objectContaining({ code: "55000", message: "buffer is not pinned by this backend" }),
    );
    a.buffers.unpin(buffer);
    a.buffers.lockForCleanup(buffer);
    a.buffers.unlock(buffer);
  });

  it("that need not be waited for are had at once, and others not at all", async () => {
    const { a, b, buffer } = await two(checked, files);
    expect(a.buffers.tryLockForCleanup(buffer)).toBe(false);
    expect(b.buffers.tryLockShare(buffer)).toBe(true);
    expect(a.buffers.tryLockForCleanup(buffer)).toBe(false);
    b.buffers.unlock(buffer);
    b.buffers.unpin(buffer);
    expect(a.buffers.tryLockForCleanup(buffer)).toBe(true);
    a.buffers.unlock(buffer);
  });
});

describe.each(everywhere)("pins, %s", (_, checked, files) => {
  it("are counted a backend: many pins of one are one pinning backend", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 2);
    const buffer = a.buffers.pin(relation.id, 0);
    const pinning = (): unknown =>
      pool.shared.views.pgBuffercache().find(({ bufferid }) => bufferid === buffer + 1)
        ?.pinning_backends;
    for (let more = 0; more < 99; more += 1) a.buffers.pin(relation.id, 0);
    expect([a.buffers.pinnedBuffers(), pinning()]).toEqual([1, 1]);
    b.buffers.pin(relation.id, 0);
    expect([b.buffers.pinnedBuffers(), pinning()]).toEqual([1, 2]);
    expect(pool.shared.views.pgBuffercacheSummary().buffers_pinned).toBe(1);
    for (let pin = 0; pin < 100; pin += 1) a.buffers.unpin(buffer);
    expect([a.buffers.pinnedBuffers(), pinning()]).toEqual([0, 1]);
    b.buffers.unpin(buffer);
    expect(pinning()).toBe(0);
  });

  it("of one backend on one buffer are 32,767 at most, and the next is refused with 54000", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = stamped(backend, "t", 1);
    const most = 32767;
    const buffer = backend.buffers.pin(relation.id, 0);
    for (let pin = 1; pin < most; pin += 1) backend.buffers.pin(relation.id, 0);
    expect(codeOf(() => backend.buffers.pin(relation.id, 0))).toBe("54000");
    await expect(backend.buffers.pinAsync(relation.id, 0)).rejects.toMatchObject({ code: "54000" });
    expect(backend.buffers.leakedPins()).toEqual([
      { buffer, relation: "t", block: 0, pins: most, locked: false },
    ]);
    for (let pin = 0; pin < most; pin += 1) backend.buffers.unpin(buffer);
    expect(codeOf(() => backend.buffers.unpin(buffer))).toBe("55000");
    expect(backend.buffers.pinnedBuffers()).toBe(0);
  });

  it("on every buffer leave none for a miss, which is refused with 53200 and harms nothing", async () => {
    const pool = await openPool({ checked, files, settings: { shared_buffers: 16 } });
    const backend = pool.attach();
    const relation = stamped(backend, "t", 17);
    const pinned = Array.from({ length: 16 }, (_each, block) =>
      backend.buffers.pin(relation.id, block),
    );
    expect(codeOf(() => backend.buffers.pin(relation.id, 16))).toBe("53200");
    expect(codeOf(() => backend.buffers.evictSync(pinned[0] ?? (0 as BufferId)))).toBe("nothing");
    backend.buffers.unpin(pinned[3] ?? (0 as BufferId));
    expect(stampOf(backend, relation, 16)).toBe(17);
    expect(backend.buffers.pinnedBuffers()).toBe(15);
  });
});

describe.each(everywhere)("leaks, %s", (_, checked, files) => {
  it("are listed with relation, block, pins and lock, of shared and of temporary pages", async () => {
    const pool = await openPool({ checked, files });
    const backend = pool.attach();
    const relation = stamped(backend, "t", 3);
    const own = stamped(backend, "own", 2, true);
    expect(backend.buffers.leakedPins()).toEqual([]);
    const buffer = backend.buffers.pin(relation.id, 1);
    backend.buffers.pin(relation.id, 1);
    const local = backend.buffers.pin(own.id, 1);
    const page = backend.buffers.readSync(relation, 2);
    const leaks = [
      { buffer: local, relation: "own", block: 1, pins: 1, locked: false },
      { buffer, relation: "t", block: 1, pins: 2, locked: false },
      { buffer: page.buffer, relation: "t", block: 2, pins: 1, locked: true },
    ];
    expect(backend.buffers.leakedPins().sort((x, y) => x.buffer - y.buffer)).toEqual(leaks);
    expect(backend.buffers.releaseLeakedPins()).toHaveLength(3);
    expect(backend.buffers.leakedPins()).toEqual([]);
    expect(backend.buffers.pinnedBuffers()).toBe(0);
    expect(pool.warnings).toEqual([]);
    backend.dropRelationSync("t");
    backend.dropRelationSync("own");
  });

  it("with a change under way are undone when they are given back", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 1);
    const own = stamped(a, "own", 1, true);
    const changed = [relation, own].map(({ id }) => {
      const buffer = a.buffers.pin(id, 0);
      a.buffers.lockExclusive(buffer);
      a.buffers.beginChange(buffer);
      a.buffers.bytes(buffer).fill(0xee);
      if (buffer >= 0) a.buffers.releaseLeakedPins();
      return buffer;
    });
    a.buffers.releaseLeakedPins();
    expect(a.buffers.leakedPins()).toEqual([]);
    expect(changed.every((buffer) => codeOf(() => a.buffers.unpin(buffer)) === "55000")).toBe(true);
    expect([stampOf(b, relation, 0), stampOf(a, own, 0)]).toEqual([1, 1]);
  });

  it("are warned of when a backend detaches, which gives them back", async () => {
    const pool = await openPool({ checked, files });
    const [a, b] = [pool.attach(), pool.attach()];
    const relation = stamped(a, "t", 2);
    const own = stamped(a, "own", 1, true);
    const buffer = a.buffers.pin(relation.id, 1);
    a.buffers.pin(relation.id, 1);
    a.buffers.lockExclusive(buffer);
    a.buffers.pin(own.id, 0);
    a.detach();
    expect(pool.warnings.sort()).toEqual([
      "buffer refcount leak: [-1] (rel=own, blockNum=0, refcount=1)",
      `buffer refcount leak: [${buffer}] (rel=t, blockNum=1, refcount=2, content lock held)`,
    ]);
    a.detach();
    expect(pool.warnings).toHaveLength(2);
    expect(stampOf(b, relation, 1)).toBe(2);
    expect(codeOf(() => a.buffers.pin(relation.id, 1))).not.toBe("nothing");
    expect(pool.shared.views.pgBuffercacheSummary().buffers_pinned).toBe(0);
  });
});
