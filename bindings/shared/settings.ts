/**
 * Parameters: names, types, units, ranges, and the texts a user may write for them. Parsing,
 * rounding, wording and display are PostgreSQL's; what a text means there it means here.
 *
 * An integer parameter with a unit is kept in that unit: shared_buffers in blocks of 8 kB, work_mem
 * in kB. A bare number counts in it, a text may name another: `"128MB"`. Unit names are
 * case-sensitive. A new parameter is a row of {@link parameters} and a field of {@link Settings}.
 *
 * Ranges are those of a PostgreSQL with 32-bit sizes, which is what a WebAssembly memory has; a
 * region that no memory could hold is refused where it is made, not here.
 *
 * PostgreSQL: src/backend/utils/misc/guc.c, parse_int, parse_real, convert_to_base_unit,
 * ShowGUCOption; guc_tables.c; src/backend/utils/adt/bool.c, parse_bool
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { InvalidParameterError, UndefinedParameterError } from "../abi/errors.ts";

/** What a user sets; whatever is absent has its default. Numbers count in the parameter's unit. */
export interface Settings {
  /** Size of the page cache. Default `"128MB"`; a bare number is blocks of 8 kB. */
  readonly shared_buffers?: string | number;
  /** Memory for one sort or hash table. Default `"4MB"`; a bare number is kB. */
  readonly work_mem?: string | number;
  /** What a hash table may use, in multiples of work_mem. Default 2. */
  readonly hash_mem_multiplier?: string | number;
  /** Backends at one time. Default 16, where PostgreSQL has 100; at most 1021. */
  readonly max_connections?: string | number;
  /** Whether pages carry a checksum. Default on. */
  readonly data_checksums?: string | number | boolean;
}

/** The name of a parameter. */
export type ParameterName = keyof Settings;

/** Values in each parameter's unit; can be posted, and given to {@link resolveSettings} again. */
export interface SettingValues {
  /** Blocks of 8 kB. */
  readonly shared_buffers: number;
  /** kB. */
  readonly work_mem: number;
  readonly hash_mem_multiplier: number;
  readonly max_connections: number;
  readonly data_checksums: boolean;
}

/** `postmaster`: fixed when the region is made. `user`: any backend, at any time. */
export type ParameterContext = "postmaster" | "user";

interface ParameterBase {
  readonly name: ParameterName;
  readonly context: ParameterContext;
  /** One sentence, for `pg_settings` and for help texts. */
  readonly description: string;
}

/** A whole number, with or without a unit. */
export interface IntegerParameter extends ParameterBase {
  readonly vartype: "integer";
  /** What a bare number counts. */
  readonly unit: "8kB" | "kB" | null;
  readonly bootValue: number;
  readonly min: number;
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

/** One row of the table of parameters. */
export type Parameter = IntegerParameter | RealParameter | BoolParameter;

/** All parameters, by name. */
export const parameters: readonly Parameter[] = [
  {
    name: "data_checksums",
    vartype: "bool",
    unit: null,
    context: "postmaster",
    description: "Whether pages carry a checksum that is verified when they are read.",
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
    name: "max_connections",
    vartype: "integer",
    unit: null,
    context: "postmaster",
    description: "How many backends may be attached at one time.",
    // PostgreSQL starts with 100. Each costs a column in every table of holds, and threads are few.
    bootValue: 16,
    min: 1,
    max: 1021, // MAX_BACKENDS without the owner
  },
  {
    name: "shared_buffers",
    vartype: "integer",
    unit: "8kB",
    context: "postmaster",
    description: "How many pages the region keeps in memory for all backends.",
    bootValue: 16384, // 128 MB
    min: 16, // 128 kB
    max: 1073741823,
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
];

// ── Resolving ────────────────────────────────────────────────────────────────────────────────────

/** Settings of a region or a backend: every parameter with its value. Immutable. */
export class ResolvedSettings {
  /** Each parameter in its own unit. */
  readonly values: SettingValues;

  constructor(values: SettingValues) {
    this.values = Object.freeze({ ...values });
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

  /** Whether pages carry a checksum. */
  get dataChecksums(): boolean {
    return this.values.data_checksums;
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
  const values: Record<string, number | boolean> = {};
  for (const parameter of parameters) values[parameter.name] = parameter.bootValue;
  for (const [name, value] of Object.entries(settings)) {
    const parameter = findParameter(name);
    if (value !== undefined) values[parameter.name] = parseParameter(name, value);
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
export function parseParameter(name: string, value: string | number | boolean): number | boolean {
  const parameter = findParameter(name);
  const text = String(value);
  if (parameter.vartype === "bool") return parseBool(parameter, text);
  const parsed =
    parameter.vartype === "integer" ? parseInteger(text, parameter.unit) : parseReal(text);
  if (typeof parsed === "object") {
    const message = `invalid value for parameter "${parameter.name}": "${text}"`;
    throw new InvalidParameterError(parameter.name, message, parsed);
  }
  if (parsed < parameter.min || parsed > parameter.max) throw outOfRange(parameter, parsed);
  return parsed;
}

function outOfRange(
  parameter: IntegerParameter | RealParameter,
  value: number,
): InvalidParameterError {
  const print = (each: number): string => {
    const text = parameter.vartype === "real" ? formatReal(each) : String(each);
    return parameter.unit === null ? text : `${text} ${parameter.unit}`;
  };
  const { name, min, max } = parameter;
  const message = `${print(value)} is outside the valid range for parameter "${name}" (${print(min)} .. ${print(max)})`;
  return new InvalidParameterError(name, message);
}

// ── Units ────────────────────────────────────────────────────────────────────────────────────────

const MEMORY_UNITS: readonly (readonly [name: string, bytes: number])[] = [
  ["TB", 1099511627776],
  ["GB", 1073741824],
  ["MB", 1048576],
  ["kB", 1024],
  ["B", 1],
];

const UNIT_BYTES: Readonly<Record<"8kB" | "kB", number>> = { "8kB": BLOCK_BYTES, kB: 1024 };

const UNIT_HINT = 'Valid units for this parameter are "B", "kB", "MB", "GB", and "TB".';

/** What the C library's isspace() accepts. */
const SPACE = "[ \\t\\n\\v\\f\\r]*";

/** Why a text is no value; PostgreSQL gives a hint for some reasons only. */
interface Refusal {
  readonly hint?: string;
}

/**
 * A value with a unit, in the parameter's unit. A fraction of a unit is rounded to whole multiples
 * of the next smaller one, so that 30.1GB is a number of megabytes.
 */
function convertUnit(value: number, unitText: string, base: "8kB" | "kB"): number | undefined {
  const unit = new RegExp(`^([^ \\t\\n\\v\\f\\r]{1,3})${SPACE}$`).exec(unitText)?.[1];
  const index = MEMORY_UNITS.findIndex(([name]) => name === unit);
  const bytes = MEMORY_UNITS[index]?.[1];
  if (bytes === undefined) return undefined;
  const converted = value * (bytes / UNIT_BYTES[base]);
  const smaller = MEMORY_UNITS[index + 1]?.[1];
  if (smaller === undefined) return converted;
  const factor = smaller / UNIT_BYTES[base];
  return roundHalfEven(converted / factor) * factor;
}

/** Rounds as rint() does: halves go to the even neighbour. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

function showValue(parameter: Parameter, value: number | boolean): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  if (parameter.vartype === "real") return formatReal(value);
  if (parameter.unit === null || value <= 0) return String(value);
  const bytes = value * UNIT_BYTES[parameter.unit];
  const [name, size] = MEMORY_UNITS.find(([, each]) => bytes % each === 0) ?? ["B", 1];
  return `${bytes / size}${name}`;
}

// ── Numbers ──────────────────────────────────────────────────────────────────────────────────────

const INT_MIN = -2147483648;
const INT_MAX = 2147483647;
const LONG_MIN = -9223372036854775808n;
const LONG_MAX = 9223372036854775807n;

/** As strtol() with base 0 and as strtod() read the start of a text. */
const INTEGER = new RegExp(`^${SPACE}([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)`);
const DECIMAL = new RegExp(`^${SPACE}([+-]?(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)(?:[eE][+-]?[0-9]+)?)`);
const HEXADECIMAL = new RegExp(
  `^${SPACE}([+-]?)0[xX](?=\\.?[0-9a-fA-F])([0-9a-fA-F]*)\\.?([0-9a-fA-F]*)(?:[pP]([+-]?[0-9]+))?`,
);
const INFINITE = new RegExp(`^${SPACE}([+-]?)inf(?:inity)?`, "i");

/** A number at the start of a text, and what follows it. */
interface Scanned {
  readonly value: number;
  readonly rest: string;
}

function parseInteger(text: string, unit: "8kB" | "kB" | null): number | Refusal {
  const scanned = scanInteger(text);
  if (scanned === undefined) return {};
  let { value } = scanned;
  const unitText = withoutSpace(scanned.rest);
  if (unitText !== "") {
    if (unit === null) return {};
    const converted = convertUnit(value, unitText, unit);
    if (converted === undefined) return { hint: UNIT_HINT };
    value = converted;
  }
  value = roundHalfEven(value) + 0;
  if (value > INT_MAX || value < INT_MIN) return { hint: "Value exceeds integer range." };
  return value;
}

function parseReal(text: string): number | Refusal {
  const scanned = scanReal(text);
  return scanned === undefined || withoutSpace(scanned.rest) !== "" ? {} : scanned.value;
}

/** An integer, or a real number where the integer ends in a point, an exponent or an overflow. */
function scanInteger(text: string): Scanned | undefined {
  const match = INTEGER.exec(text);
  const digits = match?.[2] ?? "";
  // A leading zero makes it octal, and a digit that is not ends it: "08" is 0 and a rest of "8".
  const octal = /^0[0-7]*/.exec(digits)?.[0];
  const taken = /^0[xX]/.test(digits) ? digits : (octal ?? digits);
  const end = match === null ? 0 : match[0].length - digits.length + taken.length;
  const rest = text.slice(end);
  if (/^[.eE]/.test(rest)) return scanReal(text);
  if (match === null) return undefined;
  const size = BigInt(taken.length > 1 && taken === octal ? `0o${taken.slice(1)}` : taken);
  const value = match[1] === "-" ? -size : size;
  return value < LONG_MIN || value > LONG_MAX ? scanReal(text) : { value: Number(value), rest };
}

/** A real number as in C: decimal, hexadecimal or infinite; too large and too small are refused. */
function scanReal(text: string): Scanned | undefined {
  const hexadecimal = HEXADECIMAL.exec(text);
  if (hexadecimal !== null) return scanHexadecimal(text, hexadecimal);
  const infinite = INFINITE.exec(text);
  if (infinite !== null) {
    const value = infinite[1] === "-" ? -Infinity : Infinity;
    return { value, rest: text.slice(infinite[0].length) };
  }
  const match = DECIMAL.exec(text);
  if (match === null) return undefined;
  const value = Number(match[1]);
  const nonzero = /[1-9]/.test((match[1] ?? "").split(/[eE]/)[0] ?? "");
  if (!Number.isFinite(value) || (value === 0 && nonzero)) return undefined;
  return { value, rest: text.slice(match[0].length) };
}

function scanHexadecimal(text: string, match: RegExpExecArray): Scanned | undefined {
  const [whole, sign, digits = "", fraction = "", exponent = "0"] = match;
  const mantissa = Number(BigInt(`0x${digits}${fraction}`));
  const value = mantissa * 2 ** (Number(exponent) - 4 * fraction.length);
  if (!Number.isFinite(value) || (value === 0 && mantissa !== 0)) return undefined;
  return { value: sign === "-" ? -value : value, rest: text.slice(whole.length) };
}

function withoutSpace(text: string): string {
  return text.replace(new RegExp(`^${SPACE}`), "");
}

/** As PostgreSQL prints %g: six digits without trailing zeros, an exponent only where needed. */
function formatReal(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return "0";
  const [mantissa = "", exponent = ""] = sixDigits(value).split("e");
  const power = Number(exponent);
  if (power >= -4 && power < 6) return String(Number(`${mantissa}e${exponent}`));
  const digits = mantissa.replace(/\.?0+$/, "");
  const size = String(Math.abs(power)).padStart(2, "0");
  return `${digits}e${power < 0 ? "-" : "+"}${size}`;
}

/** Six digits and an exponent. JavaScript rounds a half up, C to the even digit. */
function sixDigits(value: number): string {
  const half = /^(-?\d\.\d{4}[02468])50*(e.*)$/.exec(value.toExponential(100));
  return half === null ? value.toExponential(5) : `${half[1]}${half[2]}`;
}

// ── Booleans ─────────────────────────────────────────────────────────────────────────────────────

/** Words, how short each may be cut, and what they say. */
const BOOL_WORDS: readonly (readonly [word: string, shortest: number, value: boolean])[] = [
  ["true", 1, true],
  ["false", 1, false],
  ["yes", 1, true],
  ["no", 1, false],
  ["on", 2, true],
  ["off", 2, false],
  ["1", 1, true],
  ["0", 1, false],
];

function parseBool(parameter: BoolParameter, text: string): boolean {
  const lower = text.toLowerCase();
  for (const [word, shortest, value] of BOOL_WORDS) {
    if (lower.length >= shortest && word.startsWith(lower)) return value;
  }
  const message = `parameter "${parameter.name}" requires a Boolean value`;
  throw new InvalidParameterError(parameter.name, message);
}
