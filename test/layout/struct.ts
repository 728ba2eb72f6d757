// Where the compiler puts the fields of an AssemblyScript class.
//
// A probe is the file of the class itself and, behind its last line, one exported function for each
// field that returns `offsetof` it; it is compiled in memory and asked. So the answer is the
// compiler's own, also for classes that their file keeps to itself.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import ts from "typescript";

const root = fileURLToPath(new URL("../..", import.meta.url));

export interface Field {
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
}

export interface Struct {
  readonly fields: readonly Field[];
  /** Offset behind the last field. */
  readonly bytes: number;
}

const SIZES: ReadonlyMap<string, number> = new Map([
  ["bool", 1],
  ["u8", 1],
  ["i8", 1],
  ["u16", 2],
  ["i16", 2],
  ["u64", 8],
  ["i64", 8],
  ["f64", 8],
]);
/** u32, usize and references, on a 32-bit target. */
const WORD_BYTES = 4;

/** Names and sizes of the fields that a class declares itself, in order. */
function declaredFields(file: string, name: string): { name: string; bytes: number }[] {
  const text = readFileSync(join(root, file), "utf8");
  const tree = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
  const declaration = tree.statements.find(
    (statement): statement is ts.ClassDeclaration =>
      ts.isClassDeclaration(statement) && statement.name?.text === name,
  );
  if (declaration === undefined) throw new Error(`${file} has no class ${name}`);
  return declaration.members.filter(ts.isPropertyDeclaration).map((member) => ({
    name: member.name.getText(),
    bytes: SIZES.get(member.type?.getText() ?? "") ?? WORD_BYTES,
  }));
}

async function compile(entry: string, text: string): Promise<Uint8Array<ArrayBuffer>> {
  let binary: Uint8Array<ArrayBuffer> | undefined;
  const words = [entry, "--outFile", "probe.wasm", "--config", "none.json", "--runtime", "stub"];
  const flags = ["CHECKING=0", "SIMULATION=0", "POINTS=0", "abort="].flatMap((use) => [
    "--use",
    use,
  ]);
  const shared = ["--importMemory", "--enable", "threads", "--enable", "simd"];
  const { error, stderr } = await asc.main([...words, ...flags, ...shared], {
    readFile: (name: string, base: string) => {
      if (name === entry) return text;
      if (name === "none.json") return "{}";
      const path = join(base, name);
      return existsSync(path) ? readFileSync(path, "utf8") : null;
    },
    writeFile: (_name: string, contents: Uint8Array | string) => {
      if (typeof contents !== "string") binary = Uint8Array.from(contents);
    },
  });
  if (error !== null || binary === undefined) throw new Error(`${entry}: ${stderr.toString()}`);
  return binary;
}

/** The layout of a class of `assembly/`, without the fields of the class it extends. */
export async function structOf(file: string, name: string): Promise<Struct> {
  const fields = declaredFields(file, name);
  const probes = fields.map(
    (field) =>
      `export function at_${field.name}(): u32 { return offsetof<${name}>("${field.name}"); }`,
  );
  const end = `export function end(): u32 { return offsetof<${name}>(); }`;
  const text = [readFileSync(join(root, file), "utf8"), ...probes, end].join("\n");
  const binary = await compile(file, text);
  const memory = new WebAssembly.Memory({ initial: 1 });
  // Whatever the module asks of its host: no probe calls it.
  const host = new Proxy<WebAssembly.ModuleImports>({}, { get: () => () => 0 });
  const imports = { env: { memory }, host };
  const instance = new WebAssembly.Instance(new WebAssembly.Module(binary), imports);
  const ask = (probe: string): number => (instance.exports[probe] as () => number)();
  return {
    fields: fields.map((field) => ({ ...field, offset: ask(`at_${field.name}`) })),
    bytes: ask("end"),
  };
}
