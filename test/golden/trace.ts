// The form of a recorded history, and which abilities one needs. Each entry is a letter, its
// inputs, then what PostgreSQL did.

/** One entry: its code, inputs and expected results. */
export type Entry = readonly [string, ...unknown[]];

/** One recorded history. */
export interface Trace {
  readonly format: 1;
  readonly name: string;
  readonly about: string;
  readonly requires: readonly string[];
  readonly ops: readonly Entry[];
}

/** What this replay can do, by entry code. */
const knownCodes = new Set("cazxgfreROKDXpknimsthqySB!".split(""));
const knownKinds = new Set(["aset", "gen", "slab", "bump"]);
const knownRequirements = new Set(["callbacks", "init", "text", "fault"]);

/** Whether a parsed file is a trace at all. */
export function isTrace(value: unknown): value is Trace {
  if (typeof value !== "object" || value === null) return false;
  const { format, name, ops } = value as Partial<Trace>;
  return format === 1 && typeof name === "string" && Array.isArray(ops);
}

/** Abilities the trace needs and this library does not have yet, each once. */
export function missingAbilities(trace: Trace): string[] {
  const missing = new Set<string>();
  for (const word of trace.requires) if (!knownRequirements.has(word)) missing.add(word);
  for (const entry of trace.ops) {
    const [code, ...inputs] = entry[0] === "!" ? (entry[2] as Entry) : entry;
    if (!knownCodes.has(code)) missing.add(`entry "${code}"`);
    const kind = code === "c" ? String(inputs[2]) : "aset";
    if (!knownKinds.has(kind)) missing.add(`kind "${kind}"`);
  }
  return [...missing];
}
