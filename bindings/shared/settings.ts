/**
 * Settings: which value each parameter has. A new parameter is a row of the table in parameters.ts
 * and a field of {@link Settings} and {@link SettingValues}.
 *
 * PostgreSQL: src/backend/utils/misc/guc.c, the values behind it
 */

import { WRITER_SLOTS } from "../../assembly/common/constants.ts";
import { UndefinedParameterError } from "../abi/errors.ts";
import { type ParameterValue, parseValue, showValue } from "./parameter-texts.ts";
import { type Parameter, type ParameterName, parameters } from "./parameters.ts";

/** What a user sets; whatever is absent has its default. Numbers count in the parameter's unit. */
export interface Settings {
  /** Size of the page cache. Default `"128MB"`; a bare number is blocks of 8 kB. */
  readonly shared_buffers?: string | number;
  /** Memory for one sort or hash table. Default `"4MB"`; a bare number is kB. */
  readonly work_mem?: string | number;
  /** What a hash table may use, in multiples of work_mem. Default 2. */
  readonly hash_mem_multiplier?: string | number;
  /** Backends at one time. Default 16, where PostgreSQL has 100; at most 987. */
  readonly max_connections?: string | number;
  /** Locks of a backend on average. Default 64; 10 and more. */
  readonly max_locks_per_transaction?: string | number;
  /** How long a lock is waited for before deadlocks are looked for. Default `"1s"`. */
  readonly deadlock_timeout?: string | number;
  /** How long a lock is waited for at all; a bare number is ms. Default 0, for ever. */
  readonly lock_timeout?: string | number;
  /**
   * Shared entries of the catalog cache. Default `"1MB"`; a bare number is kB; 64 kB and more.
   * Ours: PostgreSQL's caches are private and have no limit.
   */
  readonly catalog_cache_size?: string | number;
  /** What a backend keeps of them for itself. Default `"1MB"`; a bare number is kB. Ours. */
  readonly catalog_cache_private_size?: string | number;
  /** Whether pages carry a checksum. Default on. */
  readonly data_checksums?: string | number | boolean;
  /** Sleep of the background writer between rounds. Default `"200ms"`; a bare number is ms. */
  readonly bgwriter_delay?: string | number;
  /** Pages one round of the background writer may write. Default 100; 0 turns it off. */
  readonly bgwriter_lru_maxpages?: string | number;
  /** Buffers it frees ahead, in multiples of the recent demand. Default 2. */
  readonly bgwriter_lru_multiplier?: string | number;
  /** Time from a checkpoint to the next. Default `"5min"`; a bare number is seconds. */
  readonly checkpoint_timeout?: string | number;
  /** Part of that time over which writing is spread. Default 0.9. */
  readonly checkpoint_completion_target?: string | number;
  /** Reads a scan may have under way. Default 16. */
  readonly effective_io_concurrency?: string | number;
  /** The same for maintenance. Default 16. */
  readonly maintenance_io_concurrency?: string | number;
  /** Neighbouring pages one read takes together. Default `"128kB"`; a bare number is blocks. */
  readonly io_combine_limit?: string | number;
  /** The most that io_combine_limit can be. Default `"128kB"`; a bare number is blocks. */
  readonly io_max_combine_limit?: string | number;
  /** Who reads: `"sync"`, the backend itself, or `"worker"`, I/O workers. Default sync. */
  readonly io_method?: string;
  /** I/O workers with io_method worker. Default 3. */
  readonly io_workers?: string | number;
  /** Memory of a backend for temporary relations. Default `"8MB"`; a bare number is blocks. */
  readonly temp_buffers?: string | number;
  /** Page cache that maintenance may use. Default `"2MB"`; a bare number is kB; 0 no limit. */
  readonly vacuum_buffer_usage_limit?: string | number;
  /** Whether pages are kept as the last checkpoint left them until the next. Default on. */
  readonly full_page_writes?: string | number | boolean;
  /** Whether a region that had to end begins anew at its last checkpoint. Default on. */
  readonly restart_after_crash?: string | number | boolean;
  /** Whether pages with a wrong checksum are read all the same. Default off. */
  readonly ignore_checksum_failure?: string | number | boolean;
  /** Whether damaged pages are read as zeroes. Default off. */
  readonly zero_damaged_pages?: string | number | boolean;
  /** Whether reads and writes are timed. Default off. */
  readonly track_io_timing?: string | number | boolean;
  /** Memory of one maintenance operation. Default `"64MB"`; a bare number is kB. */
  readonly maintenance_work_mem?: string | number;
  /** Whether long waits for locks are told. Default off. */
  readonly log_lock_waits?: string | number | boolean;
  /** Longest query. Default 0, no limit; a bare number is ms. */
  readonly statement_timeout?: string | number;
  /** Longest transaction. Default 0, no limit; a bare number is ms. */
  readonly transaction_timeout?: string | number;
  /** Longest time in a transaction without a query. Default 0, no limit; a bare number is ms. */
  readonly idle_in_transaction_session_timeout?: string | number;
  /** The same outside a transaction. Default 0, no limit; a bare number is ms. */
  readonly idle_session_timeout?: string | number;
  /** What sessions call themselves. Default the empty text. */
  readonly application_name?: string;
  /** The least of the messages that sessions pass on. Default `"notice"`. */
  readonly client_min_messages?: string;
  /** Bytes of a page: 8192, and nothing else. */
  readonly block_size?: string | number;
}

/** Values in each parameter's unit; can be posted, and given to {@link resolveSettings} again. */
export interface SettingValues {
  /** Blocks of 8 kB. */
  readonly shared_buffers: number;
  /** kB. */
  readonly work_mem: number;
  readonly hash_mem_multiplier: number;
  readonly max_connections: number;
  readonly max_locks_per_transaction: number;
  /** Milliseconds. */
  readonly deadlock_timeout: number;
  /** Milliseconds. */
  readonly lock_timeout: number;
  /** kB. */
  readonly catalog_cache_size: number;
  /** kB. */
  readonly catalog_cache_private_size: number;
  readonly data_checksums: boolean;
  /** Milliseconds. */
  readonly bgwriter_delay: number;
  readonly bgwriter_lru_maxpages: number;
  readonly bgwriter_lru_multiplier: number;
  /** Seconds. */
  readonly checkpoint_timeout: number;
  readonly checkpoint_completion_target: number;
  readonly effective_io_concurrency: number;
  readonly maintenance_io_concurrency: number;
  /** Blocks of 8 kB. */
  readonly io_combine_limit: number;
  /** Blocks of 8 kB. */
  readonly io_max_combine_limit: number;
  readonly io_method: "sync" | "worker";
  readonly io_workers: number;
  /** Blocks of 8 kB. */
  readonly temp_buffers: number;
  /** kB. */
  readonly vacuum_buffer_usage_limit: number;
  readonly full_page_writes: boolean;
  readonly restart_after_crash: boolean;
  readonly ignore_checksum_failure: boolean;
  readonly zero_damaged_pages: boolean;
  readonly track_io_timing: boolean;
  /** kB. */
  readonly maintenance_work_mem: number;
  readonly log_lock_waits: boolean;
  /** Milliseconds, as the other timeouts. */
  readonly statement_timeout: number;
  readonly transaction_timeout: number;
  readonly idle_in_transaction_session_timeout: number;
  readonly idle_session_timeout: number;
  readonly application_name: string;
  readonly client_min_messages: MessageLevel;
  readonly block_size: number;
}

/** A value of client_min_messages. */
export type MessageLevel =
  | `debug${1 | 2 | 3 | 4 | 5}`
  | "log"
  | "info"
  | "notice"
  | "warning"
  | "error";

/**
 * Settings of a region or a backend: every parameter with its value. Those of a region never
 * change; those of a backend are what its session has set, and whoever asks gets what holds now.
 */
export class ResolvedSettings {
  /** Each parameter in its own unit. One object for the whole life of the settings. */
  readonly values: SettingValues;

  constructor(values: SettingValues) {
    this.values = { ...values };
  }

  /** Gives a parameter another value, which {@link parseParameter} returned. @internal */
  assign(name: ParameterName, value: ParameterValue): void {
    (this.values as unknown as Record<string, ParameterValue>)[name] = value;
  }

  /** Blocks in the page cache. */
  get sharedBuffers(): number {
    return this.values.shared_buffers;
  }

  /** Bytes one sort may use. */
  get workMemBytes(): number {
    return this.values.work_mem * 1024;
  }

  /** hash_mem_multiplier, 1 to 1000. */
  get hashMemMultiplier(): number {
    return this.values.hash_mem_multiplier;
  }

  /** Bytes one hash table may use: work_mem times hash_mem_multiplier. */
  get hashMemBytes(): number {
    return Math.floor(this.workMemBytes * this.values.hash_mem_multiplier);
  }

  /** Backends at one time. */
  get maxConnections(): number {
    return this.values.max_connections;
  }

  /** Backend slots that are kept for helper threads: two writers, and the I/O workers if any. */
  get helperSlots(): number {
    const { io_method, io_workers } = this.values;
    return WRITER_SLOTS + (io_method === "worker" ? io_workers : 0);
  }

  /** All backend slots: the owner's, those of max_connections, and those of helpers. */
  get slots(): number {
    return 1 + this.maxConnections + this.helperSlots;
  }

  /** Whether pages carry a checksum. */
  get dataChecksums(): boolean {
    return this.values.data_checksums;
  }

  /** Blocks one read or write may take together, io_max_combine_limit minded. */
  get ioCombineLimit(): number {
    return Math.min(this.values.io_combine_limit, this.values.io_max_combine_limit);
  }

  /**
   * The value as PostgreSQL's SHOW prints it: with the largest unit that divides it, `128MB`.
   *
   * @throws {@link UndefinedParameterError} if there is no such parameter
   */
  show(name: string): string {
    const parameter = findParameter(name);
    return showValue(parameter, this.values[parameter.name]);
  }
}

/**
 * Completes settings with the defaults, and checks each of them.
 *
 * @throws {@link InvalidParameterError} 22023 for a value that is malformed or out of range
 * @throws {@link UndefinedParameterError} 42704 for a name that is none
 */
export function resolveSettings(settings: Settings = {}): ResolvedSettings {
  const values: Record<string, ParameterValue> = {};
  for (const parameter of parameters) values[parameter.name] = parameter.bootValue;
  for (const [name, value] of Object.entries(settings)) {
    const parameter = findParameter(name);
    if (value !== undefined) values[parameter.name] = parseValue(parameter, value);
  }
  return new ResolvedSettings(values as unknown as SettingValues);
}

/**
 * Finds a parameter; case does not matter.
 *
 * @throws {@link UndefinedParameterError} 42704 if there is none
 */
export function findParameter(name: string): Parameter {
  const wanted = String(name).toLowerCase();
  const parameter = parameters.find((each) => each.name === wanted);
  if (parameter === undefined) throw new UndefinedParameterError(String(name));
  return parameter;
}

/**
 * Reads and checks one value.
 *
 * @param value - as a user writes it; a number counts in the parameter's unit
 * @returns the value in that unit
 * @throws {@link InvalidParameterError} 22023, {@link UndefinedParameterError} 42704
 */
export function parseParameter(name: string, value: ParameterValue): ParameterValue {
  return parseValue(findParameter(name), value);
}
