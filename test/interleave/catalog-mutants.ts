// Mistakes planted in the shared catalog cache, and the hunt for them: with growing bounds.

import type { WasmModule } from "../../bindings/abi/wasm-types.ts";
import {
  catalogConfigurations,
  catalogDetails,
  catalogEngine,
  catalogTrios,
  laggards,
} from "./catalog-setting.ts";
import { type Mutant, mutant } from "./mutants.ts";
import { ScheduleError } from "./schedule.ts";
import { type Bounds, OutOfTime, searchAll, searchByChance, spentMs } from "./search.ts";

/** Mistakes in assembly/cache. */
export const catalogMutants: readonly Mutant[] = [
  mutant(
    "an entry is freed while it is held",
    "cache/store.ts",
    "    if (!Entry.isHeld(granule)) entry.setState(0);\n",
    "    entry.setState(0);\n",
  ),
  mutant(
    "a hold is not checked after it was stored",
    "cache/catalog.ts",
    "const stands = Entry.begins(granule) && entry.isLive();\n    if (stands && entry.matches(catalog, hash, keys, keyBytes)) return",
    "if (Entry.begins(granule)) return",
  ),
  mutant(
    "what was read is linked without a look at the ring",
    "cache/catalog.ts",
    "const stale = Sinval.mentions(since, entry.catalog, entry.hash);",
    "const stale = since == u32.MAX_VALUE;",
  ),
  {
    name: "a message is sent before its entries are unlinked",
    patches: [
      {
        file: "cache/catalog.ts",
        find: "    let at = Chain.head(hash);\n    for (let left",
        put: "    Sinval.send(catalog, hash, MESSAGE_KEY);\n    let at = Chain.head(hash);\n    for (let left",
      },
      {
        file: "cache/catalog.ts",
        find: "    Sinval.send(catalog, hash, MESSAGE_KEY);\n    Sinval.lock()",
        put: "    Sinval.lock()",
      },
    ],
  },
  mutant(
    "a receiver does not look whether what it copied was overwritten",
    "cache/sinval.ts",
    "    if (reserved - position > <u32>SINVAL_MESSAGES) return Sinval.startAnew(row);\n",
    "    if (reserved == position) return Sinval.startAnew(row);\n",
  ),
  mutant(
    "a death after an announcement resets nobody",
    "cache/reap.ts",
    "    if (Sinval.isInvalidating(dead)) {\n",
    "    if (dead == u32.MAX_VALUE) {\n",
  ),
  mutant(
    "a message is written after it is sent",
    "cache/sinval.ts",
    "    Atomic.store(ring + SINVAL_RESERVED_OFFSET, number + 1);\n",
    "    Atomic.store(ring + SINVAL_RESERVED_OFFSET, number + 1);\n    Atomic.store(ring + SINVAL_WRITTEN_OFFSET, number + 1);\n",
  ),
];

/** For one configuration and one bound. */
const EACH_MS = 2_000;

const bounds: readonly Bounds[] = [
  { preemptions: 1, deaths: 0 },
  { preemptions: 0, deaths: 1 },
  { preemptions: 1, deaths: 1 },
  { preemptions: 2, deaths: 0 },
];

/** What a hunt found: in which configuration, and how. */
export interface CatalogFind {
  readonly configuration: string;
  readonly error: ScheduleError;
}

/** Searches with growing bounds, then by chance; undefined when time is up and nothing found. */
export function huntCatalog(
  module: WasmModule,
  milliseconds: number,
  seed: number,
): CatalogFind | undefined {
  const end = spentMs() + milliseconds;
  for (const each of bounds) {
    for (const configuration of [...catalogConfigurations, ...catalogDetails, ...laggards]) {
      const limit = { milliseconds: Math.max(1, Math.min(EACH_MS, end - spentMs())) };
      const engine = catalogEngine(configuration, {}, module);
      const error = failureOf(() => searchAll(engine, each, limit));
      if (error !== undefined) return { configuration: configuration.name, error };
    }
  }
  for (let round = 0; spentMs() < end; round += 1) {
    for (const configuration of [...catalogTrios, ...catalogConfigurations]) {
      const engine = catalogEngine(configuration, {}, module);
      const chances = { seed: seed + round, steps: 100_000, deaths: 1 };
      const error = failureOf(() => searchByChance(engine, chances));
      if (error !== undefined) return { configuration: configuration.name, error };
    }
  }
  return undefined;
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
