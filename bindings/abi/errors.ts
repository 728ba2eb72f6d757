/**
 * The errors palloc throws. Each carries PostgreSQL's SQLSTATE in `code`, as users of `pg` know it,
 * PostgreSQL's wording where it has one, and the numbers of the case as fields.
 *
 * Wrong arguments are a `TypeError` or `RangeError`, thrown before wasm is entered.
 */

/** Optional parts of an error, named after the fields of a PostgreSQL error report. */
export interface ErrorParts {
  /** What exactly happened, with the values. */
  readonly detail?: string;
  /** What the reader can do about it. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** As {@link ErrorParts}, with what a checked memory knows about the chunk in question. */
export interface ChunkParts extends ErrorParts {
  /** Address of the chunk. */
  readonly pointer?: number;
  /** Name of its context. */
  readonly context?: string;
  /** Call stack of its allocation, if that was sampled. */
  readonly allocationSite?: string;
}

/** Base class of everything palloc throws on purpose. */
export class PallocError extends Error {
  /** SQLSTATE: five characters, stable across releases. */
  readonly code: string;
  readonly detail: string | undefined;
  readonly hint: string | undefined;

  constructor(code: string, message: string, parts: ErrorParts = {}) {
    super(message, parts.cause === undefined ? undefined : { cause: parts.cause });
    this.name = new.target.name;
    this.code = code;
    this.detail = parts.detail;
    this.hint = parts.hint;
  }
}

/**
 * Whether something thrown has this SQLSTATE. A storage manager may have been made by another copy
 * of this library, whose errors are of classes of its own.
 *
 * @internal
 */
export function hasCode(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && Reflect.get(thrown, "code") === code;
}

/** Optional parts of an {@link OutOfMemoryError}. */
export interface OutOfMemoryParts extends ErrorParts {
  /** Default: `out of memory`. */
  readonly message?: string;
  /** See {@link OutOfMemoryError.statistics}. */
  readonly statistics?: string | undefined;
}

/** 53200: no memory for a request. The context and every other one stay usable. */
export class OutOfMemoryError extends PallocError {
  /** Bytes asked for. */
  readonly requestedBytes: number;
  /** Name of the context that was asked, or of the structure that found no room. */
  readonly context: string | undefined;
  /**
   * Where the memory is: the text of MemoryContextStats for the whole tree at that moment, which
   * PostgreSQL writes to its log. Undefined where no context was asked.
   */
  readonly statistics: string | undefined;

  constructor(requestedBytes: number, context: string | undefined, parts: OutOfMemoryParts = {}) {
    const detail =
      parts.detail ??
      (context === undefined
        ? undefined
        : `Failed on request of size ${requestedBytes} in memory context "${context}".`);
    super("53200", parts.message ?? "out of memory", {
      ...parts,
      ...(detail === undefined ? {} : { detail }),
    });
    this.requestedBytes = requestedBytes;
    this.context = context;
    this.statistics = parts.statistics;
  }
}

/** XX000: a request that no amount of memory could serve. */
export class InvalidSizeError extends PallocError {
  readonly requestedBytes: number;
  readonly limitBytes: number;

  constructor(
    requestedBytes: number,
    limitBytes: number,
    message: string = `invalid memory alloc request size ${requestedBytes}`,
  ) {
    super("XX000", message, { detail: `The largest request allowed here is ${limitBytes} bytes.` });
    this.requestedBytes = requestedBytes;
    this.limitBytes = limitBytes;
  }
}

/** XX000: a pointer that is no chunk of this memory. Nothing was changed. */
export class InvalidPointerError extends PallocError {
  readonly pointer: number;
  /** Checked mode: name of the context that had the chunk, and the call stack of its allocation. */
  readonly context: string | undefined;
  readonly allocationSite: string | undefined;

  constructor(pointer: number, message: string, parts: ChunkParts = {}) {
    super("XX000", message, parts);
    this.pointer = pointer;
    this.context = parts.context;
    this.allocationSite = parts.allocationSite;
  }
}

/** 55000: the context, memory, pin, backend or region behind this object has been given back. */
export class ClosedError extends PallocError {
  constructor(what: string) {
    super("55000", `${what} is closed`);
  }
}

/** 22023: a parameter whose value is malformed or out of range. */
export class InvalidParameterError extends PallocError {
  readonly parameter: string;

  constructor(parameter: string, message: string, parts: ErrorParts = {}) {
    super("22023", message, parts);
    this.parameter = parameter;
  }
}

/** 42704: a parameter that does not exist. */
export class UndefinedParameterError extends PallocError {
  readonly parameter: string;

  constructor(parameter: string, parts: ErrorParts = {}) {
    super("42704", `unrecognized configuration parameter "${parameter}"`, parts);
    this.parameter = parameter;
  }
}

/** 53400: work that does not fit into a configured limit such as `work_mem`. */
export class LimitExceededError extends PallocError {
  readonly limitBytes: number;
  readonly usedBytes: number;
  readonly context: string;

  constructor(
    message: string,
    numbers: { limitBytes: number; usedBytes: number; context: string },
    parts: ErrorParts = {},
  ) {
    super("53400", message, parts);
    this.limitBytes = numbers.limitBytes;
    this.usedBytes = numbers.usedBytes;
    this.context = numbers.context;
  }
}

/** 53300: every backend slot is taken. */
export class TooManyConnectionsError extends PallocError {
  constructor(maxConnections: number) {
    super("53300", "sorry, too many clients already", {
      detail: `All ${maxConnections} backend slots (max_connections) are in use.`,
      hint: "Detach a backend, or create the shared memory with a higher max_connections.",
    });
  }
}

/** 57P01 or 57P02: the region was shut down, or restarts after a crash. */
export class RegionGoneError extends PallocError {
  constructor(code: "57P01" | "57P02") {
    super(
      code,
      code === "57P01"
        ? "terminating connection due to administrator command"
        : "terminating connection because of crash of another server process",
    );
  }
}

/** 57P01: somebody ended this backend. It has detached, or will as soon as its calls unwind. */
export class BackendTerminatedError extends PallocError {
  constructor() {
    super("57P01", "terminating connection due to administrator command");
  }
}

/** 42P01 or 42P07: a relation that does not exist, or one that exists already. */
export class RelationError extends PallocError {}

/** 53200 or 55P03: no buffer can be taken, or a lock was not granted in time. */
export class BufferError extends PallocError {}

/**
 * 55P03: a heavyweight lock that was not granted in time, or that may not be waited for; 53200: no
 * room in the lock table; 54000: a lock taken too often.
 */
export class LockError extends PallocError {}

/** One who waits in a deadlock, and for whom. */
export interface BlockedProcess {
  /** Thread of the backend, as in pg_locks. */
  readonly pid: number;
  readonly slot: number;
  /** The mode it waits for. */
  readonly mode: string;
  /** What the lock is on, in words. */
  readonly lock: string;
  readonly blockedBy: number;
  readonly blockedBySlot: number;
}

/** 40P01: to wait for this lock any longer would be to wait for ever. */
export class DeadlockError extends LockError {
  /** The cycle, from this backend on. */
  readonly processes: readonly BlockedProcess[];

  constructor(processes: readonly BlockedProcess[]) {
    const lines = processes.map(
      ({ pid, mode, lock, blockedBy }) =>
        `Process ${pid} waits for ${mode} on ${lock}; blocked by process ${blockedBy}.`,
    );
    super("40P01", "deadlock detected", {
      detail: lines.join("\n"),
      hint: "See server log for query details.",
    });
    this.processes = processes;
  }
}

/** XX001: a page or a file that does not hold what was written there. */
export class DataCorruptedError extends PallocError {
  readonly relation: string;
  readonly block: number | undefined;

  constructor(
    message: string,
    where: { relation: string; block?: number },
    parts: ErrorParts = {},
  ) {
    super("XX001", message, parts);
    this.relation = where.relation;
    this.block = where.block;
  }
}

/** XX000: an invariant of palloc itself is broken. Never caught inside the library. */
export class CorruptionError extends PallocError {
  /** The PANIC_ constant of assembly/common/constants.ts. */
  readonly panic: number;
  /** Checked mode: the damaged chunk, name of its context, call stack of its allocation. */
  readonly pointer: number | undefined;
  readonly context: string | undefined;
  readonly allocationSite: string | undefined;

  constructor(panic: number, parts: ChunkParts = {}) {
    super("XX000", `memory is corrupted (panic ${panic})`, {
      hint: "A write past the end of a chunk or into freed memory is the usual cause; run with { checked: true }.",
      ...parts,
    });
    this.panic = panic;
    this.pointer = parts.pointer;
    this.context = parts.context;
    this.allocationSite = parts.allocationSite;
  }
}
