/**
 * Parameters as the rows of `pg_settings`. Texts that explain are our own; everything else says
 * what PostgreSQL says.
 *
 * PostgreSQL: src/backend/utils/misc/guc_funcs.c, GetConfigOptionValues
 */

import { type ParameterValue, showValue } from "../shared/parameter-texts.ts";
import type { Parameter, ParameterName } from "../shared/parameters.ts";
import type { VariableSource } from "./variable-stack.ts";

/** One parameter, with the columns of `pg_settings`. */
export interface SettingRow {
  readonly name: string;
  /** The value, in the parameter's unit. */
  readonly setting: string;
  readonly unit: string | null;
  readonly category: string;
  readonly short_desc: string;
  readonly extra_desc: null;
  readonly context: Parameter["context"];
  readonly vartype: Parameter["vartype"];
  readonly source: VariableSource;
  readonly min_val: string | null;
  readonly max_val: string | null;
  readonly enumvals: readonly string[] | null;
  readonly boot_val: string;
  /** What RESET would make it. */
  readonly reset_val: string;
  readonly sourcefile: null;
  readonly sourceline: null;
  readonly pending_restart: false;
}

/** The row of a parameter. @internal */
export function settingRow(
  parameter: Parameter,
  value: ParameterValue,
  resetValue: ParameterValue,
  source: VariableSource,
): SettingRow {
  const { name, unit, context, vartype, description, bootValue } = parameter;
  const range = vartype === "integer" || vartype === "real" ? parameter : undefined;
  return {
    name,
    setting: plain(parameter, value),
    unit,
    category: CATEGORIES[name] ?? "Customized Options",
    short_desc: description,
    extra_desc: null,
    context,
    vartype,
    source,
    min_val: range === undefined ? null : plain(parameter, range.min),
    max_val: range === undefined ? null : plain(parameter, range.max),
    enumvals: parameter.vartype === "enum" ? parameter.values : null,
    boot_val: plain(parameter, bootValue),
    reset_val: plain(parameter, resetValue),
    sourcefile: null,
    sourceline: null,
    pending_restart: false,
  };
}

/** As SHOW prints it, but a number without its unit. */
function plain(parameter: Parameter, value: ParameterValue): string {
  return parameter.vartype === "integer" ? String(value) : showValue(parameter, value);
}

const MEMORY = "Resource Usage / Memory";
const IO = "Resource Usage / I/O";
const WRITER = "Resource Usage / Background Writer";
const CHECKPOINTS = "Write-Ahead Log / Checkpoints";
const STATEMENTS = "Client Connection Defaults / Statement Behavior";
const WHAT_TO_LOG = "Reporting and Logging / What to Log";
const LOCKS = "Lock Management";
const DEVELOPERS = "Developer Options";
const PRESET = "Preset Options";

const CATEGORIES: Readonly<Partial<Record<ParameterName, string>>> = {
  application_name: WHAT_TO_LOG,
  bgwriter_delay: WRITER,
  bgwriter_lru_maxpages: WRITER,
  bgwriter_lru_multiplier: WRITER,
  block_size: PRESET,
  catalog_cache_private_size: MEMORY,
  catalog_cache_size: MEMORY,
  checkpoint_completion_target: CHECKPOINTS,
  checkpoint_timeout: CHECKPOINTS,
  client_min_messages: STATEMENTS,
  data_checksums: PRESET,
  deadlock_timeout: LOCKS,
  effective_io_concurrency: IO,
  full_page_writes: "Write-Ahead Log / Settings",
  hash_mem_multiplier: MEMORY,
  idle_in_transaction_session_timeout: STATEMENTS,
  idle_session_timeout: STATEMENTS,
  ignore_checksum_failure: DEVELOPERS,
  io_combine_limit: IO,
  io_max_combine_limit: IO,
  io_method: IO,
  io_workers: IO,
  lock_timeout: STATEMENTS,
  log_lock_waits: WHAT_TO_LOG,
  maintenance_io_concurrency: IO,
  maintenance_work_mem: MEMORY,
  max_locks_per_transaction: LOCKS,
  max_connections: "Connections and Authentication / Connection Settings",
  restart_after_crash: "Error Handling",
  shared_buffers: MEMORY,
  statement_timeout: STATEMENTS,
  temp_buffers: MEMORY,
  track_io_timing: "Statistics / Cumulative Query and Index Statistics",
  transaction_timeout: STATEMENTS,
  vacuum_buffer_usage_limit: MEMORY,
  work_mem: MEMORY,
  zero_damaged_pages: DEVELOPERS,
};
