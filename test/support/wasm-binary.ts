// Reads the outline of a WebAssembly binary: its sections, imports, exports, globals and memories.
// Function bodies are not looked at.
//
// What a module may and may not contain is part of the design (a data section in shared.wasm would
// be written over live memory by the second worker), so tests read the binary itself, not the text
// form that a compiler prints beside it.
//
// WebAssembly Core Specification, Binary Format, Modules.

export type ExternalKind = "function" | "table" | "memory" | "global" | "tag";

export interface WasmLimits {
  readonly minimum: number;
  readonly maximum: number | undefined;
  readonly shared: boolean;
}

export interface WasmImport {
  readonly module: string;
  readonly name: string;
  readonly kind: ExternalKind;
  /** Only for memories. */
  readonly limits: WasmLimits | undefined;
}

export interface WasmSignature {
  readonly parameters: readonly string[];
  readonly results: readonly string[];
}

export interface WasmExport {
  readonly name: string;
  readonly kind: ExternalKind;
  /** Only for functions. */
  readonly signature: WasmSignature | undefined;
}

export interface WasmGlobal {
  readonly type: string;
  readonly mutable: boolean;
}

export interface WasmOutline {
  /** Names of the sections in the order of the file; custom ones as `custom:<name>`. */
  readonly sections: string[];
  readonly imports: WasmImport[];
  readonly exports: WasmExport[];
  readonly globals: WasmGlobal[];
  /** Signatures of the module's functions, imported ones first. */
  readonly functions: WasmSignature[];
}

const MAGIC = 0x6d736100;
const VERSION = 1;
const FUNCTION_TYPE = 0x60;
const SECTION_NAMES = [
  "custom",
  "type",
  "import",
  "function",
  "table",
  "memory",
  "global",
  "export",
  "start",
  "element",
  "code",
  "data",
  "data count",
  "tag",
] as const;
const KINDS: readonly ExternalKind[] = ["function", "table", "memory", "global", "tag"];
const VALUE_TYPES: ReadonlyMap<number, string> = new Map([
  [0x7f, "i32"],
  [0x7e, "i64"],
  [0x7d, "f32"],
  [0x7c, "f64"],
  [0x7b, "v128"],
  [0x70, "funcref"],
  [0x6f, "externref"],
]);

class Reader {
  readonly #bytes: Uint8Array;
  position: number;
  readonly end: number;

  constructor(bytes: Uint8Array, position = 0, end: number = bytes.length) {
    this.#bytes = bytes;
    this.position = position;
    this.end = end;
  }

  byte(): number {
    const value = this.#bytes[this.position];
    if (value === undefined) throw new Error(`the binary ends at byte ${this.position}`);
    this.position += 1;
    return value;
  }

  /** An unsigned LEB128 number; also skips a signed one, whose value the caller must not use. */
  number(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  word(): number {
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset);
    const value = view.getUint32(this.position, true);
    this.position += 4;
    return value;
  }

  name(): string {
    const length = this.number();
    const start = this.position;
    this.position += length;
    return new TextDecoder().decode(this.#bytes.subarray(start, this.position));
  }

  list<Item>(read: () => Item): Item[] {
    return Array.from({ length: this.number() }, read);
  }

  section(length: number): Reader {
    const section = new Reader(this.#bytes, this.position, this.position + length);
    this.position += length;
    return section;
  }
}

/** @throws Error when `bytes` is no WebAssembly module, or one with a shape unknown here */
export function outlineOf(bytes: Uint8Array): WasmOutline {
  const reader = new Reader(bytes);
  if (reader.word() !== MAGIC || reader.word() !== VERSION) {
    throw new Error("this is not a WebAssembly module");
  }
  const outline: Growing = {
    sections: [],
    imports: [],
    exports: [],
    globals: [],
    functions: [],
    types: [],
  };
  while (reader.position < reader.end) {
    const id = reader.byte();
    const name = SECTION_NAMES[id];
    if (name === undefined) throw new Error(`unknown section ${id}`);
    readSection(name, reader.section(reader.number()), outline);
  }
  return outline;
}

/** An outline while it is read: signatures are named by number further on. */
interface Growing extends WasmOutline {
  readonly types: WasmSignature[];
}

function readSection(name: string, section: Reader, outline: Growing): void {
  outline.sections.push(name === "custom" ? `custom:${section.name()}` : name);
  if (name === "type") outline.types.push(...section.list(() => readSignature(section)));
  if (name === "import") outline.imports.push(...section.list(() => readImport(section, outline)));
  if (name === "function") section.list(() => outline.functions.push(typeOf(section, outline)));
  if (name === "global") outline.globals.push(...section.list(() => readGlobal(section)));
  if (name === "export") outline.exports.push(...section.list(() => readExport(section, outline)));
}

function readSignature(section: Reader): WasmSignature {
  if (section.byte() !== FUNCTION_TYPE) throw new Error("a type that is no function's");
  const parameters = section.list(() => readValueType(section));
  return { parameters, results: section.list(() => readValueType(section)) };
}

function typeOf(section: Reader, outline: Growing): WasmSignature {
  const signature = outline.types[section.number()];
  if (signature === undefined) throw new Error("a function of unknown type");
  return signature;
}

function readKind(section: Reader): ExternalKind {
  const kind = KINDS[section.byte()];
  if (kind === undefined) throw new Error("unknown kind of import or export");
  return kind;
}

function readImport(section: Reader, outline: Growing): WasmImport {
  const module = section.name();
  const name = section.name();
  const kind = readKind(section);
  if (kind === "function") outline.functions.push(typeOf(section, outline));
  else if (kind === "global") readGlobalType(section);
  else if (kind !== "memory") throw new Error(`an import of kind ${kind} is not expected`);
  return { module, name, kind, limits: kind === "memory" ? readLimits(section) : undefined };
}

function readLimits(section: Reader): WasmLimits {
  const flags = section.byte();
  const minimum = section.number();
  const maximum = flags & 1 ? section.number() : undefined;
  return { minimum, maximum, shared: (flags & 2) !== 0 };
}

function readExport(section: Reader, outline: Growing): WasmExport {
  const name = section.name();
  const kind = readKind(section);
  const index = section.number();
  return { name, kind, signature: kind === "function" ? outline.functions[index] : undefined };
}

function readValueType(section: Reader): string {
  const type = VALUE_TYPES.get(section.byte());
  if (type === undefined) throw new Error("unknown value type");
  return type;
}

function readGlobalType(section: Reader): WasmGlobal {
  const type = readValueType(section);
  return { type, mutable: section.byte() === 1 };
}

function readGlobal(section: Reader): WasmGlobal {
  const global = readGlobalType(section);
  skipConstantExpression(section);
  return global;
}

function skipConstantExpression(section: Reader): void {
  for (;;) {
    const opcode = section.byte();
    if (opcode === 0x0b) return;
    if (opcode === 0x43) section.position += 4;
    else if (opcode === 0x44) section.position += 8;
    else if (opcode === 0x23 || opcode === 0x41 || opcode === 0x42) section.number();
    else throw new Error(`opcode ${opcode} in a constant expression is not expected`);
  }
}
