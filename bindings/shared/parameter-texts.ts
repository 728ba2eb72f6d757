/**
 * Values of parameters as texts: what a user may write, which of it is refused in which words, and
 * how a value is shown. Parsing, rounding, wording and display are PostgreSQL's; what a text means
 * there it means here.
 *
 * An integer parameter with a unit is kept in that unit: shared_buffers in blocks of 8 kB, work_mem
 * in kB, checkpoint_timeout in seconds. A bare number counts in it, a text may name another:
 * `"128MB"`, `"5min"`. Unit names are case-sensitive.
 *
 * PostgreSQL: src/backend/utils/misc/guc.c, parse_int, parse_real, convert_to_base_unit,
 * config_enum_lookup_by_name, ShowGUCOption; src/backend/utils/adt/bool.c, parse_bool
 */

import { BLOCK_BYTES } from "../../assembly/common/constants.ts";
import { InvalidParameterError } from "../abi/errors.ts";
import type {
  BoolParameter,
  EnumParameter,
  IntegerParameter,
  Parameter,
  ParameterUnit,
  RealParameter,
  StringParameter,
} from "./parameters.ts";

/** What a parameter's value can be. */
export type ParameterValue = number | boolean | string;

/** Reads and checks one value of a parameter; @returns it in the parameter's unit. @internal */
export function parseValue(parameter: Parameter, value: ParameterValue): ParameterValue {
  const text = String(value);
  if (parameter.vartype === "bool") return parseBool(parameter, text);
  if (parameter.vartype === "enum") return parseEnum(parameter, text);
  if (parameter.vartype === "string") return parseString(parameter, text);
  const parsed =
    parameter.vartype === "integer" ? parseInteger(text, parameter.unit) : parseReal(text);
  if (typeof parsed === "object") throw malformed(parameter, text, parsed);
  if (parsed < parameter.min || parsed > parameter.max) throw outOfRange(parameter, parsed);
  if (parameter.vartype === "integer") checkUnlessZero(parameter, parsed);
  return parsed;
}

/** The value as SHOW prints it: with the largest unit that divides it. @internal */
export function showValue(parameter: Parameter, value: ParameterValue): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  if (typeof value === "string") return value;
  if (parameter.vartype === "real") return formatReal(value);
  if (parameter.unit === null || value <= 0) return String(value);
  const { units, size } = UNITS[parameter.unit];
  const total = value * size;
  const [name, each] = units.find(([, unitSize]) => total % unitSize === 0) ?? ["", 1];
  return `${total / each}${name}`;
}

// ── Refusing ─────────────────────────────────────────────────────────────────────────────────────

/** Why a text is no value; PostgreSQL gives a hint for some reasons only. */
interface Refusal {
  readonly hint?: string;
}

function malformed({ name }: Parameter, text: string, refusal: Refusal): InvalidParameterError {
  return new InvalidParameterError(
    name,
    `invalid value for parameter "${name}": "${text}"`,
    refusal,
  );
}

function outOfRange(
  parameter: IntegerParameter | RealParameter,
  value: number,
): InvalidParameterError {
  const { name, min, max } = parameter;
  const [is, from, to] = [value, min, max].map((each) => withUnit(parameter, each));
  const message = `${is} is outside the valid range for parameter "${name}" (${from} .. ${to})`;
  return new InvalidParameterError(name, message);
}

/** Some parameters may be 0, which has a meaning of its own, or at least a larger number. */
function checkUnlessZero(parameter: IntegerParameter, value: number): void {
  const { name, minUnlessZero, max } = parameter;
  if (minUnlessZero === undefined || value === 0 || value >= minUnlessZero) return;
  const [from, to] = [withUnit(parameter, minUnlessZero), withUnit(parameter, max)];
  throw new InvalidParameterError(name, `invalid value for parameter "${name}": ${value}`, {
    detail: `"${name}" must be 0 or between ${from} and ${to}.`,
  });
}

function withUnit(parameter: IntegerParameter | RealParameter, value: number): string {
  const text = parameter.vartype === "real" ? formatReal(value) : String(value);
  return parameter.unit === null ? text : `${text} ${parameter.unit}`;
}

// ── Units ────────────────────────────────────────────────────────────────────────────────────────

type Units = readonly (readonly [name: string, size: number])[];

/** In bytes, the largest first. */
const MEMORY_UNITS: Units = [
  ["TB", 1099511627776],
  ["GB", 1073741824],
  ["MB", 1048576],
  ["kB", 1024],
  ["B", 1],
];

/** In microseconds, the largest first. */
const TIME_UNITS: Units = [
  ["d", 86400000000],
  ["h", 3600000000],
  ["min", 60000000],
  ["s", 1000000],
  ["ms", 1000],
  ["us", 1],
];

const MEMORY_HINT = 'Valid units for this parameter are "B", "kB", "MB", "GB", and "TB".';
const TIME_HINT = 'Valid units for this parameter are "us", "ms", "s", "min", "h", and "d".';

/** The unit a parameter counts in: its size, and which others a text may name. */
interface UnitFamily {
  readonly size: number;
  readonly units: Units;
  readonly hint: string;
}

const UNITS: Readonly<Record<ParameterUnit, UnitFamily>> = {
  "8kB": { size: BLOCK_BYTES, units: MEMORY_UNITS, hint: MEMORY_HINT },
  kB: { size: 1024, units: MEMORY_UNITS, hint: MEMORY_HINT },
  ms: { size: 1000, units: TIME_UNITS, hint: TIME_HINT },
  s: { size: 1000000, units: TIME_UNITS, hint: TIME_HINT },
};

/** What the C library's isspace() accepts. */
const SPACE = "[ \\t\\n\\v\\f\\r]*";

/**
 * A value with a unit, in the parameter's unit. A fraction of a unit is rounded to whole multiples
 * of the next smaller one, so that 30.1GB is a number of megabytes.
 */
function convertUnit(value: number, unitText: string, base: UnitFamily): number | undefined {
  const name = new RegExp(`^([^ \\t\\n\\v\\f\\r]{1,3})${SPACE}$`).exec(unitText)?.[1];
  const index = base.units.findIndex(([each]) => each === name);
  const size = base.units[index]?.[1];
  if (size === undefined) return undefined;
  const converted = value * (size / base.size);
  const smaller = base.units[index + 1]?.[1];
  if (smaller === undefined) return converted;
  const factor = smaller / base.size;
  return roundHalfEven(converted / factor) * factor;
}

/** Rounds as rint() does: halves go to the even neighbour. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
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

function parseInteger(text: string, unit: ParameterUnit | null): number | Refusal {
  const scanned = scanInteger(text);
  if (scanned === undefined) return {};
  let { value } = scanned;
  const unitText = withoutSpace(scanned.rest);
  if (unitText !== "") {
    if (unit === null) return {};
    const base = UNITS[unit];
    const converted = convertUnit(value, unitText, base);
    if (converted === undefined) return { hint: base.hint };
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

// ── Booleans, words and texts ────────────────────────────────────────────────────────────────────

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

/** One of the parameter's words, in any case. */
function parseEnum(parameter: EnumParameter, text: string): string {
  const lower = text.toLowerCase();
  const found = parameter.values.find((each) => each === lower) ?? parameter.hidden?.[lower];
  if (found !== undefined) return found;
  throw malformed(parameter, text, { hint: `Available values: ${parameter.values.join(", ")}.` });
}

/** PostgreSQL's NAMEDATALEN without the NUL. */
const NAME_BYTES = 63;

/** As it is; a name: its first bytes, whole characters, in ASCII that can be printed. */
function parseString({ asciiName = false }: StringParameter, text: string): string {
  if (!asciiName) return text;
  const room = new Uint8Array(NAME_BYTES);
  const { written } = new TextEncoder().encodeInto(text, room);
  const shown = Array.from(room.subarray(0, written), (byte) => {
    return byte >= 0x20 && byte < 0x7f
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).padStart(2, "0")}`;
  });
  return shown.join("");
}
