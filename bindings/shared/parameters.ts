/**
 * The table of parameters: names, types, units, ranges and defaults are PostgreSQL's, but where a
 * comment says why not. Only what does something here is in it; flush_after parameters are not,
 * because no runtime of JavaScript can ask the system to begin writing early.
 *
 * Ranges are those of a PostgreSQL with 32-bit sizes, which is what a WebAssembly memory has; a
 * region that no memory could hold is refused where it is made, not here.
 *
 * PostgreSQL: src/backend/utils/misc/guc_tables.c
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import type { Settings } from "./settings.ts";

/** The name of a parameter. */
export type ParameterName = keyof Settings;

/**
 * Who may change a parameter, and when. `internal`: nobody; it tells what is so. `postmaster`:
 * nobody, once the region is made. `sighup`: the owner of the region, for all. `superuser`: a
 * session that may take risks with data. `user`: any session, for itself.
 */
export type ParameterContext = "internal" | "postmaster" | "sighup" | "superuser" | "user";

/** What a bare number counts. */
export type ParameterUnit = "8kB" | "kB" | "ms" | "s";

interface ParameterBase {
  readonly name: ParameterName;
  readonly context: ParameterContext;
  /** One sentence, for `pg_settings` and for help texts. */
  readonly description: string;
}

/** A whole number, with or without a unit. */
export interface IntegerParameter extends ParameterBase {
  readonly vartype: "integer";
  readonly unit: ParameterUnit | null;
  readonly bootValue: number;
  readonly min: number;
  /** The smallest value but 0, where 0 has a meaning of its own. */
  readonly minUnlessZero?: number;
  readonly max: number;
}

/** A number with a fraction. */
export interface RealParameter extends ParameterBase {
  readonly vartype: "real";
  readonly unit: null;
  readonly bootValue: number;
  readonly min: number;
  readonly max: number;
}

/** On or off. */
export interface BoolParameter extends ParameterBase {
  readonly vartype: "bool";
  readonly unit: null;
  readonly bootValue: boolean;
}

/** One of several words. */
export interface EnumParameter extends ParameterBase {
  readonly vartype: "enum";
  readonly unit: null;
  readonly bootValue: string;
  /** In lower case. */
  readonly values: readonly string[];
  /** Words that are taken but not offered, and what each is kept as. */
  readonly hidden?: Readonly<Record<string, string>>;
}

/** Any text. */
export interface StringParameter extends ParameterBase {
  readonly vartype: "string";
  readonly unit: null;
  readonly bootValue: string;
  /**
   * As a name that others read: its first 63 bytes, and those of them that are not printable ASCII
   * written as `\xNN`.
   */
  readonly asciiName?: boolean;
}

/** One row of the table of parameters. */
export type Parameter =
  | IntegerParameter
  | RealParameter
  | BoolParameter
  | EnumParameter
  | StringParameter;

/** Half of a 32-bit INT_MAX: what PostgreSQL allows for numbers of buffers. */
const HALF_INT_MAX = 1073741823;
const INT_MAX = 2147483647;

/** All parameters, by name. */
export const parameters: readonly Parameter[] = [
  {
    name: "application_name",
    vartype: "string",
    unit: null,
    context: "user",
    description: "What a session calls itself where sessions are listed.",
    bootValue: "",
    asciiName: true,
  },
  {
    name: "bgwriter_delay",
    vartype: "integer",
    unit: "ms",
    context: "sighup",
    description: "How long the background writer sleeps between its rounds.",
    bootValue: 200,
    min: 10,
    max: 10000,
  },
  {
    name: "bgwriter_lru_maxpages",
    vartype: "integer",
    unit: null,
    context: "sighup",
    description: "How many pages one round of the background writer may write; 0 turns it off.",
    bootValue: 100,
    min: 0,
    max: HALF_INT_MAX,
  },
  {
    name: "bgwriter_lru_multiplier",
    vartype: "real",
    unit: null,
    context: "sighup",
    description: "How many times the recent demand for buffers the background writer frees ahead.",
    bootValue: 2,
    min: 0,
    max: 10,
  },
  {
    name: "block_size",
    vartype: "integer",
    unit: null,
    context: "internal",
    description: "Bytes of a page.",
    bootValue: BLOCK_BYTES,
    min: BLOCK_BYTES,
    max: BLOCK_BYTES,
  },
  // Ours, both: PostgreSQL's catalog caches are private and have no limit.
  {
    name: "catalog_cache_private_size",
    vartype: "integer",
    unit: "kB",
    context: "user",
    description: "Memory that a backend uses for catalog entries of its own.",
    bootValue: 1024,
    min: 0,
    max: 1_048_576,
  },
  {
    name: "catalog_cache_size",
    vartype: "integer",
    unit: "kB",
    context: "postmaster",
    description: "Memory for the entries of the catalog cache that all backends share.",
    bootValue: 1024,
    min: 64,
    max: 1_048_576,
  },
  {
    name: "checkpoint_completion_target",
    vartype: "real",
    unit: null,
    context: "sighup",
    description: "Part of the time between checkpoints over which the writing is spread.",
    bootValue: 0.9,
    min: 0,
    max: 1,
  },
  {
    name: "checkpoint_timeout",
    vartype: "integer",
    unit: "s",
    context: "sighup",
    description: "How long after a checkpoint the next one begins by itself.",
    bootValue: 300,
    min: 30,
    max: 86400,
  },
  {
    name: "client_min_messages",
    vartype: "enum",
    unit: null,
    context: "user",
    description: "The least of the messages that a session passes on.",
    bootValue: "notice",
    values: [
      ...["debug5", "debug4", "debug3", "debug2", "debug1"],
      ...["log", "notice", "warning", "error"],
    ],
    hidden: { debug: "debug2", info: "info" },
  },
  {
    name: "data_checksums",
    vartype: "bool",
    unit: null,
    context: "postmaster",
    description: "Whether pages carry a checksum that is verified when they are read.",
    bootValue: true,
  },
  {
    name: "deadlock_timeout",
    vartype: "integer",
    unit: "ms",
    context: "superuser",
    description: "How long a lock is waited for before a deadlock is looked for.",
    bootValue: 1000,
    min: 1,
    max: INT_MAX,
  },
  {
    name: "effective_io_concurrency",
    vartype: "integer",
    unit: null,
    context: "user",
    description: "How many reads a scan may have under way at one time.",
    bootValue: 16,
    min: 0,
    max: 1000,
  },
  {
    name: "full_page_writes",
    vartype: "bool",
    unit: null,
    context: "sighup",
    description:
      "Whether the old image of a page is kept before the page is first overwritten after a checkpoint.",
    bootValue: true,
  },
  {
    name: "hash_mem_multiplier",
    vartype: "real",
    unit: null,
    context: "user",
    description: "How many times work_mem a hash table may use.",
    bootValue: 2,
    min: 1,
    max: 1000,
  },
  {
    name: "idle_in_transaction_session_timeout",
    vartype: "integer",
    unit: "ms",
    context: "user",
    description: "How long a session in a transaction may be without a query; 0 does not limit it.",
    bootValue: 0,
    min: 0,
    max: INT_MAX,
  },
  {
    name: "idle_session_timeout",
    vartype: "integer",
    unit: "ms",
    context: "user",
    description:
      "How long a session outside a transaction may be without a query; 0 does not limit it.",
    bootValue: 0,
    min: 0,
    max: INT_MAX,
  },
  {
    name: "ignore_checksum_failure",
    vartype: "bool",
    unit: null,
    context: "superuser",
    description: "Whether a page whose checksum is wrong is read all the same.",
    bootValue: false,
  },
  {
    name: "io_combine_limit",
    vartype: "integer",
    unit: "8kB",
    context: "user",
    description: "How many neighbouring pages one read or write may take together.",
    bootValue: 16,
    min: 1,
    max: 128,
  },
  {
    name: "io_max_combine_limit",
    vartype: "integer",
    unit: "8kB",
    context: "postmaster",
    description: "The most that io_combine_limit can be in this region.",
    bootValue: 16,
    min: 1,
    max: 128,
  },
  {
    name: "io_method",
    vartype: "enum",
    unit: null,
    context: "postmaster",
    description: "Who reads and writes: the backend itself, or I/O workers.",
    // PostgreSQL starts with worker. Here a worker is a thread with an engine of its own, some
    // 10 MB and 50 ms, so it is started where somebody asks for it.
    bootValue: "sync",
    values: ["sync", "worker"],
  },
  {
    name: "io_workers",
    vartype: "integer",
    unit: null,
    context: "sighup",
    description: "How many I/O workers there are with io_method worker.",
    bootValue: 3,
    min: 1,
    max: 32,
  },
  {
    name: "lock_timeout",
    vartype: "integer",
    unit: "ms",
    context: "user",
    description: "How long one wait for a lock may last; 0 does not limit it.",
    bootValue: 0,
    min: 0,
    max: INT_MAX,
  },
  {
    name: "log_lock_waits",
    vartype: "bool",
    unit: null,
    context: "superuser",
    description: "Whether a wait for a lock that is longer than deadlock_timeout is told.",
    bootValue: false,
  },
  {
    name: "maintenance_io_concurrency",
    vartype: "integer",
    unit: null,
    context: "user",
    description: "As effective_io_concurrency, for maintenance such as prewarming.",
    bootValue: 16,
    min: 0,
    max: 1000,
  },
  {
    name: "maintenance_work_mem",
    vartype: "integer",
    unit: "kB",
    context: "user",
    description: "Memory one maintenance operation may use.",
    bootValue: 65536, // 64 MB
    min: 64,
    max: 2097151, // 2 GB less 1 kB
  },
  {
    name: "max_connections",
    vartype: "integer",
    unit: null,
    context: "postmaster",
    description: "How many backends may be attached at one time.",
    // PostgreSQL starts with 100. Each costs a column in every table of holds, and threads are few.
    bootValue: 16,
    min: 1,
    max: 987, // MAX_BACKENDS without the owner, two writers and 32 I/O workers
  },
  {
    name: "max_locks_per_transaction",
    vartype: "integer",
    unit: null,
    context: "postmaster",
    description: "How many locks a backend may hold on average; one may hold more.",
    bootValue: 64,
    min: 10,
    max: INT_MAX,
  },
  {
    name: "restart_after_crash",
    vartype: "bool",
    unit: null,
    context: "sighup",
    description: "Whether shared memory begins anew, at its last checkpoint, after it had to end.",
    bootValue: true,
  },
  {
    name: "shared_buffers",
    vartype: "integer",
    unit: "8kB",
    context: "postmaster",
    description: "How many pages the region keeps in memory for all backends.",
    bootValue: 16384, // 128 MB
    min: 16, // 128 kB
    max: HALF_INT_MAX,
  },
  {
    name: "statement_timeout",
    vartype: "integer",
    unit: "ms",
    context: "user",
    description: "How long a query may take; 0 does not limit it.",
    bootValue: 0,
    min: 0,
    max: INT_MAX,
  },
  {
    name: "temp_buffers",
    vartype: "integer",
    unit: "8kB",
    context: "user",
    description: "How many pages a backend keeps in memory for its temporary relations.",
    bootValue: 1024,
    min: 100,
    max: HALF_INT_MAX,
  },
  {
    name: "track_io_timing",
    vartype: "bool",
    unit: null,
    context: "superuser",
    description: "Whether the time that reads and writes take is measured.",
    bootValue: false,
  },
  {
    name: "transaction_timeout",
    vartype: "integer",
    unit: "ms",
    context: "user",
    description: "How long a transaction may take; 0 does not limit it.",
    bootValue: 0,
    min: 0,
    max: INT_MAX,
  },
  {
    name: "vacuum_buffer_usage_limit",
    vartype: "integer",
    unit: "kB",
    context: "user",
    description: "How much of the page cache maintenance may use; 0 does not limit it.",
    bootValue: 2048,
    min: 0,
    minUnlessZero: 128,
    max: 16777216,
  },
  {
    name: "work_mem",
    vartype: "integer",
    unit: "kB",
    context: "user",
    description: "Memory one sort or hash table may use before it has to spill.",
    bootValue: 4096, // 4 MB
    min: 64,
    max: 2097151, // 2 GB less 1 kB
  },
  {
    name: "zero_damaged_pages",
    vartype: "bool",
    unit: null,
    context: "superuser",
    description: "Whether a damaged page is read as zeroes instead of an error.",
    bootValue: false,
  },
];
