// Compiles planted mistakes, in this process, each into a simulation build of its own, and hunts
// for them: with growing bounds, then by chance.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import { type WasmModule, wasm } from "../../bindings/abi/wasm-types.ts";
import {
  type Configuration,
  durablePairs,
  durableTrios,
  engineFor,
  importantPairs,
  larger,
  locking,
  narrow,
  narrowJournals,
  pair,
  pairs,
} from "./configurations.ts";
import type { Mutant, Patch, Stage } from "./mutants.ts";
import { newMutants } from "./new-mutants.ts";
import { plant } from "./parts.ts";
import { queueMutants, streamMutants } from "./queue-mutants.ts";
import { queued, queuedSingles, streams } from "./queues.ts";
import { ScheduleError } from "./schedule.ts";
import { OutOfTime, searchAll, searchByChance, spentMs } from "./search.ts";
import { simulationModule } from "./world.ts";

// ── Compiling ────────────────────────────────────────────────────────────────────────────────────

const root = fileURLToPath(new URL("../../", import.meta.url));
/** Optimizing takes five times as long as the rest, and a search is not faster for it. */
const plain = ["--optimizeLevel", "0", "--baseDir", root];
const SOURCE = /^(?:\.\/)?assembly\/(.*)$/;

/** The simulation build with a mistake in it. @throws if a patch does not match exactly once */
export async function compileMutant({ name, patches }: Mutant): Promise<WasmModule> {
  if (patches.length === 0) return simulationModule();
  const applied = new Set<Patch>();
  let bytes: Uint8Array | undefined;
  const arguments_ = ["assembly/shared.ts", "--target", "shared-simulation", ...plain];
  const { error, stderr } = await asc.main(arguments_, {
    readFile: (file: string) => readPatched(file, patches, applied),
    writeFile: (file: string, contents: string | Uint8Array) => {
      if (file.endsWith(".wasm") && typeof contents !== "string") bytes = contents;
    },
    listFiles: () => [],
  });
  if (error !== null) throw new Error(`${name}: ${error.message}${stderr.toString()}`);
  if (applied.size !== patches.length || bytes === undefined) throw new Error(`${name}: unapplied`);
  return new wasm.Module(bytes);
}

function readPatched(file: string, patches: readonly Patch[], applied: Set<Patch>): string | null {
  let text: string;
  try {
    text = readFileSync(`${root}${file}`, "utf8");
  } catch {
    return null;
  }
  const [, source] = SOURCE.exec(file) ?? [];
  for (const patch of patches.filter((each) => each.file === source)) {
    const [before, after, ...more] = text.split(patch.find);
    if (after === undefined || more.length > 0) {
      throw new Error(`${patch.file} does not have exactly once: ${patch.find}`);
    }
    text = `${before}${patch.put}${after}`;
    applied.add(patch);
  }
  return text;
}

// ── Hunting ──────────────────────────────────────────────────────────────────────────────────────

/** Where a mistake was found. */
export interface Find {
  readonly configuration: string;
  readonly bounds: string;
  readonly error: ScheduleError;
  readonly schedules: number;
  readonly milliseconds: number;
}

const trios = larger.filter(({ backends }) => backends.length > 2);
const leavers = trios.filter(({ name }) => name.includes("leave"));
const brief = [pair("hit", "change"), pair("change", "change")];
const stages: readonly Stage[] = [
  { of: importantPairs, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 2_000 },
  { of: importantPairs, bounds: { preemptions: 0, deaths: 1 }, milliseconds: 2_000 },
  { of: narrow, bounds: { preemptions: 2, deaths: 0 }, milliseconds: 5_000 },
  { of: brief, bounds: { preemptions: 2, deaths: 0 }, milliseconds: 5_000 },
  { of: leavers, bounds: { preemptions: 1, deaths: 1 }, milliseconds: 10_000 },
  { of: narrow.slice(2, 3), bounds: { preemptions: 3, deaths: 0 }, milliseconds: 30_000 },
  { of: pairs, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 2_000 },
  { of: trios, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 5_000 },
  { of: pairs, bounds: { preemptions: 0, deaths: 1 }, milliseconds: 2_000 },
  { of: trios, bounds: { preemptions: 1, deaths: 1 }, milliseconds: 10_000 },
  { of: importantPairs, bounds: { preemptions: 2, deaths: 0 }, milliseconds: 8_000 },
];

const CHANCE_STEPS = 300_000;

const newStages: readonly Stage[] = [
  { of: durablePairs, bounds: { preemptions: 0, deaths: 0 }, milliseconds: 500 },
  { of: locking.slice(0, 3), bounds: { preemptions: 1, deaths: 0 }, milliseconds: 1_000 },
  { of: locking.slice(0, 1), bounds: { preemptions: 2, deaths: 0 }, milliseconds: 5_000 },
  { of: narrowJournals, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 1_000 },
  { of: durablePairs, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 500 },
  { of: durablePairs, bounds: { preemptions: 0, deaths: 1 }, milliseconds: 700 },
  { of: narrowJournals.slice(2), bounds: { preemptions: 1, deaths: 1 }, milliseconds: 12_000 },
  { of: locking, bounds: { preemptions: 1, deaths: 1 }, milliseconds: 1_000 },
  { of: durablePairs, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 5_000 },
  { of: durableTrios, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 5_000 },
];

const queueStages: readonly Stage[] = [
  { of: queuedSingles, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 2_000 },
  { of: queuedSingles, bounds: { preemptions: 0, deaths: 1 }, milliseconds: 5_000 },
  { of: queued, bounds: { preemptions: 0, deaths: 0 }, milliseconds: 2_000 },
  { of: queuedSingles, bounds: { preemptions: 1, deaths: 1 }, milliseconds: 20_000 },
];

const streamStages: readonly Stage[] = [
  { of: streams, bounds: { preemptions: 1, deaths: 0 }, milliseconds: 5_000 },
  { of: streams, bounds: { preemptions: 0, deaths: 1 }, milliseconds: 5_000 },
];

/** Where the mistakes of a list are hunted: in stages, then by chance. */
interface Ground {
  readonly stages: readonly Stage[];
  readonly byChance: readonly Configuration[];
}

function groundOf(mutant: Mutant): Ground {
  if (queueMutants.includes(mutant)) return { stages: queueStages, byChance: queued };
  if (streamMutants.includes(mutant)) return { stages: streamStages, byChance: streams };
  if (newMutants.includes(mutant)) {
    return { stages: newStages, byChance: [...durableTrios, ...durablePairs] };
  }
  return { stages, byChance: [...larger, ...importantPairs] };
}

/**
 * Searches with growing bounds, then by chance; undefined when time is up and nothing found.
 *
 * @param module - compiled from the mutant
 */
export function hunt(
  mutant: Mutant,
  module: WasmModule,
  milliseconds: number,
  seed: number,
): Find | undefined {
  plant(mutant.plants);
  try {
    const ground = groundOf(mutant);
    const order = [...(mutant.hunted ?? []), ...ground.stages];
    return huntIn(order, ground.byChance, module, milliseconds, seed);
  } finally {
    plant();
  }
}

function huntIn(
  order: readonly Stage[],
  byChance: readonly Configuration[],
  module: WasmModule,
  milliseconds: number,
  seed: number,
): Find | undefined {
  const begin = spentMs();
  let schedules = 0;
  const spent = (): number => spentMs() - begin;
  for (const { of, bounds, milliseconds: each } of order) {
    for (const configuration of of) {
      if (spent() > milliseconds) return undefined;
      const engine = engineFor(configuration, module);
      const limit = { milliseconds: Math.min(each, milliseconds - spent()) };
      const error = failureOf(() => searchAll(engine, bounds, limit));
      schedules += engine.schedules;
      const where = `${bounds.preemptions} preemptions, ${bounds.deaths} deaths`;
      if (error !== undefined) {
        return found(configuration, where, error, schedules, spent());
      }
    }
  }
  for (let round = 0; spent() < milliseconds; round += 1) {
    for (const configuration of byChance) {
      const engine = engineFor(configuration, module);
      const chances = { seed: seed + round, steps: CHANCE_STEPS, deaths: 1 };
      const error = failureOf(() => searchByChance(engine, chances));
      schedules += engine.schedules;
      if (error !== undefined) return found(configuration, "chance", error, schedules, spent());
    }
  }
  return undefined;
}

function found(
  { name }: Configuration,
  bounds: string,
  error: ScheduleError,
  schedules: number,
  milliseconds: number,
): Find {
  return { configuration: name, bounds, error, schedules, milliseconds };
}

function failureOf(search: () => unknown): ScheduleError | undefined {
  try {
    search();
  } catch (error) {
    if (error instanceof ScheduleError) return error;
    if (!(error instanceof OutOfTime)) throw error;
  }
  return undefined;
}
