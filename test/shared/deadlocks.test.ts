// Deadlocks as a user meets them, on two and more backends of one thread: the error and its parts,
// who goes on, what a rearranged queue looks like from outside, and the warnings of log_lock_waits.
// The times are bounds only: nothing here waits for a clock but deadlock_timeout itself.

import { afterEach, describe, expect, it } from "vitest";
import {
  Backend,
  DeadlockError,
  LockError,
  type LockMode,
  type LockTag,
  SharedMemory,
} from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { builds } from "../support/region.ts";

const LIMIT_MS = 30_000;
type ObjectTag = Extract<LockTag, { type: "object" }>;
const object = (objid: number): ObjectTag => ({ type: "object", classid: 1, objid });
const relation = (number: number): LockTag => ({ type: "relation", relation: number });
const [A, B] = [object(1), object(2)];

const open: { shared: SharedMemory; backends: Backend[] }[] = [];

afterEach(async () => {
  for (const { shared, backends } of open.splice(0)) {
    for (const backend of backends) backend.detach();
    await shared.close();
  }
});

/** A region and some backends of this thread. */
async function some(
  count: number,
  checked: boolean,
  settings: Record<string, string | boolean> = {},
): Promise<{ backends: Backend[]; warnings: string[]; shared: SharedMemory }> {
  const shared = await SharedMemory.create({
    storage: memoryStorage(),
    settings: { shared_buffers: "128kB", deadlock_timeout: "30ms", ...settings },
    checked,
  });
  const warnings: string[] = [];
  const onWarning = (message: string): void => void warnings.push(message);
  const backends: Backend[] = [];
  for (let index = 0; index < count; index += 1) {
    backends.push(await Backend.attach(shared.handle, { onWarning }));
  }
  open.push({ shared, backends });
  return { backends, warnings, shared };
}

/** A lock that is waited for; settles with the error that ends the wait, or undefined. */
function ended(wait: Promise<unknown>): Promise<unknown> {
  return wait.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe.each(builds)("%s build", (_, checked) => {
  it(
    "the one that looks gets 40P01 with the cycle in DETAIL, and the other its lock",
    async () => {
      const { backends, shared } = await some(2, checked);
      const [one, two] = backends as [Backend, Backend];
      await one.locks.acquire(relation(5), "AccessExclusiveLock");
      await two.locks.acquire(B, "ShareLock");
      const waits = [
        ended(one.locks.acquire(B, "ExclusiveLock")),
        ended(two.locks.acquire(relation(5), "RowShareLock")),
      ];
      const first = await Promise.race(waits);
      const error = first as DeadlockError;
      expect(error).toBeInstanceOf(DeadlockError);
      expect(error).toBeInstanceOf(LockError);
      expect(error.code).toBe("40P01");
      expect(error.message).toBe("deadlock detected");
      expect(error.hint).toBe("See server log for query details.");
      const { pid } = error.processes[0] ?? { pid: 0 };
      const blocked = `blocked by process ${pid}.`;
      const lines = [
        `Process ${pid} waits for ExclusiveLock on object 2 of class 1 of database 1; ${blocked}`,
        `Process ${pid} waits for RowShareLock on relation 5 of database 1; ${blocked}`,
      ];
      expect(error.detail?.split("\n").sort()).toEqual(lines);
      const slots = error.processes.map(({ slot, blockedBySlot }) => [slot, blockedBySlot]);
      const victim = error.processes[0]?.slot === one.slot ? one : two;
      const other = victim === one ? two : one;
      expect(slots).toEqual([
        [victim.slot, other.slot],
        [other.slot, victim.slot],
      ]);
      victim.locks.releaseAll();
      expect((await Promise.all(waits)).filter((end) => end === undefined)).toHaveLength(1);
      expect(shared.views.pgStatDatabase().deadlocks).toBe(1);
    },
    LIMIT_MS,
  );

  it("a holder that wants more than a waiter leaves it is told at once", async () => {
    const { backends } = await some(2, checked, { deadlock_timeout: "1h" });
    const [one, two] = backends as [Backend, Backend];
    await one.locks.acquire(A, "AccessShareLock");
    await two.locks.acquire(A, "AccessShareLock");
    const wait = ended(one.locks.acquire(A, "AccessExclusiveLock"));
    const error = await ended(two.locks.acquire(A, "AccessExclusiveLock"));
    expect((error as DeadlockError).processes).toHaveLength(2);
    two.locks.releaseAll();
    expect(await wait).toBeUndefined();
  });

  it(
    "readers behind writers that wait for them go first, and nobody gets an error",
    async () => {
      const { backends, warnings } = await some(4, checked, { log_lock_waits: true });
      const [one, two, three, four] = backends as [Backend, Backend, Backend, Backend];
      await one.locks.acquire(A, "AccessShareLock");
      await two.locks.acquire(B, "AccessShareLock");
      const inTurn = async (backend: Backend, tag: LockTag, mode: LockMode): Promise<unknown> => {
        const end = await ended(backend.locks.acquire(tag, mode));
        backend.locks.releaseAll();
        return end;
      };
      const all = [
        inTurn(three, A, "AccessExclusiveLock"),
        inTurn(four, B, "AccessExclusiveLock"),
        inTurn(one, B, "AccessShareLock"),
        inTurn(two, A, "AccessShareLock"),
      ];
      for (const end of await Promise.all(all)) expect(end).toBeUndefined();
      const avoided = `process \\d+ avoided deadlock for \\w+ on object \\d of class 1 of database 1`;
      const how = "by rearranging queue order after \\d+\\.\\d{3} ms";
      const who = "Process(es)? holding the lock: [\\d, ]+\\. Wait queue: [\\d, ]*\\.";
      const line = new RegExp(`${avoided} ${how}\\nDETAIL: {2}${who}`);
      expect(warnings.join("\n")).toMatch(line);
    },
    LIMIT_MS,
  );

  it("a wait without a deadlock goes on, and log_lock_waits tells of it twice", async () => {
    const { backends, warnings } = await some(2, checked, { log_lock_waits: true });
    const [one, two] = backends as [Backend, Backend];
    const held = await one.locks.acquire(A, "ExclusiveLock");
    const wait = two.locks.acquire(A, "ShareLock");
    while (warnings.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    held.release();
    await wait;
    const waiting = "still waiting for ShareLock on object 1 of class 1 of database 1 after";
    const who = "Process holding the lock: \\1\\. Wait queue: \\1\\.";
    const line = new RegExp(`^process (\\d+) ${waiting} [\\d.]+ ms\\nDETAIL: {2}${who}$`);
    expect(warnings[0]).toMatch(line);
    expect(warnings[1]).toMatch(/^process \d+ acquired ShareLock on object 1 .* after [\d.]+ ms$/);
    expect(warnings).toHaveLength(2);
  });

  it("a lock_timeout that is shorter ends the wait before anybody looks", async () => {
    const settings = { deadlock_timeout: "1h", lock_timeout: "20ms" };
    const { backends } = await some(2, checked, settings);
    const [one, two] = backends as [Backend, Backend];
    await one.locks.acquire(A, "ExclusiveLock");
    await two.locks.acquire(B, "ExclusiveLock");
    const waits = [
      ended(one.locks.acquire(B, "ExclusiveLock")),
      ended(two.locks.acquire(A, "ExclusiveLock")),
    ];
    for (const end of await Promise.all(waits)) {
      expect(end).toMatchObject({ code: "55P03" });
      expect(end).not.toBeInstanceOf(DeadlockError);
    }
  });
});
