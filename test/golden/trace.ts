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
const knownCodes = new Set("cazxfreROKDXpnimsthqySB!".split(""));
const knownKinds = new Set(["aset"]);
const knownRequirements = new Set(["init", "text", "fault"]);
const abilityOfCode: Readonly<Record<string, string>> = {
  g: "aligned chunks",
  k: "callbacks",
};
const abilityOfKind: Readonly<Record<string, string>> = {
  gen: "Generation contexts",
  slab: "Slab contexts",
  bump: "Bump contexts",
};

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
    if (!knownCodes.has(code)) missing.add(abilityOfCode[code] ?? `entry "${code}"`);
    const kind = code === "c" ? String(inputs[2]) : "aset";
    if (!knownKinds.has(kind)) missing.add(abilityOfKind[kind] ?? `kind "${kind}"`);
  }
  return [...missing];
}

/**
 * What remains of a trace when all but the general contexts and their chunks are left out: the part
 * that can be judged before the other kinds exist. Traffic, tree and sums over subtrees would show
 * what is missing, so they are left out too.
 */
export function generalPart(trace: Trace): Trace {
  const contexts = new Set<unknown>();
  const chunks = new Set<unknown>();
  const keep = (entry: Entry): boolean => {
    const [code, first, second] = entry;
    if (code === "!") return keep(entry[2] as Entry);
    if (code === "m") return true;
    if (code === "i") {
      contexts.add(first).add(second);
      return true;
    }
    if (code === "c") {
      const kept = entry[3] === "aset" && (second === -1 || contexts.has(second));
      if (kept) contexts.add(first);
      return kept;
    }
    if ("azx".includes(code)) {
      if (contexts.has(second) && first !== -1) chunks.add(first);
      return contexts.has(second);
    }
    if (code === "B") return chunks.has(second);
    if ("freq".includes(code)) return chunks.has(first);
    if (code === "p") return contexts.has(first) && (second === -1 || contexts.has(second));
    return "ROKDXns".includes(code) && contexts.has(first);
  };
  return { ...trace, name: `${trace.name} (general contexts)`, ops: trace.ops.filter(keep) };
}
