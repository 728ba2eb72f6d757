// Operations that read with others' help, or ahead of their turn: I/O workers, and those whose
// reads go through the queue and who wait no longer, or leave; read streams and prewarming. All of
// it by the routines of bindings/shared (parts.ts).

import { serving } from "../../bindings/shared/io-workers.ts";
import type { ReadStreamOptions } from "../../bindings/shared/read-stream.ts";
import type { Relation } from "../../bindings/shared/relation.ts";
import { FILE } from "./medium.ts";
import { type Act, check, inTurn, look, note, run, unpin, untilDone } from "./operations.ts";
import { drive, driveUntilAsleep, GIVEN_UP, MEDIUM_ERROR } from "./parts.ts";
import type { Script } from "./steps.ts";

const FORK_BITS = 2;

// ── The queue ────────────────────────────────────────────────────────────────────────────────────

/** An I/O worker. */
export const worker: Script = inTurn((backend) =>
  drive(backend, serving(backend.parts.attachment)),
);

/** An I/O worker whose reads fail: its requesters read for themselves. */
export const failingWorker: Script = inTurn((backend) =>
  drive(backend, serving(backend.parts.attachment), { fails: true }),
);

/** A read that is given up where it would wait for others. */
export function givingUp(block: number): Act {
  return function* givenUp(backend) {
    const { pool } = backend.parts;
    let buffer: number;
    try {
      buffer = yield* run(backend, () => pool.pinned(FILE, block, {}), { givesUp: true });
    } catch (error) {
      if (error !== GIVEN_UP) throw error;
      return;
    }
    yield* note({ kind: "pinned", buffer, file: FILE, block });
    yield* unpin(backend, buffer, FILE, block);
  };
}

/**
 * A read after one that was given up, in a form that waits for what its own backend has under way:
 * until the worker has taken the frame over it has the backend's number.
 */
export function readingAfter(block: number): Act {
  return function* read(backend) {
    const { pool } = backend.parts;
    const buffer = yield* run(backend, () => pool.pinned(FILE, block, {}), { patient: true });
    yield* note({ kind: "pinned", buffer, file: FILE, block });
    yield* unpin(backend, buffer, FILE, block);
  };
}

/** Backend.detach while a read of its own is under way: it is left where it waits. */
export function detaching(block: number): Act {
  return function* detached(backend) {
    const { pool } = backend.parts;
    const buffer = yield* driveUntilAsleep(backend, pool.pinned(FILE, block, {}));
    if (buffer !== undefined) yield* note({ kind: "pinned", buffer, file: FILE, block });
    yield* note({ kind: "left" });
    check(yield* untilDone(backend, backend.x.leave));
  };
}

// ── Streams ──────────────────────────────────────────────────────────────────────────────────────

/** Blocks by a read stream, each looked at in its turn. */
export function streaming(first: number, end: number, options: ReadStreamOptions = {}): Act {
  return function* streamed(backend) {
    const stream = backend.parts.stream(FILE, { first, end }, options);
    for (;;) {
      const buffer = yield* run(backend, () => stream.nextRoutine());
      if (buffer === undefined) break;
      const { block } = stream;
      yield* note({ kind: "pinned", buffer, file: FILE, block });
      yield* look(backend, buffer, FILE, block);
    }
    stream[Symbol.dispose]();
  };
}

/** A stream whose first page storage refuses, also by itself; it goes on behind it. */
export function streamingPast(first: number, end: number): Act {
  return function* streamed(backend) {
    const stream = backend.parts.stream(FILE, { first, end }, { full: true });
    let fails = true;
    for (;;) {
      try {
        const buffer = yield* run(backend, () => stream.nextRoutine(), { fails });
        if (buffer === undefined) break;
        const { block } = stream;
        yield* note({ kind: "pinned", buffer, file: FILE, block });
        yield* look(backend, buffer, FILE, block);
      } catch (error) {
        if (error !== MEDIUM_ERROR) throw error;
        fails = false;
      }
    }
    stream[Symbol.dispose]();
  };
}

/** A stream that is disposed after its first page, with others pinned ahead. */
export function disposing(first: number, end: number): Act {
  return function* disposed(backend) {
    const stream = backend.parts.stream(FILE, { first, end }, { full: true });
    const buffer = yield* run(backend, () => stream.nextRoutine());
    stream[Symbol.dispose]();
    if (buffer !== undefined) yield* unpin(backend, buffer, FILE, first);
  };
}

/** Backend.prewarm, into buffers or past them. */
export function prewarming(mode: "buffer" | "read", first: number, end: number): Act {
  return function* prewarmed(backend) {
    const number = FILE >>> FORK_BITS;
    const relation = { id: FILE, number, blocksSync: () => end } as unknown as Relation;
    const options = { mode, first, last: end - 1 };
    yield* run(backend, () => backend.parts.prewarm.run(relation, options));
  };
}
