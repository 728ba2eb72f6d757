// Mistakes planted in heavyweight locks, to see that the searches find them, and the hunt for them:
// in the scene that a mistake is about, then in all with growing bounds, then by chance.

import type { WasmModule } from "../../bindings/abi/wasm-types.ts";
import { type LockConfiguration, lockEngine, lockPairs, lockTrios } from "./lock-configurations.ts";
import { type Mutant, mutant } from "./mutants.ts";
import { ScheduleError } from "./schedule.ts";
import { type Bounds, OutOfTime, searchAll, searchByChance, spentMs } from "./search.ts";

/** A mistake, and the configuration that it is hunted in first, where few can show it. */
export interface LockMutant extends Mutant {
  readonly scene?: string;
}

/** A mistake that shows in one scene. */
function inScene(scene: string, mistake: Mutant): LockMutant {
  return { ...mistake, scene };
}

/** Mistakes in heavyweight locks. */
export const lockMutants: readonly LockMutant[] = [
  {
    name: "a strong lock looks at fast paths before it sets the flag",
    patches: [
      {
        file: "lmgr/lock.ts",
        find: "    Strong.set(hash);\n    return reference;",
        put: "    return reference;",
      },
      {
        file: "lmgr/lock.ts",
        find: "    const status = Lock.decide(hash, tag, reference, mode, mayWait);",
        put: "    if (tag.isStrong(mode)) Strong.set(hash);\n    const status = Lock.decide(hash, tag, reference, mode, mayWait);",
      },
    ],
  },
  mutant(
    "a weak lock looks at the flag only before it stores its entry",
    "lmgr/lock-fast-path.ts",
    "    if (Strong.isSet(hash) && entry.swapWord(taken, 0)) return ST_MISS;\n",
    "",
  ),
  inScene(
    "weak, stronger at once + strong",
    mutant(
      "a mode is added to an entry by a plain store",
      "lmgr/lock-fast-path.ts",
      "    if (Strong.isSet(hash) || !entry.swapWord(word, taken)) return ST_MISS;\n",
      "    if (Strong.isSet(hash)) return ST_MISS;\n    entry.setWord(taken);\n",
    ),
  ),
  mutant(
    "an entry is moved by a plain store",
    "lmgr/lock-fast-path.ts",
    "      if (entry.swapWord(word, EntryWord.moved(word))) break;\n",
    "      entry.setWord(EntryWord.moved(word));\n      break;\n",
  ),
  mutant(
    "who gives up wakes nobody",
    "lmgr/lock-release.ts",
    "    LockWake.scan(hash, tag);\n    if (isEmpty) LockRelease.free(reference);",
    "    if (isEmpty) LockRelease.free(reference);",
  ),
  mutant(
    "who gives a lock back wakes nobody while others hold it",
    "lmgr/lock-release.ts",
    "    if (LockRelease.isAwaited(hash, tag, mask)) LockWake.scan(hash, tag);",
    "    const rest = LockWake.heldByOthers(hash, tag, 0) & mask;\n    if (LockRelease.isAwaited(hash, tag, mask) && rest == 0) LockWake.scan(hash, tag);",
  ),
  mutant(
    "a newcomer looks at holders and not at who waits",
    "lmgr/lock.ts",
    "    if ((excluded & (granted | awaited)) == 0) return ST_OK;",
    "    if ((excluded & granted) == 0) return ST_OK;",
  ),
  mutant(
    "a grant looks at those ahead and not at holders",
    "lmgr/lock-wake.ts",
    "      if ((excluded & (ahead | granted)) == 0) LockWake.grant(record, mode);",
    "      if ((excluded & ahead) == 0 || granted == 1) LockWake.grant(record, mode);",
  ),
  mutant(
    "a grant wakes nobody",
    "lmgr/lock-wake.ts",
    "    Atomic.notifyAll(record.wordAddress());\n",
    "",
  ),
  mutant(
    "a holder who asks for more stands at the tail",
    "lmgr/lock.ts",
    "        LockState.mine().ticket = LockQueue.justBefore(hash, tag, reference);\n",
    "",
  ),
  mutant(
    "tickets do not grow",
    "lmgr/lock-queue.ts",
    "    return LockQueue.ticketOf(LockQueue.before(hash, tag, u64.MAX_VALUE)) + SPACING;",
    "    return LockQueue.length(hash, tag) == 99 ? 0 : SPACING;",
  ),
  mutant(
    "a record is free before it is out of its chain",
    "lmgr/lock-table.ts",
    "    LockTable.unlink(hash, reference);\n    LockRecord.at(reference).setWord(0);",
    "    LockRecord.at(reference).setWord(0);\n    LockTable.unlink(hash, reference);",
  ),
  mutant(
    "who gives back the first of a chain drops the others",
    "lmgr/lock-table.ts",
    "      Atomic.load(LockTable.head(hash)) == reference && LockRecord.at(reference).getNext() == 0",
    "      Atomic.load(LockTable.head(hash)) == reference",
  ),
  {
    name: "a chain is found empty before its partition is locked",
    patches: [
      {
        file: "lmgr/lock.ts",
        find: "    const isFree = LockTable.isEmpty(hash) && !tag.isRelation();\n",
        put: "    const isFree = wasEmpty && !tag.isRelation();\n",
      },
      {
        file: "lmgr/lock.ts",
        find: "    const partition = LockTable.partition(hash);\n",
        put: "    const partition = LockTable.partition(hash);\n    const wasEmpty = LockTable.isEmpty(hash);\n",
      },
    ],
  },
  mutant(
    "who repairs does not look at the queue of what the dead one held",
    "lmgr/lock-reap.ts",
    "      LockWake.scan(hash, tag);\n      record.setWord(0);",
    "      record.setWord(0);",
  ),
  inScene(
    "weak + strong",
    mutant(
      "who repairs leaves half moved records",
      "lmgr/lock-reap.ts",
      "    LockReap.endMoves(partition);\n",
      "",
    ),
  ),
  inScene(
    "weak + strong",
    mutant(
      "who repairs takes every half moved record for moved",
      "lmgr/lock-reap.ts",
      "      if (isMoved) FastPath.finish(hash, tag, reference);",
      "      if (isMoved || at == 0) FastPath.finish(hash, tag, reference);",
    ),
  ),
  inScene(
    "weak, strong + strong",
    mutant(
      "who repairs leaves strong flags",
      "lmgr/lock-reap.ts",
      "      Strong.clearIfUnused(slot);",
      "      if (slot == 9999) Strong.clearIfUnused(slot);",
    ),
  ),
  mutant(
    "who repairs leaves the fast path of the dead",
    "lmgr/lock-reap.ts",
    "    FastPath.clear(dead);\n",
    "",
  ),
];

/** Where a mistake was found. */
export interface LockFind {
  readonly configuration: string;
  readonly bounds: string;
  readonly error: ScheduleError;
  readonly milliseconds: number;
}

const stages: readonly (readonly [Bounds, milliseconds: number])[] = [
  [{ preemptions: 0, deaths: 0 }, 500],
  [{ preemptions: 1, deaths: 0 }, 3_000],
  [{ preemptions: 0, deaths: 1 }, 3_000],
  [{ preemptions: 1, deaths: 1 }, 5_000],
];
const CHANCE_STEPS = 100_000;

/** Searches until a schedule fails; undefined when time is up. @param module - with the mistake */
export function huntLocks(
  { scene }: LockMutant,
  module: WasmModule,
  milliseconds: number,
  seed: number,
): LockFind | undefined {
  const begin = spentMs();
  const spent = (): number => spentMs() - begin;
  const all = [...lockPairs, ...lockTrios];
  const first = all.filter(({ name }) => name === scene);
  const aimed = stages.map(([bounds]) => [bounds, milliseconds, first] as const);
  const wide = stages.map(([bounds, each]) => {
    return [bounds, each, bounds.preemptions === 0 ? all : lockPairs] as const;
  });
  for (const [bounds, each, configurations] of [...aimed, ...wide]) {
    for (const configuration of configurations) {
      if (spent() > milliseconds) return undefined;
      const error = failureOf(() =>
        searchAll(lockEngine(configuration, module), bounds, { milliseconds: each }),
      );
      const where = `${bounds.preemptions} preemptions, ${bounds.deaths} deaths`;
      if (error !== undefined) return found(configuration, where, error, spent());
    }
  }
  for (let round = 0; spent() < milliseconds; round += 1) {
    for (const configuration of [...lockTrios, ...lockPairs]) {
      const chances = { seed: seed + round, steps: CHANCE_STEPS, deaths: 1 };
      const error = failureOf(() => searchByChance(lockEngine(configuration, module), chances));
      if (error !== undefined) return found(configuration, "chance", error, spent());
    }
  }
  return undefined;
}

function found(
  { name }: LockConfiguration,
  bounds: string,
  error: ScheduleError,
  milliseconds: number,
): LockFind {
  return { configuration: name, bounds, error, milliseconds };
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
